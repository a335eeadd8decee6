"""Reads the orientation of an image from its EXIF block, and no other tag.

Pillow's reader decodes all values of a tag, and parses EXIF in the compressed text of a PNG. So a file of one
kilobyte can take a second. This reader reads one directory of at most 64 KiB.
"""

import struct

from images.structure import ImageKind, exif_block

UPRIGHT = 1
ORIENTATIONS = range(1, 9)

_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ORIENTATION_TAG = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12


def orientation(data: bytes, kind: ImageKind) -> int:
    """Return the orientation of an image file, 1 to 8 (EXIF 2.32, section 4.6.4); 1 if it has none."""
    return block_orientation(exif_block(data, kind))


def block_orientation(block: bytes) -> int:
    """Return the orientation in an EXIF block, which begins with its byte order; 1 if it is damaged."""
    order = _BYTE_ORDERS.get(block[:4])
    if order is None or len(block) < 8:
        return UPRIGHT
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    if start + 2 > len(block):
        return UPRIGHT
    (num_entries,) = struct.unpack_from(f"{order}H", block, start)
    num_complete = min(num_entries, (len(block) - start - 2) // _ENTRY_BYTES)
    entries = block[start + 2 : start + 2 + num_complete * _ENTRY_BYTES]
    for tag, value_type, count, value in struct.iter_unpack(f"{order}HHIH2x", entries):
        if tag == _ORIENTATION_TAG:
            is_valid = value_type == _SHORT and count == 1 and value in ORIENTATIONS
            return value if is_valid else UPRIGHT
    return UPRIGHT
