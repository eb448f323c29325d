"""Find the end of a JPEG: drivers append padding, a second picture, or their own data after it."""

import re

END, SCAN = 0xD9, 0xDA
ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers of segments without a length."""
NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""The end of a scan: a marker that is neither a stuffed byte nor a restart."""


def end_of_jpeg(data: bytes) -> int | None:
    """Return the length of the JPEG at the start of `data`, with its end marker; None if it has no end.

    Segments are passed by their lengths: a thumbnail inside one has an end marker of its own.
    """
    at = 2
    while at + 2 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == END:
            return at + 2
        if marker == 0xFF or marker in ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == SCAN:
            found = NEXT_MARKER.search(data, at)
            at = found.start() if found else len(data)
    return None
