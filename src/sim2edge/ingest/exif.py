"""Read the orientation of a JPEG: cameras that were turned store the picture as it was, and say so in its EXIF data."""

import struct
from collections.abc import Iterator

APP1, EXIF = 0xE1, b"Exif\0\0"
ORIENTATION, SHORT = 0x0112, 3
AS_STORED = 1
SIDEWAYS = frozenset((5, 6, 7, 8))
"""Orientations in which width and height change places."""


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and offset of each segment of a JPEG, up to damage or the end."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker != 0xFF:
            yield marker, at
        at += 1 if marker == 0xFF else 2 + length


def orientation_of(data: bytes) -> int:
    """Return the orientation of a JPEG, 1..8; 1, as stored, if it has none."""
    for marker, at in segments(data):
        if marker == APP1 and data.startswith(EXIF, at + 4):
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            return _of_tiff(data[at + 10 : at + 2 + length])
    return AS_STORED


def _of_tiff(tiff: bytes) -> int:
    """Return the orientation in the first directory of EXIF data."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return AS_STORED
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    count = struct.unpack_from(order + "H", tiff, start)[0] if start + 2 <= len(tiff) else 0
    for entry in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == ORIENTATION:
            return value if kind == SHORT and 1 <= value <= 8 else AS_STORED
    return AS_STORED
