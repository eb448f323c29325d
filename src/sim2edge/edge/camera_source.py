"""Read a device's frames: from a folder of JPEGs in a loop, or a camera (index, device file or stream URL).

source = open_source("/data/frames")        # or "0", "/dev/video0", "rtsp://..."
image = source.read()                       # uint8 [height, width, 3], BGR
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.errors import BadInput

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
            return decode_jpeg(path.read_bytes())
        except (OSError, BadInput) as error:
            raise FrameError(f"{path.name}: {error}") from error

    def close(self) -> None:
        """Do nothing: no file stays open."""


class CameraSource:
    """A camera through OpenCV, reopened after it failed to deliver a frame."""

    def __init__(self, device: int | str) -> None:
        self._device = device
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            raise BadInput(f"camera {device}: cannot be opened")

    def read(self) -> Image:
        """See `Source`."""
        try:
            there, image = self._capture.read()
        except cv2.error:
            there, image = False, None
        if not there:
            self._capture.release()
            self._capture = cv2.VideoCapture(self._device)
            raise FrameError(f"camera {self._device}: gave no frame")
        return np.asarray(image, dtype=np.uint8)

    def close(self) -> None:
        """See `Source`."""
        self._capture.release()


def open_source(name: str) -> Source:
    """Open the source that `name` denotes: a folder, a camera's index, a device file or a URL.

    Raises:
        BadInput: the source does not exist or cannot be opened.
    """
    if Path(name).is_dir():
        return FolderSource(Path(name))
    if name.isdecimal():
        return CameraSource(int(name))
    if "://" in name or Path(name).exists():
        return CameraSource(name)
    raise BadInput(f"source '{name}': neither a folder of JPEGs nor a camera")


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
