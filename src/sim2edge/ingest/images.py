"""Read the sizes of images in foreign logs, and convert the images to JPEG.

A JPEG stays unchanged byte for byte up to its end, unless its EXIF data turn it; everything else is encoded once,
upright. The first bytes identify the format: drivers fill in the `format` of a compressed image in different ways.
"""

import struct
from dataclasses import dataclass

import cv2
import numpy as np

from sim2edge.episodes.jpeg import encode_jpeg
from sim2edge.ingest.exif import AS_STORED, SIDEWAYS, orientation_of, segments
from sim2edge.ingest.jpeg_end import end_of_jpeg
from sim2edge.ingest.png import PNG_START, is_whole_png
from sim2edge.ingest.raw_images import is_whole, to_rgb

JPEG_START = b"\xff\xd8"
# Start-of-frame markers: all of C0..CF but the tables (C4, CC) and C8.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
DEPTH = frozenset(("16UC1", "16SC1", "32FC1", "64FC1", "mono16"))
"""Encodings of one channel of 16 bits or more."""
PNG_GREY_16 = b"\x10\x00"
"""Bit depth and colour type in a PNG's header."""

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
        _refuse_depth(picture.data[24:26] == PNG_GREY_16, "a PNG of 16 bits grey")
        return struct.unpack_from(">II", picture.data, 16) if is_whole_png(picture.data) else None
    _refuse_depth("compressedDepth" in picture.encoding, f"format '{picture.encoding[:40]}'")
    if not picture.data:
        return None
    raise ValueError(f"format '{picture.encoding[:40]}' is neither JPEG nor PNG")


def _refuse_depth(depth: bool, what: str) -> None:
    if depth:
        raise ValueError(f"{what}: a depth image: topics.image names that of a colour camera")


def _raw_size(picture: Picture) -> Size | None:
    width, height, step = picture.raw or (0, 0, 0)
    _refuse_depth(picture.encoding in DEPTH, f"encoding '{picture.encoding}'")
    whole = is_whole(picture.encoding, len(picture.data), width, height, step)
    return (width, height) if whole else None


def _jpeg_size(data: bytes) -> Size | None:
    """Return the size of a JPEG as it is shown, which is not as it is stored if its EXIF data turn it sideways."""
    for marker, at in segments(data):
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (height, width) if orientation_of(data) in SIDEWAYS else (width, height)
            return size if width and height else None
    return None


def to_jpeg(picture: Picture, quality: int) -> bytes:
    """Return the image as JPEG: unchanged if it is an upright one, otherwise encoded upright with `quality` percent.

    Raises:
        ValueError: the image cannot be decoded.
    """
    if picture.raw is not None:
        return encode_jpeg(to_rgb(picture.encoding, picture.data, *picture.raw), quality)
    if picture.data.startswith(JPEG_START) and orientation_of(picture.data) == AS_STORED:
        return picture.data[: end_of_jpeg(picture.data)]
    # Of a PNG the stored size is taken, so its EXIF data must not turn it.
    name, how = ("JPEG", 0) if picture.data.startswith(JPEG_START) else ("PNG", cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        bgr = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR | how)
    except cv2.error as error:
        raise ValueError(f"a {name} that cannot be decoded: {error.err}") from error
    if bgr is None:
        raise ValueError(f"a {name} that cannot be decoded")
    return encode_jpeg(np.asarray(bgr[..., ::-1], np.uint8), quality)
