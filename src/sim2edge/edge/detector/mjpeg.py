"""Cut a stream of JPEGs, one behind the other, into its pictures.

pictures = JpegStream()
for picture in pictures.feed(chunk):        # bytes of one whole JPEG

Segments are followed by their lengths (ITU-T T.81, annex B), so that a thumbnail inside of a picture ends nothing. What
is no JPEG is skipped up to the next start of one.
"""

from collections.abc import Iterator

START, END = b"\xff\xd8", b"\xff\xd9"
SCAN = 0xDA
ALONE = {0x01, *range(0xD0, 0xD8)}
"""Markers without a length: TEM and RST0 to RST7."""
MAX_BYTES = 8 * 2**20
"""Largest picture; what is longer is skipped."""


class JpegStream:
    """The pictures of one stream; the bytes that are kept never exceed `MAX_BYTES` and one chunk."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._in_scan = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield each picture that these bytes complete."""
        self._buffer += chunk
        while self._find_start():
            end = self._follow()
            if end is None:
                if len(self._buffer) <= MAX_BYTES:
                    return
                end = 0
            if end:
                yield bytes(self._buffer[:end])
            self._restart(end or len(START))

    def _find_start(self) -> bool:
        """Drop what lies before a picture; return whether the buffer begins with one."""
        if self._at:
            return True
        start = self._buffer.find(START)
        if start < 0:
            del self._buffer[: len(self._buffer) - self._buffer.endswith(b"\xff")]
            return False
        del self._buffer[:start]
        self._at = len(START)
        return True

    def _restart(self, end: int) -> None:
        del self._buffer[:end]
        self._at, self._in_scan = 0, False

    def _follow(self) -> int | None:
        """Go on from marker to marker; return the picture's length, 0 if it is none, None if bytes are missing."""
        buffer = self._buffer
        while True:
            if self._in_scan:
                found = buffer.find(b"\xff", self._at)
                self._at = len(buffer) if found < 0 else found
            if self._at + 1 >= len(buffer):
                return None
            if buffer[self._at] != 0xFF:
                return 0
            marker = buffer[self._at + 1]
            if marker == END[1]:
                return self._at + 2
            if marker == START[1]:
                return 0
            if marker == 0xFF:  # padding
                self._at += 1
            elif marker in ALONE or (marker == 0 and self._in_scan):
                self._at += 2
            elif not self._skip_segment(marker):
                return 0 if marker == 0 else None

    def _skip_segment(self, marker: int) -> bool:
        """Step over a segment with a length; return False if it is not complete, or there is no such segment."""
        if marker == 0 or self._at + 4 > len(self._buffer):
            return False
        length = int.from_bytes(self._buffer[self._at + 2 : self._at + 4])
        if self._at + 2 + length >= len(self._buffer):
            return False
        self._at += 2 + max(length, 2)
        self._in_scan = marker == SCAN
        return True
