"""The event files: frames and checksums as TensorBoard reads them."""

import struct
from pathlib import Path

from training.tensorboard import ScalarWriter, masked_crc

CRC_OF_DIGITS = 0xE3069283
"""CRC-32C of b"123456789", the check value of RFC 3720's polynomial."""


def test_checksums_are_those_of_crc32c_masked() -> None:
    rotated = (CRC_OF_DIGITS >> 15 | CRC_OF_DIGITS << 17) & 0xFFFFFFFF
    assert masked_crc(b"123456789") == (rotated + 0xA282EAD8) & 0xFFFFFFFF


def test_every_record_of_a_file_has_a_true_length_and_true_checksums(tmp_path: Path) -> None:
    writer = ScalarWriter(tmp_path)
    for step in (1, 300):
        writer.write(step, {"loss": 0.5, "потеря": 1.5})
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    records: list[bytes] = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        message = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12]) == (masked_crc(data[:8]),)
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc(message),)
        records.append(message)
        data = data[16 + length :]
    assert len(records) == 3
    assert b"brain.Event:2" in records[0]
    # Field 2 (the step) as a varint: 300 is 0xAC 0x02.
    assert b"\x10\xac\x02" in records[2]
    assert b"\x0a\x04loss\x15" + struct.pack("<f", 0.5) in records[2]
