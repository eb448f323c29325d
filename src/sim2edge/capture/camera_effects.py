"""Simulate the effects of a real camera on an image: motion blur, rolling shutter, gain, tint, noise.

    image = develop(view.image, spec.camera, yaw_rate_rad_s, focal_pixels(height, fov_deg), rng)

Labels refer to the undisturbed image, taken when the first row is read. While the robot turns at w rad/s, an edge at
the image's middle is off by up to f * w * readout in the last row and blurred by f * w * shutter / 2 to either side: at
the defaults (f = 104 pixels, 0.02 s each) and 1 rad/s that is 2 pixels and 1 pixel.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.seeds import Rng
from sim2edge.capture.specs import CameraSpec

Image = NDArray[np.uint8]

MIN_BEND_PX = 0.05


def develop(image: Image, camera: CameraSpec, yaw_rate_rad_s: float, focal_px: float, rng: Rng) -> Image:
    """Return the image (height, width, RGB) that the camera delivers; unchanged if the camera has no effect."""
    pan = yaw_rate_rad_s * focal_px
    image = bend(blur(image, abs(pan) * camera.shutter_s), pan * camera.readout_s)
    return add_noise(amplify(image, camera), camera.noise, rng)


def blur(image: Image, width_px: float) -> Image:
    """Apply motion blur: the mean over the distance the scene moves during the exposure; below a pixel, none."""
    if width_px <= 1:
        return image
    reach = math.ceil((width_px - 1) / 2)
    edges = np.arange(-reach, reach + 2) - 0.5
    kernel = np.diff(edges.clip(-width_px / 2, width_px / 2)) / width_px
    blurred = cv2.filter2D(image, -1, kernel[None].astype(np.float32), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.uint8)


def bend(image: Image, last_row_px: float) -> Image:
    """Apply the rolling shutter: later rows show the scene moved to the right (when the robot turns left)."""
    if abs(last_row_px) < MIN_BEND_PX:
        return image
    height, width = image.shape[:2]
    shear = np.array([[1, -last_row_px / height, 0], [0, 1, 0]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, shear, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def amplify(image: Image, camera: CameraSpec) -> Image:
    """Apply exposure and tint: a gain of each channel, saturating."""
    gains = camera.exposure * np.array(camera.tint)
    if np.all(gains == 1):
        return image
    table = np.rint(np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def add_noise(image: Image, deviation: float, rng: Rng) -> Image:
    """Add Gaussian noise to each channel of each pixel, saturating."""
    if deviation == 0:
        return image
    # OpenCV's generator takes a quarter of the time of NumPy's; its state is per thread, so it is seeded every time.
    cv2.setRNGSeed(int(rng.integers(1 << 31)))
    flat = image.reshape(len(image), -1)
    noise = np.empty(flat.shape, np.int16)
    cv2.randn(noise, np.zeros(1), np.full(1, deviation))
    return np.asarray(cv2.add(flat, noise, dtype=cv2.CV_8U), np.uint8).reshape(image.shape)
