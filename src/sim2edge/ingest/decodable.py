"""Find the pictures of a log that look whole but cannot be decoded, before anything is delivered or written.

    ticks, looks = drop_undecodable(log, ticks)     # a tick whose picture cannot be decoded is dropped and counted

The first reading of a log checks only the start and the end of each picture, so that all are cheap to read; here only
those that ticks use are decoded.
"""

import hashlib
import zlib
from typing import NamedTuple

import cv2
import numpy as np

from sim2edge.ingest.align import Aligned
from sim2edge.ingest.images import JPEG_START, Picture, size_of, to_jpeg
from sim2edge.ingest.jpeg_end import end_of_jpeg
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import SourceLog, each_picture

START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
PIXELS_A_BYTE = 64 * 8
"""Most pixels that a byte of a JPEG encodes: a block of 64 takes more than a bit."""
QUALITY = 30
"""JPEG quality of the trial conversion, percent; its result is discarded."""


class Look(NamedTuple):
    """What a decoded picture shows, in short."""

    contrast: float
    """Largest standard deviation of the three channels at an eighth of the size, levels of 255."""
    key: int
    """CRC of the pixels at that size: bytes may differ by a counter that the camera adds."""


def drop_undecodable(log: SourceLog, ticks: Aligned) -> tuple[Aligned, list[Look]]:
    """Return the ticks whose pictures can be decoded, and these; mark the others as broken, keep the digests of all.

    Raises:
        BadLog: no picture can be decoded.
    """
    images, chosen = log.streams["image"], ticks.chosen["image"].tolist()
    used, looks = set(chosen), []
    for number, picture in zip(images.usable, each_picture(log, images.usable, bare), strict=True):
        log.digests.append(digest_of(picture))
        if number in used:
            looks.append(look_at(picture))
    kept = np.array([look is not None for look in looks], dtype=bool)
    if len(kept) and not kept.any():
        raise BadLog(
            f"{images.topic}: message {chosen[0]}: cannot be decoded, like the other {len(chosen) - 1} images used"
        )
    for number, look in zip(chosen, looks, strict=True):
        if look is None:
            images.values[number] = None
    return ticks if kept.all() else ticks.keep(kept, "image"), [look for look in looks if look is not None]


def bare(picture: Picture) -> Picture:
    """Return the picture as it is."""
    return picture


def digest_of(picture: Picture) -> bytes:
    """Return a digest of 8 bytes of the picture as sent, without its stamp."""
    found = hashlib.blake2b(f"{picture.encoding if picture.raw else ''} {picture.raw}".encode(), digest_size=8)
    found.update(picture.data)
    return found.digest()


def look_at(picture: Picture) -> Look | None:
    """Return what a picture shows; None if it cannot be decoded and converted."""
    if _is_empty_jpeg(picture):
        return None
    try:
        jpeg = np.frombuffer(to_jpeg(picture, QUALITY), np.uint8)
        # Even at an eighth of the size all bits of a JPEG are read.
        small = cv2.imdecode(jpeg, cv2.IMREAD_REDUCED_COLOR_8)
    except (ValueError, cv2.error):
        return None
    return None if small is None else Look(float(small.std(axis=(0, 1)).max()), zlib.crc32(small.tobytes()))


def _is_empty_jpeg(picture: Picture) -> bool:
    """Return whether a JPEG has fewer bits than blocks after its headers: it is decoded to grey without an error."""
    size, end = size_of(picture), end_of_jpeg(picture.data) if picture.data.startswith(JPEG_START) else None
    if size is None or end is None:
        return False
    start = picture.data.find(START_OF_SCAN) + 2
    header = int.from_bytes(picture.data[start : start + 2], "big")
    scan = end - len(END_OF_IMAGE) - start - header
    return scan < size[0] * size[1] / PIXELS_A_BYTE
