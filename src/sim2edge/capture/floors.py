"""Floor textures: wood, tile, carpet and concrete, drawn anew for each room from its texture seed."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.obstacles import colour
from sim2edge.capture.seeds import Rng, generator

TEXELS_PER_METRE = 128

Picture = NDArray[np.float32]


def floor_texture(floor: str, seed: str, width_m: float, length_m: float) -> NDArray[np.uint8]:
    """Draw the whole floor: RGB, rows along y (row 0 at the lowest y), columns along x, 128 texels a metre."""
    shape = round(length_m * TEXELS_PER_METRE), round(width_m * TEXELS_PER_METRE)
    picture = FLOORS[floor](generator(seed, "floor texture"), shape)
    return (picture.clip(0, 1) * 255).astype(np.uint8)


def noise(rng: Rng, shape: tuple[int, int], cell: tuple[float, float]) -> Picture:
    """Smooth noise of zero mean and deviation about 1; `cell` is its grain (rows, columns) in texels."""
    small = (max(2, round(shape[0] / cell[0])), max(2, round(shape[1] / cell[1])))
    values = rng.standard_normal(small, dtype=np.float32)
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _tint(rgb: tuple[float, float, float], light: Picture) -> Picture:
    return np.asarray(np.array(rgb, np.float32) * light[..., None], dtype=np.float32)


def _wood(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Planks with staggered ends, grain along them and dark seams."""
    plank, length = int(rng.uniform(0.09, 0.17) * TEXELS_PER_METRE), int(rng.uniform(0.8, 1.5) * TEXELS_PER_METRE)
    turned = rng.random() < 0.5
    rows, columns = shape[::-1] if turned else shape
    row, column = np.arange(rows)[:, None], np.arange(columns)[None, :]
    course = row // plank
    shift = rng.integers(0, length, course.max() + 1)[course]
    tone = rng.normal(0, 0.1, (course.max() + 1, (columns + length) // length + 1))[course, (column + shift) // length]
    light = 1 + tone + 0.07 * noise(rng, (rows, columns), (2, 60)) + 0.03 * noise(rng, (rows, columns), (1, 8))
    seam = (row % plank == 0) | ((column + shift) % length == 0)
    light = np.where(seam, 0.45, light).astype(np.float32)
    rgb = colour(rng, (0.055, 0.105), 0.65, (0.5, 0.85))
    rgb = (rgb[0], min(rgb[1], rgb[0] * 0.8), min(rgb[2], rgb[0] * 0.6))
    return _tint(rgb, light.T if turned else light)


def _tile(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Square tiles with grout lines, plain or as a chequerboard."""
    side, grout = int(rng.uniform(0.25, 0.45) * TEXELS_PER_METRE), 2
    row, column = np.arange(shape[0])[:, None] + rng.integers(side), np.arange(shape[1])[None, :] + rng.integers(side)
    i, j = row // side, column // side
    tone = rng.normal(0, 0.03, (i.max() + 1, j.max() + 1))[i, j]
    if rng.random() < 0.4:
        tone = tone - 0.35 * ((i + j) % 2)
    light = 1 + tone + 0.02 * noise(rng, shape, (30, 30))
    joint = (row % side < grout) | (column % side < grout)
    light = np.where(joint, rng.choice([0.35, 0.55]), light).astype(np.float32)
    return _tint(colour(rng, saturation=0.25, value=(0.7, 0.95)), light)


def _carpet(rng: Rng, shape: tuple[int, int]) -> Picture:
    """A saturated colour with coarse pile."""
    light = 1 + 0.14 * noise(rng, shape, (1, 1)) + 0.14 * noise(rng, shape, (3, 3)) + 0.05 * noise(rng, shape, (12, 12))
    rgb = colour(rng, (0.5, 1.05), 1.0, (0.35, 0.75))
    strength = rng.uniform(0.55, 0.85)
    peak = max(rgb)
    saturated = tuple(peak * (1 - strength) + strength * (c - min(rgb)) / (peak - min(rgb) + 1e-6) * peak for c in rgb)
    return _tint((saturated[0], saturated[1], saturated[2]), light)


def _concrete(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Grey with large stains, fine speckle and a few thin cracks."""
    light = (
        1 + 0.1 * noise(rng, shape, (70, 70)) + 0.07 * noise(rng, shape, (22, 22)) + 0.03 * noise(rng, shape, (2, 2))
    )
    light = light.astype(np.float32)
    for _ in range(int(rng.integers(3, 7))):
        steps = rng.normal(0, 14, (40, 2)) + rng.normal(0, 8, 2)
        line = (np.cumsum(steps, axis=0) + rng.uniform((0, 0), shape[::-1])).astype(np.int32)
        cv2.polylines(light, [line.reshape(-1, 1, 2)], False, 0.6, 1)
    return _tint(colour(rng, saturation=0.06, value=(0.45, 0.75)), light)


FLOORS: dict[str, Callable[[Rng, tuple[int, int]], Picture]] = {
    "wood": _wood,
    "tile": _tile,
    "carpet": _carpet,
    "concrete": _concrete,
}
"""How each floor of `sim2edge.recipes.perception.FLOORS` is drawn."""
