"""Encode the camera's images as JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Encode an RGB image (height, width, 3); `quality` in percent."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("the JPEG encoder failed")
    return bytes(data)
