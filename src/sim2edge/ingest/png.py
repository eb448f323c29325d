"""Check a PNG without decoding it; libpng would print its own error to the terminal for a broken one."""

import struct
import zlib

PNG_START = b"\x89PNG\r\n\x1a\n"
END_CHUNK = b"IEND"
MIN_BYTES = 33
"""Of the start and the header, which has the size."""


def is_whole_png(data: bytes) -> bool:
    """Return whether a PNG has all its chunks, each with the right CRC."""
    at = len(PNG_START)
    if len(data) < MIN_BYTES:
        return False
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if data[at + 4 : at + 8] == END_CHUNK:
            return True
        at = end + 4
    return False
