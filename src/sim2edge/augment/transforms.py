"""Augment a training frame: draw the changes first, then apply them to image, boxes and scan.

    changes = draw_changes(row_seed(seed, episode_id, frame, copy), config)
    varied = vary(sample, changes, mirror)

A mirrored frame shows a mirrored world: boxes, bearings, scan, pose and turning change sides together. A cropped frame
shows the view of a camera with the same lens from nearer, so distances shrink with the crop; bearings stay as they were
in the scene.
"""

import hashlib
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.augment.config import AugmentConfig

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

X_MIN, Y_MIN, X_MAX, Y_MAX, DISTANCE, BEARING = range(6)
"""Columns of `Sample.boxes`."""

MIDDLE_GREY = 128


@dataclass(frozen=True)
class Sample:
    """One frame, decoded."""

    image: Image
    """BGR, height x width x 3."""
    boxes: Floats
    """[boxes, 6]: corners as fractions of the image, distance in m, bearing in rad; the last two NaN if unknown."""
    classes: NDArray[np.int32]
    """[boxes]: index of each box's class."""
    lidar: Floats | None
    """[beams], m; inf where there was no return."""
    angular_rad_s: float | None
    y_m: float | None
    yaw_rad: float | None


@dataclass(frozen=True)
class Crop:
    """A window with the proportions of the image: its side as a fraction, and its place in the rest, 0..1."""

    scale: float
    across: float
    down: float


@dataclass(frozen=True)
class Changes:
    """The changes of one copy."""

    flip: bool = False
    crop: Crop | None = None
    min_visible: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0
    blur_sigma_px: float = 0.0
    noise_std: float = 0.0
    lidar_noise_m: float = 0.0
    lidar_dropout: float = 0.0
    seed: int = 0
    """Seed of the noise."""

    def describe(self, scanned: bool = True) -> str:
        """Return the changes in words, as stored in the `augmentation` column; `scanned`: the frame has a scan."""
        words = ["flip"] if self.flip else []
        if self.crop:
            words.append(f"crop({self.crop.scale:.3f},{self.crop.across:.3f},{self.crop.down:.3f})")
        words.append(f"light({self.brightness:+.1f},{self.contrast:.3f})")
        words += [f"blur({self.blur_sigma_px:.2f})"] if self.blur_sigma_px else []
        words += [f"noise({self.noise_std:.2f})"] if self.noise_std else []
        words += [f"lidar({self.lidar_noise_m:.3f},{self.lidar_dropout:.3f})"] if scanned else []
        return " ".join(words)


def row_seed(seed: int, episode_id: str, frame: int, copy: int) -> int:
    """Return a copy's own 64-bit seed, so that neither the order nor the number of workers affects the draws."""
    text = f"{seed}/{episode_id}/{frame}/{copy}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def draw_changes(seed: int, config: AugmentConfig) -> Changes:
    """Draw the changes of a copy."""
    u = np.random.default_rng(seed).random(13).tolist()
    scale = 1 - u[2] * (1 - config.crop_min_scale)
    return Changes(
        flip=u[0] < config.flip_probability,
        crop=Crop(scale, u[3], u[4]) if u[1] < config.crop_probability else None,
        min_visible=config.min_visible,
        brightness=(2 * u[5] - 1) * config.brightness,
        contrast=1 + (2 * u[6] - 1) * config.contrast,
        blur_sigma_px=(1 - u[8]) * config.blur_max_sigma_px if u[7] < config.blur_probability else 0.0,
        noise_std=(1 - u[10]) * config.noise_max_std if u[9] < config.noise_probability else 0.0,
        lidar_noise_m=config.lidar_noise_m,
        lidar_dropout=u[11] * config.lidar_dropout,
        seed=seed,
    )


def vary(sample: Sample, changes: Changes, mirror: NDArray[np.intp]) -> Sample:
    """Apply changes to a sample; `mirror` is from `mirror_order`."""
    if changes.flip:
        sample = flip(sample, mirror)
    if changes.crop:
        sample = crop(sample, changes.crop, changes.min_visible)
    image = relight(sample.image, changes.brightness, changes.contrast)
    if changes.blur_sigma_px:
        image = blur(image, changes.blur_sigma_px)
    if changes.noise_std:
        image = add_noise(image, changes.noise_std, changes.seed)
    lidar = sample.lidar
    if lidar is not None:
        lidar = disturb_lidar(lidar, changes.lidar_noise_m, changes.lidar_dropout, changes.seed)
    return replace(sample, image=image, lidar=lidar)


def flip(sample: Sample, mirror: NDArray[np.intp]) -> Sample:
    """Mirror a sample's world left to right."""
    boxes = sample.boxes.copy()
    boxes[:, X_MIN] = 1 - sample.boxes[:, X_MAX]
    boxes[:, X_MAX] = 1 - sample.boxes[:, X_MIN]
    boxes[:, BEARING] = -sample.boxes[:, BEARING]
    return replace(
        sample,
        image=np.asarray(cv2.flip(sample.image, 1), np.uint8),
        boxes=boxes,
        lidar=None if sample.lidar is None else sample.lidar[mirror],
        angular_rad_s=_negative(sample.angular_rad_s),
        y_m=_negative(sample.y_m),
        yaw_rad=_negative(sample.yaw_rad),
    )


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def crop(sample: Sample, window: Crop, min_visible: float) -> Sample:
    """Enlarge a window of the image to the whole; clip boxes to it, and drop those with too little area left."""
    height, width = sample.image.shape[:2]
    high, wide = max(1, round(height * window.scale)), max(1, round(width * window.scale))
    top, left = round((height - high) * window.down), round((width - wide) * window.across)
    view = sample.image[top : top + high, left : left + wide]
    image = cv2.resize(view, (width, height), interpolation=cv2.INTER_LINEAR)
    boxes, kept = crop_boxes(sample.boxes, (left / width, top / height, wide / width, high / height), min_visible)
    return replace(sample, image=np.asarray(image, np.uint8), boxes=boxes, classes=sample.classes[kept])


def crop_boxes(
    boxes: Floats, window: tuple[float, float, float, float], min_visible: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the boxes as seen in a window (left, top, width, height as fractions), and which of the boxes are kept."""
    left, top, wide, high = window
    moved = boxes.copy()
    moved[:, [X_MIN, X_MAX]] = (boxes[:, [X_MIN, X_MAX]] - left) / wide
    moved[:, [Y_MIN, Y_MAX]] = (boxes[:, [Y_MIN, Y_MAX]] - top) / high
    area = _area(moved)
    moved[:, :DISTANCE] = moved[:, :DISTANCE].clip(0, 1)
    moved[:, DISTANCE] *= wide
    left_over = _area(moved)
    kept = (left_over > 0) & (left_over >= min_visible * area)
    return moved[kept], kept


def _area(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, X_MAX] - boxes[:, X_MIN]) * (boxes[:, Y_MAX] - boxes[:, Y_MIN]), np.float32)


def relight(image: Image, brightness: float, contrast: float) -> Image:
    """Stretch grey levels about the middle by `contrast`, then shift them by `brightness` levels."""
    levels = (np.arange(256, dtype=np.float32) - MIDDLE_GREY) * contrast + (MIDDLE_GREY + brightness)
    return np.asarray(cv2.LUT(image, levels.round().clip(0, 255).astype(np.uint8)), np.uint8)


def blur(image: Image, sigma_px: float) -> Image:
    """Blur an image with a Gaussian kernel of three standard deviations' radius."""
    size = 2 * math.ceil(3 * sigma_px) + 1
    return np.asarray(cv2.GaussianBlur(image, (size, size), sigma_px), np.uint8)


def add_noise(image: Image, std: float, seed: int) -> Image:
    """Add Gaussian noise to every pixel and channel, seeded here: OpenCV has one generator per thread."""
    noise = np.empty((image.shape[0], image[0].size), np.int16)  # a single plane: randn fills only the first of several
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    cv2.randn(noise, np.zeros(1), np.full(1, std))
    return np.asarray(cv2.add(image, noise.reshape(image.shape), dtype=cv2.CV_8U), np.uint8)


def disturb_lidar(lidar: Floats, noise_m: float, dropout: float, seed: int) -> Floats:
    """Add Gaussian noise to returns, clipped at 0, and drop a share of them; inf stays inf."""
    rng = np.random.default_rng([seed, 1])
    noisy = np.maximum(lidar + np.float32(noise_m) * rng.standard_normal(len(lidar), np.float32), np.float32(0))
    lost = rng.random(len(lidar), np.float32) < dropout
    return np.where(lost, np.float32(np.inf), noisy)


def mirror_order(beams: int, start_rad: float, step_rad: float) -> NDArray[np.intp] | None:
    """Return, for each beam, its counterpart on the other side: `scan[mirror_order]` is the scan of the mirrored world.

    Beam i points at a = start + i * step; the one at -a is beam -2 * start / step - i, modulo the beams in a full turn.
    None if a beam has no counterpart.
    """
    if step_rad == 0:
        return np.zeros(1, np.intp) if beams == 1 and start_rad == 0 else None
    constant = -2 * start_rad / step_rad
    whole = round(constant)
    if abs(constant - whole) > 0.05:
        return None
    other = whole - np.arange(beams)
    if abs(abs(step_rad) * beams - math.tau) < abs(step_rad) / 2:
        return np.asarray(other % beams, np.intp)
    return np.asarray(other, np.intp) if other.min() == 0 and other.max() == beams - 1 else None
