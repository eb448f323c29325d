"""Find the pictures of a log that look whole but cannot be decoded, before anything is delivered or written.

    ticks = drop_undecodable(log, ticks)      # a tick whose picture cannot be decoded is dropped and counted

The first reading of a log checks only the start and the end of each picture, so that all are cheap to read; here only
those that ticks use are decoded.
"""

import hashlib
import struct
import zlib

import cv2
import numpy as np

from sim2edge.ingest.align import Aligned
from sim2edge.ingest.images import JPEG_START, PNG_START, Picture, to_jpeg
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import SourceLog, each_picture

QUALITY = 30
"""JPEG quality of the trial conversion, percent; its result is discarded."""
END_CHUNK = b"IEND"


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
    if picture.data.startswith(PNG_START) and not is_whole_png(picture.data):
        return False  # libpng would print its own error to the terminal
    try:
        jpeg = np.frombuffer(to_jpeg(picture, QUALITY), np.uint8)
        # A JPEG that is passed on was not decoded yet; even at an eighth of the size all of its bits are read.
        sent_so = picture.data.startswith(JPEG_START)
        return not sent_so or cv2.imdecode(jpeg, cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None
    except (ValueError, cv2.error):
        return False


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
