"""Find the pictures of a log that look whole but cannot be decoded, before anything is delivered or written.

    ticks, looks = drop_undecodable(log, ticks)     # a tick whose picture cannot be decoded is dropped and counted

The first reading of a log checks only the start and the end of each picture, so that all are cheap to read; here only
those that ticks use are decoded.
"""

import hashlib
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np

from sim2edge.ingest.align import Aligned
from sim2edge.ingest.images import PNG_START, Picture, to_jpeg
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import SourceLog, each_picture

QUALITY = 30
"""JPEG quality of the trial conversion, percent; its result is discarded."""
END_CHUNK = b"IEND"


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
    if picture.data.startswith(PNG_START) and not is_whole_png(picture.data):
        return None  # libpng would print its own error to the terminal
    try:
        jpeg = np.frombuffer(to_jpeg(picture, QUALITY), np.uint8)
        # Even at an eighth of the size all bits of a JPEG are read.
        small = cv2.imdecode(jpeg, cv2.IMREAD_REDUCED_COLOR_8)
    except (ValueError, cv2.error):
        return None
    return None if small is None else Look(float(small.std(axis=(0, 1)).max()), zlib.crc32(small.tobytes()))


def is_whole_png(data: bytes) -> bool:
    """Return whether a PNG has all its chunks, each with the right CRC."""
    at = len(PNG_START)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if data[at + 4 : at + 8] == END_CHUNK:
            return True
        at = end + 4
    return False
