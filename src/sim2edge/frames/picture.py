"""Make the image of a frame from a captured one: decode, resize, encode, measure."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.frames.config import FramesConfig
from sim2edge.frames.episode import Defect

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True)
class Picture:
    """A cleaned image and its measurements."""

    jpeg: bytes
    captured: tuple[int, int]
    """Width and height of the captured image, pixels."""
    contrast: float
    """Largest standard deviation of the three channels, levels of 255."""
    mean: list[float]
    """Mean of R, G and B, 0..1."""
    square: list[float]
    """Mean square of R, G and B, 0..1."""


def prepare_image(data: bytes, config: FramesConfig) -> Picture:
    """Decode, resize and encode an image.

    Raises:
        Defect: the data is not a complete JPEG.
    """
    return fit_image(decode_image(data), config)


def fit_image(image: NDArray[np.uint8], config: FramesConfig) -> Picture:
    """Resize and encode a decoded image (BGR, height x width x 3)."""
    height, width = image.shape[:2]
    if (height, width) != (config.height, config.width):
        shrinks = config.height * config.width < height * width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # same as on the device
        image = np.asarray(cv2.resize(image, (config.width, config.height), interpolation=how), np.uint8)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])
    mean, deviation = (values.ravel()[::-1] / 255 for values in cv2.meanStdDev(image))
    return Picture(
        jpeg=encoded.tobytes(),
        captured=(width, height),
        contrast=float(deviation.max()) * 255,
        mean=mean.tolist(),
        square=(mean**2 + deviation**2).tolist(),
    )


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Decode a complete JPEG to BGR, height x width x 3.

    Raises:
        Defect: the data is not a complete JPEG.
    """
    if not data.startswith(JPEG_START) or not data.rstrip(b"\0").endswith(JPEG_END):
        raise Defect("image_undecodable: not a whole JPEG")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise Defect(f"image_undecodable: {error.err}") from error
    if image is None:
        raise Defect("image_undecodable: not a JPEG")
    return np.asarray(image, np.uint8)


def to_fraction(pixel: float, size: int, slack_px: float) -> float:
    """Return a coordinate as a fraction of the image side; clip one that is at most `slack_px` outside."""
    if -slack_px <= pixel <= size + slack_px:
        pixel = min(max(pixel, 0.0), float(size))
    return pixel / size
