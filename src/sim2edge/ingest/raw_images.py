"""Convert raw images to RGB: the 8-bit encodings of ROS (`sensor_msgs/image_encodings.h`) and of Foxglove.

    rgb = to_rgb("bayer_rggb8", data, width, height, step)

Names without colours follow OpenCV's convention, as `cv_bridge` does: `8UC3` is blue, green, red. Alpha is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoding:
    """The layout of an image's bytes."""

    channels: int
    """Bytes of a pixel in a row."""
    conversion: int | None
    """OpenCV's code for the conversion to RGB; None: it is RGB."""
    rows: Fraction = Fraction(1)
    """Rows of bytes a row of pixels."""
    even: bool = False
    """Whether two pixels share their colour, so that the width is even."""


RGBA, BGRA = Encoding(4, cv2.COLOR_RGBA2RGB), Encoding(4, cv2.COLOR_BGRA2RGB)
BGR, GREY = Encoding(3, cv2.COLOR_BGR2RGB), Encoding(1, cv2.COLOR_GRAY2RGB)
UYVY, YUYV = Encoding(2, cv2.COLOR_YUV2RGB_UYVY, even=True), Encoding(2, cv2.COLOR_YUV2RGB_YUY2, even=True)
ENCODINGS: Mapping[str, Encoding] = {
    "rgb8": Encoding(3, None),
    "bgr8": BGR,
    "rgba8": RGBA,
    "bgra8": BGRA,
    "mono8": GREY,
    "8UC1": GREY,
    "8UC3": BGR,
    "8UC4": BGRA,
    "yuv422": UYVY,
    "uyvy": UYVY,
    "yuv422_yuy2": YUYV,
    "yuyv": YUYV,
    "nv12": Encoding(1, cv2.COLOR_YUV2RGB_NV12, Fraction(3, 2), even=True),
    "nv21": Encoding(1, cv2.COLOR_YUV2RGB_NV21, Fraction(3, 2), even=True),
    "bayer_rggb8": Encoding(1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": Encoding(1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": Encoding(1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": Encoding(1, cv2.COLOR_BayerGRBG2RGB),
}
SHORT = [name for name in ENCODINGS if not name.startswith("bayer") and name not in ("uyvy", "yuyv")]
"""What an error lists, as it is cut where it gets long."""


def is_whole(encoding: str, size: int, width: int, height: int, step: int) -> bool:
    """Return whether `size` bytes are a whole image; `step` is bytes a row, 0 for rows without padding.

    Raises:
        ValueError: the encoding is not supported.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding '{encoding[:24]}' is not one of: {', '.join(SHORT)} or bayer_<order>8")
    layout = ENCODINGS[encoding]
    row = width * layout.channels
    filled = width > 0 and height > 0 and (step or row) >= row and not (layout.even and width % 2)
    rows = height * layout.rows
    return filled and rows.denominator == 1 and size >= (step or row) * int(rows)


def to_rgb(encoding: str, data: bytes, width: int, height: int, step: int) -> NDArray[np.uint8]:
    """Return a whole image as RGB, height x width x 3."""
    layout = ENCODINGS[encoding]
    row, rows = width * layout.channels, int(height * layout.rows)
    step = step or row
    pixels = np.frombuffer(data, np.uint8, step * rows).reshape(rows, step)[:, :row]
    if layout.channels > 1:
        pixels = pixels.reshape(rows, width, layout.channels)
    if layout.conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), layout.conversion), np.uint8)
