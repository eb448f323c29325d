"""Find the pictures of a log that look whole but cannot be decoded, before anything is delivered or written.

    ticks = drop_undecodable(log, ticks)      # a tick whose picture cannot be decoded is dropped and counted

The first reading of a log checks only the start and the end of each picture, so that all are cheap to read; here only
those that ticks use are decoded.
"""

import hashlib

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


def drop_undecodable(log: SourceLog, ticks: Aligned) -> Aligned:
    """Return the ticks whose pictures can be decoded; mark the other pictures as broken, and keep the digests of all.

    Raises:
        BadLog: no picture can be decoded.
    """
    images, chosen = log.streams["image"], ticks.chosen["image"].tolist()
    used, good = set(chosen), []
    for number, picture in zip(images.usable, each_picture(log, images.usable, bare), strict=True):
        log.digests.append(digest_of(picture))
        if number in used:
            good.append(decodes(picture))
    kept = np.array(good, dtype=bool)
    if kept.all():
        return ticks
    if not kept.any():
        raise BadLog(
            f"{images.topic}: message {chosen[0]}: cannot be decoded, like the other {len(chosen) - 1} images used"
        )
    for number, whole in zip(chosen, good, strict=True):
        if not whole:
            images.values[number] = None
    return ticks.keep(kept, "image")


def bare(picture: Picture) -> Picture:
    """Return the picture as it is."""
    return picture


def digest_of(picture: Picture) -> bytes:
    """Return a digest of 8 bytes of the picture as sent, without its stamp."""
    found = hashlib.blake2b(f"{picture.encoding if picture.raw else ''} {picture.raw}".encode(), digest_size=8)
    found.update(picture.data)
    return found.digest()


def decodes(picture: Picture) -> bool:
    """Return whether a picture can be decoded and converted."""
    if _is_empty_jpeg(picture):
        return False
    try:
        jpeg = np.frombuffer(to_jpeg(picture, QUALITY), np.uint8)
        # A JPEG that is passed on was not decoded yet; even at an eighth of the size all of its bits are read.
        sent_so = picture.data.startswith(JPEG_START)
        return not sent_so or cv2.imdecode(jpeg, cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None
    except (ValueError, cv2.error):
        return False


def _is_empty_jpeg(picture: Picture) -> bool:
    """Return whether a JPEG has fewer bits than blocks after its headers: it is decoded to grey without an error."""
    size, end = size_of(picture), end_of_jpeg(picture.data) if picture.data.startswith(JPEG_START) else None
    if size is None or end is None:
        return False
    start = picture.data.find(START_OF_SCAN) + 2
    header = int.from_bytes(picture.data[start : start + 2], "big")
    scan = end - len(END_OF_IMAGE) - start - header
    return scan < size[0] * size[1] / PIXELS_A_BYTE
