"""Read a device's frames: from a folder of JPEGs in a loop, or a camera (libcamera, V4L2, stream URL).

source = open_source("/data/frames")        # or "libcamera:0", "0", "/dev/video0", "/dev/v4l/by-id/...", "rtsp://..."
image = source.read()                       # uint8 [height, width, 3], BGR
"""

import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import parse_qsl

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.edge.detector.mjpeg import JpegStream
from sim2edge.errors import BadInput
from sim2edge.prctl import die_with_parent

LIBCAMERA = "libcamera:"
MAX_PICTURE_BYTES = 32 << 20
"""Of a file of a folder; more is no camera's picture."""
PROGRAMS = ("rpicam-vid", "libcamera-vid")
"""The program of Raspberry Pi OS, by its name now and before 2023."""
SILENCE_S = 4.0
"""Seconds without a frame after which the program is started again; it needs up to two to start."""
RESTART_S = 0.5
"""Shortest time between two starts of the program."""

LAST_WORDS_S = 1.0
"""Longest wait for what a program that ended has said: one that it started may have its pipe."""
STAMPS = re.compile(rb"^(\[[^]]*\]\s*)+")
"""Time and process id with which libcamera begins its lines: without them the same event is the same line."""

Image = NDArray[np.uint8]
"""uint8 [height, width, 3], BGR."""


class FrameError(Exception):
    """A frame could not be read; the next one may be."""


class Source(Protocol):
    """An endless source of frames."""

    def read(self) -> Image:
        """Return the next frame.

        Raises:
            FrameError: this frame cannot be read.
        """

    def close(self) -> None:
        """Release the camera."""


class FolderSource:
    """The `.jpg` and `.jpeg` files of a folder, in the order of their names, in an endless loop."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
        if not self._files:
            raise BadInput(f"{folder}: holds no .jpg files")
        self._next = 0

    def read(self) -> Image:
        """See `Source`."""
        path = self._files[self._next]
        self._next = (self._next + 1) % len(self._files)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_PICTURE_BYTES + 1)
            if len(data) > MAX_PICTURE_BYTES:
                raise BadInput(f"larger than {MAX_PICTURE_BYTES >> 20} MiB")
            return decode_jpeg(data)
        except (OSError, BadInput) as error:
            raise FrameError(f"{path.name}: {error}") from error

    def close(self) -> None:
        """Do nothing: no file stays open."""


class CameraSource:
    """A camera through OpenCV, reopened after it failed to deliver a frame."""

    def __init__(self, device: int | str) -> None:
        self._device = device
        self._capture = self._open()
        if not self._capture.isOpened():
            raise BadInput(f"camera {device}: cannot be opened")

    def _open(self) -> cv2.VideoCapture:
        if isinstance(self._device, str) and self._device.startswith("/dev/"):  # else FFmpeg would read it as a file
            return cv2.VideoCapture(str(Path(self._device).resolve()), cv2.CAP_V4L2)
        return cv2.VideoCapture(self._device)

    def read(self) -> Image:
        """See `Source`."""
        try:
            there, image = self._capture.read()
        except cv2.error:
            there, image = False, None
        if not there:
            self._capture.release()
            self._capture = self._open()
            raise FrameError(f"camera {self._device}: gave no frame")
        return check_frame(np.asarray(image), f"camera {self._device}")

    def close(self) -> None:
        """See `Source`."""
        self._capture.release()


class LibcameraSource:
    """A camera of a Raspberry Pi: JPEGs from `rpicam-vid`, which is started again when it ends or falls silent.

    A thread reads, so that `read` returns the newest frame however slow the detector is.
    """

    def __init__(self, camera: int, width: int = 640, height: int = 480, framerate: float = 15.0) -> None:
        """Find the program; the camera starts with the first frame.

        Raises:
            BadInput: the program is not installed.
        """
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise BadInput(f"camera libcamera:{camera}: {PROGRAMS[0]} is missing: `sudo apt install rpicam-apps-lite`")
        size = {"--width": width, "--height": height, "--framerate": framerate}
        options = {"-t": 0, "-o": "-", "--codec": "mjpeg", "--camera": camera, **size}
        self._command = [program, "--nopreview", "--flush", *(str(word) for each in options.items() for word in each)]
        self._name = f"camera libcamera:{camera}"
        self._process: subprocess.Popen[bytes] | None = None
        self._frames: queue.Queue[bytes | None] = queue.Queue(maxsize=1)
        self._words: deque[bytes] = deque(maxlen=1)
        self._reader: threading.Thread | None = None
        """Of the program's words."""
        self._started = float("-inf")

    def read(self) -> Image:
        """See `Source`."""
        if self._process is None:
            self._start()
        try:
            data = self._frames.get(timeout=SILENCE_S)
        except queue.Empty:
            self.close()
            raise FrameError(f"{self._name}: gave no frame for {SILENCE_S:g} s") from None
        if data is None:
            raise FrameError(f"{self._name}: {self._last_words()}")
        try:
            return decode_jpeg(data)
        except BadInput as error:
            raise FrameError(f"{self._name}: {error}") from error

    def _start(self) -> None:
        time.sleep(min(max(self._started + RESTART_S - time.monotonic(), 0.0), RESTART_S))
        self._started = time.monotonic()
        self._frames, self._words = queue.Queue(maxsize=1), deque(maxlen=1)
        try:
            self._process = process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=partial(die_with_parent, parent=os.getpid()),
            )
            for name, keep, pipe, kept in (
                ("camera", _keep_newest, process.stdout, self._frames),
                ("camera-log", _keep_last_line, process.stderr, self._words),
            ):
                self._reader = threading.Thread(target=keep, args=(pipe, kept), daemon=True, name=name)
                self._reader.start()
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:  # no process or no thread to be had
            self.close()
            raise FrameError(f"{self._name}: {error}") from error

    def _last_words(self) -> str:
        """End the program; return why it ended."""
        process = self._process
        code = process.wait() if process else None
        self.close()
        if self._reader:
            self._reader.join(LAST_WORDS_S)  # both pipes end at once
        line = STAMPS.sub(b"", b" ".join(self._words).strip()).decode(errors="replace")[-200:]
        return f"{Path(self._command[0]).name} ended with code {code}{f': {line}' if line else ''}"

    def close(self) -> None:
        """See `Source`."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process = None


def _keep_newest(pipe: IO[bytes], frames: "queue.Queue[bytes | None]") -> None:
    """Put each picture into a queue of one, in place of an older one; None at the end."""
    stream = JpegStream()
    with pipe:
        while chunk := pipe.read1(2**16):  # type: ignore[attr-defined]
            for picture in stream.feed(chunk):
                _replace(frames, picture)
    _replace(frames, None)


def _replace(frames: "queue.Queue[bytes | None]", picture: bytes | None) -> None:
    with suppress(queue.Empty):
        frames.get_nowait()
    frames.put(picture)


def _keep_last_line(pipe: IO[bytes], words: "deque[bytes]") -> None:
    with pipe:
        for line in pipe:
            if line.strip():
                words.append(line[:1000])


def parse_libcamera(name: str) -> LibcameraSource:
    """Return the source of `libcamera:<number>[?width=640&height=480&framerate=15]`.

    Raises:
        BadInput: it is not of that form, or the program is not installed.
    """
    number, _, query = name.removeprefix(LIBCAMERA).partition("?")
    try:
        options = dict(parse_qsl(query, strict_parsing=True)) if query else {}
        width, height = int(options.pop("width", 640)), int(options.pop("height", 480))
        framerate = float(options.pop("framerate", 15))
        if options or not (0 < width <= 4096 and 0 < height <= 4096 and 0 < framerate <= 120):
            raise ValueError
        camera = int(number)
    except ValueError:
        form = "libcamera:0?width=640&height=480&framerate=15"
        raise BadInput(f"source '{name}': expected {form}; up to 4096 pixels, up to 120 frames a second") from None
    return LibcameraSource(camera, width, height, framerate)


def open_source(name: str) -> Source:
    """Open the source that `name` denotes: a folder, `libcamera:0`, a camera's index, a device file or a URL.

    Raises:
        BadInput: the source does not exist or cannot be opened.
    """
    if Path(name).is_dir():
        return FolderSource(Path(name))
    if name.startswith(LIBCAMERA):
        return parse_libcamera(name)
    if name.isdecimal():
        return CameraSource(int(name))
    if "://" in name or Path(name).exists():
        return CameraSource(name)
    raise BadInput(f"source '{name}': neither a folder of JPEGs nor a camera")


def check_frame(image: NDArray[Any], name: str) -> Image:
    """Return a camera's frame if it is one that a release can be judged by.

    Raises:
        FrameError: it is grey, of more than eight bits, or of no size.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise FrameError(f"{name}: gives {image.dtype} {list(image.shape)}; expected uint8 [height, width, 3]")
    return image


def decode_jpeg(data: bytes) -> Image:
    """Decode an image file in memory.

    Raises:
        BadInput: the data is not an image, or is larger than a camera's.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise BadInput("not an image that can be decoded, or too large") from error
    if image is None:
        raise BadInput("not an image")
    return np.asarray(image, dtype=np.uint8)
