"""TensorBoard event files with scalars, written directly: the format is small and its package is not.

Format: records of (length, masked CRC-32C of the length, bytes, masked CRC-32C of the bytes), each a protocol
buffer message `Event` (tensorflow/core/util/event.proto).
"""

import os
import struct
import time
from pathlib import Path

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and offset as TFRecord files want it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _double_field(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _float_field(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _integer_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def scalar_event(step: int, scalars: dict[str, float], wall_time_s: float) -> bytes:
    """One `Event` message: field 1 the time, 2 the step, 5 the summary with one value a scalar."""
    values = b"".join(
        _bytes_field(1, _bytes_field(1, name.encode()) + _float_field(2, value))
        for name, value in scalars.items()
    )
    return _double_field(1, wall_time_s) + _integer_field(2, step) + _bytes_field(5, values)


def record(data: bytes) -> bytes:
    """The frame around one message."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


class ScalarWriter:
    """Appends scalars to one event file; the file appears with the first of them."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"
        self._open = False

    def write(self, step: int, scalars: dict[str, float]) -> None:
        now = time.time()
        events = b"" if self._open else record(_double_field(1, now) + _bytes_field(3, b"brain.Event:2"))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(events + record(scalar_event(step, scalars, now)))
        self._open = True

    def close(self) -> None:
        """Nothing is held open between writes."""
