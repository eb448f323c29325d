"""Read the sizes of images in foreign logs, and convert the images to JPEG.

A JPEG stays unchanged byte for byte up to its end; everything else is encoded once. The first bytes identify the
format: drivers fill in the `format` of a compressed image in different ways.
"""

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from sim2edge.episodes.jpeg import encode_jpeg
from sim2edge.ingest.jpeg_end import end_of_jpeg
from sim2edge.ingest.raw_images import is_whole, to_rgb

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers: all of C0..CF but the tables (C4, CC) and C8.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Size = tuple[int, int]


@dataclass(frozen=True)
class Picture:
    """An image as sent."""

    data: bytes
    encoding: str
    """Encoding of the pixels (`rgb8`), or the sender's name for the format of a compressed image."""
    raw: tuple[int, int, int] | None = None
    """Width, height and bytes a row; None: compressed."""


def size_of(picture: Picture) -> Size | None:
    """Return width and height in pixels, without decoding; None for a broken image: incomplete or unreadable.

    Raises:
        ValueError: the encoding is not supported.
    """
    if picture.raw is not None:
        return _raw_size(picture)
    if picture.data.startswith(JPEG_START):
        return _jpeg_size(picture.data) if end_of_jpeg(picture.data) else None
    if picture.data.startswith(PNG_START):
        return struct.unpack_from(">II", picture.data, 16) if len(picture.data) > 24 else None
    if not picture.data:
        return None
    raise ValueError(f"format '{picture.encoding[:40]}' is neither JPEG nor PNG")


def _raw_size(picture: Picture) -> Size | None:
    width, height, step = picture.raw or (0, 0, 0)
    whole = is_whole(picture.encoding, len(picture.data), width, height, step)
    return (width, height) if whole else None


def _jpeg_size(data: bytes) -> Size | None:
    at = len(JPEG_START)
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height) if width and height else None
        at += 1 if marker == 0xFF else 2 + length
    return None


def to_jpeg(picture: Picture, quality: int) -> bytes:
    """Return the image as JPEG: unchanged if it is one, otherwise encoded with `quality` percent.

    Raises:
        ValueError: the image cannot be decoded.
    """
    if picture.raw is not None:
        return encode_jpeg(to_rgb(picture.encoding, picture.data, *picture.raw), quality)
    if picture.data.startswith(JPEG_START):
        return picture.data[: end_of_jpeg(picture.data)]
    try:
        bgr = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"a PNG that cannot be decoded: {error.err}") from error
    if bgr is None:
        raise ValueError("a PNG that cannot be decoded")
    return encode_jpeg(np.asarray(bgr[..., ::-1], np.uint8), quality)
