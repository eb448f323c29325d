"""Compress bundles with Zstandard, and read them back as untrusted input: bounded memory, bounded output.

    compress(Path("bundle.tar"), Path("bundle.tar.zst"))       # the same bytes for the same content
    with open_content(path, limit=MAX) as content:              # compressed or not
        content.read(size)
        content.check_end()

A bundle is one frame that declares the size of its content, with a window of at most 8 MiB. So a device knows what a
bundle unpacks to before it unpacks any of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import zstandard

from sim2edge.errors import BadInput

MAGIC = zstandard.FRAME_HEADER
SUFFIX = ".zst"
LEVEL = 19
MAX_WINDOW = 8 * 2**20
"""Memory a device spends on unpacking, bytes: the window of LEVEL."""
HEADER_BYTES = 18
"""Size of the largest frame header."""


class Content:
    """The content of a bundle file as a stream that never yields more than it may."""

    def __init__(self, stream: BinaryIO | IO[bytes], name: str, limit: int, declared: int | None) -> None:
        self._stream = stream
        self._name = name
        self._limit = limit
        self._declared = declared
        self._read = 0

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; empty at the end.

        Raises:
            BadInput: the content is damaged, larger than the limit, or not as large as it declares.
        """
        try:
            data = self._stream.read(size)
        except zstandard.ZstdError as error:
            raise BadInput(f"{self._name}: not readable as Zstandard: {error}") from error
        self._read += len(data)
        if self._read > self._limit:
            raise BadInput(f"{self._name}: unpacks to more than {self._limit} bytes")
        if size and not data and self._declared not in (None, self._read):
            raise BadInput(f"{self._name}: holds {self._read} of the {self._declared} bytes that it declares")
        return data

    def check_end(self) -> None:
        """Check that all was read.

        Raises:
            BadInput: it was not, or the file was cut short.
        """
        if self.read(1):
            raise BadInput(f"{self._name}: something follows the content")


def compress(source: Path, target: Path, level: int = LEVEL) -> None:
    """Compress a file; the bytes depend on its content only (and on the version of Zstandard, which is pinned)."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    with source.open("rb") as content, target.open("wb") as file:
        compressor.copy_stream(content, file, size=source.stat().st_size)


def content_size(path: Path) -> int:
    """Return the bytes that a bundle file unpacks to, as it declares.

    Raises:
        BadInput: it is compressed and declares none, or needs more memory than a device spends.
    """
    with path.open("rb") as file:
        return _declared_size(file, path.name) or path.stat().st_size


@contextmanager
def open_content(path: Path, limit: int) -> Iterator[Content]:
    """Open a bundle file, compressed or not, for reading its content once.

    Args:
        path: the file.
        limit: the most bytes the content may have.

    Raises:
        BadInput: it declares more than `limit`, or no size, or needs more memory than a device spends.
    """
    with path.open("rb") as file:
        declared = _declared_size(file, path.name)
        if declared is None:
            yield Content(file, path.name, limit, None)
            return
        if declared > limit:
            raise BadInput(f"{path.name}: unpacks to {declared} bytes, more than {limit}")
        unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        with unpacker.stream_reader(file, read_across_frames=True) as stream:
            yield Content(stream, path.name, limit, declared)


def _declared_size(file: BinaryIO | IO[bytes], name: str) -> int | None:
    """Return the content size that the frame header declares; None if the file is not compressed."""
    header = file.read(HEADER_BYTES)
    file.seek(0)
    if not header.startswith(MAGIC):
        return None
    try:
        frame = zstandard.get_frame_parameters(header)
    except zstandard.ZstdError as error:
        raise BadInput(f"{name}: not readable as Zstandard: {error}") from error
    if frame.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise BadInput(f"{name}: does not declare the size of its content")
    if frame.window_size > MAX_WINDOW:
        raise BadInput(f"{name}: needs {frame.window_size} bytes of memory to unpack, more than {MAX_WINDOW}")
    return int(frame.content_size)
