"""Read single frames of the videos of a dataset (H.264, H.265, AV1, VP9 in MP4), by their times.

    video = Video(path)
    rgb = video.frame_at(1.5, tolerance_s=0.05)

OpenCV reads all but AV1, for which its FFmpeg has no software decoder. AVIF is AV1 in the same container, only named
otherwise: such a file is given to Pillow under AVIF's names. So no further decoder is needed, nor one under the GPL.
"""

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim2edge.ingest.align import NONE, nearest
from sim2edge.ingest.clock import Times
from sim2edge.ingest.git_lfs import check_fetched
from sim2edge.ingest.mcap_reader import BadLog, words_of

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once; its lines would come before ours
import cv2

Image = NDArray[np.uint8]

AV1 = "av01"
SILENT = cv2.utils.logging.LOG_LEVEL_SILENT
RAW_PACKETS = [int(cv2.CAP_PROP_FORMAT), -1]
CONTAINERS = (b"moov", b"trak", b"mdia")
"""Boxes of MP4 on the way to `hdlr`, which names the kind of a track."""


class Frames(Protocol):
    """A decoder that is asked for frames by their numbers, in the order of display."""

    def frame(self, number: int) -> Image | None:
        """Return a frame as RGB, height x width x 3; None: it cannot be decoded."""


class Video:
    """A video file and the times of its frames."""

    def __init__(self, path: Path) -> None:
        """Read the index of the file.

        Raises:
            BadLog: it is no video, or damaged.
        """
        self._path = path
        check_fetched(path)
        codec, self._times = _read_index(path)
        self._frames: Frames = _AvifFrames(path) if codec == AV1 else _CvFrames(path)

    def frame_at(self, time_s: float, tolerance_s: float) -> Image:
        """Return the frame that is nearest to a time; rising times are read fastest.

        Raises:
            BadLog: none is within the tolerance, or it cannot be decoded.
        """
        wanted = np.array([round(time_s * 1e9)])
        number = int(nearest(self._times, wanted, tolerance_s * 1e9)[0])
        if number == NONE:
            end = f"it has {len(self._times)} frames, the last at {self._times[-1] / 1e9:.3f} s"
            raise BadLog(f"no frame at {time_s:.3f} s: {end}: truncated?")
        image = self._frames.frame(number)
        if image is None:
            raise BadLog(f"frame {number} at {time_s:.3f} s cannot be decoded: damaged or truncated")
        return image


def _read_index(path: Path) -> tuple[str, Times]:
    """Return the codec and the sorted times of the frames, nanoseconds; nothing is decoded."""
    packets = _open(path, RAW_PACKETS)
    try:
        if not packets.isOpened():
            raise BadLog("cannot be opened as a video: damaged or truncated")
        codec = int(packets.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1").lower()
        times = []
        while packets.grab():
            times.append(round(packets.get(cv2.CAP_PROP_POS_MSEC) * 1e6))
    finally:
        packets.release()
    if not times:
        raise BadLog("has no frames: damaged or truncated")
    return codec, np.sort(np.array(times, dtype=np.int64))


def _open(path: Path, options: Sequence[int] = ()) -> cv2.VideoCapture:
    """Open a video; what OpenCV would warn of, our errors say."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(SILENT)
    try:
        return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, options)
    finally:
        cv2.utils.logging.setLogLevel(level)


class _CvFrames:
    """Decodes by OpenCV, ahead; an earlier frame starts over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._video = _open(path)
        self._next = 0
        self._last: Image | None = None

    def frame(self, number: int) -> Image | None:
        if number == self._next - 1:
            return self._last
        if number < self._next:
            self._video, self._next = _open(self._path), 0
        while self._next <= number:
            if not self._video.grab():
                return None
            self._next += 1
        done, bgr = self._video.retrieve()
        self._last = np.asarray(bgr[..., ::-1], np.uint8) if done else None
        return self._last


class _AvifFrames:
    """Decodes AV1 by Pillow's AVIF."""

    def __init__(self, path: Path) -> None:
        from PIL import Image as Pillow
        from PIL import UnidentifiedImageError

        try:
            with warnings.catch_warnings(action="ignore"):
                self._images = Pillow.open(io.BytesIO(as_avif(path.read_bytes())), formats=["AVIF"])
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise BadLog(f"AV1 that cannot be read ({words_of(error)}): damaged or truncated") from error

    def frame(self, number: int) -> Image | None:
        try:
            self._images.seek(number)
            return np.asarray(self._images.convert("RGB"))
        except (EOFError, OSError, ValueError, RuntimeError):
            return None


def as_avif(data: bytes) -> bytes:
    """Return an MP4 of AV1 under the names of AVIF: brand `avis`, tracks of pictures.

    Boxes keep their sizes, so no offset changes.
    """
    named = bytearray(data)
    for kind, start, _ in _boxes(data, 0, len(data)):
        if kind == b"ftyp":
            named[start : start + 4] = b"avis"
        if kind == b"hdlr" and data[start + 8 : start + 12] == b"vide":
            named[start + 8 : start + 12] = b"pict"
    return bytes(named)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of each box, those inside `CONTAINERS` included."""
    while start + 8 <= end:
        size, kind, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else min(end, start + size)
        if stop < start + header:
            return
        yield kind, start + header, stop
        if kind in CONTAINERS:
            yield from _boxes(data, start + header, stop)
        start = stop
