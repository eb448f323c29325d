"""Draw floor textures: several styles of each floor, drawn anew for each room from its texture seed, and rugs on them.

One style of every floor is held out: a batch with `room.textures=held_out` tests a model on unseen floors.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.obstacles import colour
from sim2edge.capture.seeds import Rng, generator
from sim2edge.capture.specs import RoomSpec, Rug

TEXELS_PER_METRE = 128

Picture = NDArray[np.float32]


def floor_texture(room: RoomSpec) -> NDArray[np.uint8]:
    """Draw the whole floor: RGB, rows along y (row 0 at the lowest y), columns along x, 128 texels a metre."""
    shape = round(room.length_m * TEXELS_PER_METRE), round(room.width_m * TEXELS_PER_METRE)
    picture = STYLES[room.style](generator(room.texture_seed, "floor texture"), shape)
    for rug in room.rugs:
        _lay(picture, rug, room)
    return (picture.clip(0, 1) * 255).astype(np.uint8)


def _lay(floor: Picture, rug: Rug, room: RoomSpec) -> None:
    """Paint a rug on the floor, with a hem around it."""
    shape = round(2 * rug.half_y_m * TEXELS_PER_METRE), round(2 * rug.half_x_m * TEXELS_PER_METRE)
    picture = STYLES[rug.style](generator(rug.texture_seed, "rug texture"), shape)
    hem = max(2, round(0.03 * TEXELS_PER_METRE))
    framed = np.full_like(picture, picture.mean() * 0.6)
    framed[hem:-hem, hem:-hem] = picture[hem:-hem, hem:-hem]
    cos, sin = math.cos(rug.yaw_rad), math.sin(rug.yaw_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    corner = np.array([rug.x_m + room.width_m / 2, rug.y_m + room.length_m / 2]) - turn @ [rug.half_x_m, rug.half_y_m]
    affine = np.column_stack([turn, corner * TEXELS_PER_METRE])
    size = floor.shape[1], floor.shape[0]
    cover = cv2.warpAffine(np.ones(shape, np.float32), affine, size, flags=cv2.INTER_NEAREST) > 0
    drawn = np.asarray(cv2.warpAffine(framed, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    floor[cover] = drawn[cover]


def noise(rng: Rng, shape: tuple[int, int], cell: tuple[float, float]) -> Picture:
    """Return smooth noise of mean 0 and deviation about 1; `cell` is its grain (rows, columns) in texels."""
    small = (max(2, round(shape[0] / cell[0])), max(2, round(shape[1] / cell[1])))
    values = rng.standard_normal(small, dtype=np.float32)
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _tint(rgb: tuple[float, float, float], light: Picture) -> Picture:
    return np.asarray(np.array(rgb, np.float32) * light[..., None], dtype=np.float32)


def _planks(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw planks with staggered ends, grain along them and dark seams."""
    return _boards(rng, shape, (0.09, 0.17), (0.8, 1.5))


def _parquet(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw short, narrow strips."""
    return _boards(rng, shape, (0.05, 0.08), (0.3, 0.5))


def _wide_boards(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw long boards, wider than those for training."""
    return _boards(rng, shape, (0.2, 0.28), (1.8, 2.6))


def _boards(rng: Rng, shape: tuple[int, int], width_m: tuple[float, float], length_m: tuple[float, float]) -> Picture:
    plank, length = int(rng.uniform(*width_m) * TEXELS_PER_METRE), int(rng.uniform(*length_m) * TEXELS_PER_METRE)
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


def _plain_tiles(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw square tiles of one colour."""
    return _tiles(rng, shape, (0.25, 0.45), 0.0, 0)


def _chequer(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw square tiles, alternately light and dark."""
    return _tiles(rng, shape, (0.25, 0.45), 0.35, 0)


def _bricks(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw tiles twice as long as wide, each row shifted by half a tile."""
    return _tiles(rng, shape, (0.14, 0.22), 0.0, 1)


def _tiles(rng: Rng, shape: tuple[int, int], side_m: tuple[float, float], contrast: float, shifted: int) -> Picture:
    side, grout = int(rng.uniform(*side_m) * TEXELS_PER_METRE), 2
    row, column = np.arange(shape[0])[:, None] + rng.integers(side), np.arange(shape[1])[None, :] + rng.integers(side)
    i = row // side
    long = side * (1 + shifted)
    column = column + shifted * side * (i % 2)
    j = column // long
    tone = rng.normal(0, 0.03, (i.max() + 1, j.max() + 1))[i, j] - contrast * ((i + j) % 2)
    light = 1 + tone + 0.02 * noise(rng, shape, (30, 30))
    joint = (row % side < grout) | (column % long < grout)
    light = np.where(joint, rng.choice([0.35, 0.55]), light).astype(np.float32)
    return _tint(colour(rng, saturation=0.25, value=(0.7, 0.95)), light)


def _pile(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw a saturated colour with coarse pile."""
    light = 1 + 0.14 * noise(rng, shape, (1, 1)) + 0.14 * noise(rng, shape, (3, 3)) + 0.05 * noise(rng, shape, (12, 12))
    return _dye(rng, light)


def _loops(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw loop pile in fine rows."""
    rows = np.sin(np.arange(shape[0]) * math.tau / rng.uniform(3, 6))[:, None]
    light = 1 + 0.12 * rows + 0.12 * noise(rng, shape, (1, 2)) + 0.05 * noise(rng, shape, (16, 16))
    return _dye(rng, light.astype(np.float32))


def _flecked(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw short pile with light and dark flecks."""
    flecks = noise(rng, shape, (5, 5))
    light = 1 + 0.1 * noise(rng, shape, (1, 1)) + 0.22 * np.sign(flecks) * (np.abs(flecks) > 1.2)
    return _dye(rng, light.astype(np.float32))


def _dye(rng: Rng, light: Picture) -> Picture:
    rgb = colour(rng, (0.5, 1.05), 1.0, (0.35, 0.75))
    strength = rng.uniform(0.55, 0.85)
    peak = max(rgb)
    saturated = tuple(peak * (1 - strength) + strength * (c - min(rgb)) / (peak - min(rgb) + 1e-6) * peak for c in rgb)
    return _tint((saturated[0], saturated[1], saturated[2]), light)


def _stained(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw grey with large stains, fine speckle and a few thin cracks."""
    return _cast(rng, shape, (0.1, 0.07, 0.03), int(rng.integers(3, 7)))


def _smooth(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw trowelled grey with faint clouds and without cracks."""
    return _cast(rng, shape, (0.07, 0.03, 0.015), 0)


def _rough(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw grey with coarse speckle and many cracks."""
    return _cast(rng, shape, (0.08, 0.1, 0.08), int(rng.integers(8, 14)))


def _cast(rng: Rng, shape: tuple[int, int], depth: tuple[float, float, float], cracks: int) -> Picture:
    grains = ((70, 70), (22, 22), (2, 2))
    light = np.ones(shape, np.float32)
    for share, grain in zip(depth, grains, strict=True):
        light += share * noise(rng, shape, grain)
    for _ in range(cracks):
        steps = rng.normal(0, 14, (40, 2)) + rng.normal(0, 8, 2)
        line = (np.cumsum(steps, axis=0) + rng.uniform((0, 0), shape[::-1])).astype(np.int32)
        cv2.polylines(light, [line.reshape(-1, 1, 2)], False, 0.6, 1)
    return _tint(colour(rng, saturation=0.06, value=(0.45, 0.75)), light)


def _woven(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw broad stripes of three colours across the rug."""
    count = int(rng.integers(5, 12))
    tones = [colour(rng, saturation=0.9, value=(0.25, 0.9)) for _ in range(3)]
    stripe = (np.arange(shape[1]) * count // shape[1]) % 3
    return _shed(rng, np.broadcast_to(np.array(tones, np.float32)[stripe], (*shape, 3)))


def _bordered(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw a field with frames of other colours around it."""
    picture = np.empty((*shape, 3), np.float32)
    for inset in (0.0, 0.1, 0.16, 0.24):
        row, column = int(inset * shape[0]), int(inset * shape[1])
        picture[row : shape[0] - row, column : shape[1] - column] = colour(rng, saturation=0.9, value=(0.25, 0.9))
    return _shed(rng, picture)


def _diamonds(rng: Rng, shape: tuple[int, int]) -> Picture:
    """Draw diamonds of two colours."""
    size = rng.uniform(0.15, 0.3) * TEXELS_PER_METRE
    row, column = np.indices(shape)
    odd = (((row + column) // size + (row - column) // size) % 2).astype(int)
    return _shed(rng, np.array([colour(rng, saturation=0.9, value=(0.25, 0.9)) for _ in range(2)], np.float32)[odd])


def _shed(rng: Rng, picture: NDArray[np.float32]) -> Picture:
    light = 1 + 0.1 * noise(rng, (picture.shape[0], picture.shape[1]), (1, 1))
    return np.asarray(picture * light[..., None], np.float32)


TRAINING: dict[str, tuple[str, ...]] = {
    "wood": ("planks", "parquet"),
    "tile": ("plain_tiles", "chequer"),
    "carpet": ("pile", "loops"),
    "concrete": ("stained", "smooth"),
    "rug": ("woven", "bordered"),
}
"""Styles of each floor of `sim2edge.recipes.perception.FLOORS` in batches for training."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "wood": ("wide_boards",),
    "tile": ("bricks",),
    "carpet": ("flecked",),
    "concrete": ("rough",),
    "rug": ("diamonds",),
}
"""Styles held out for evaluation."""

STYLES: dict[str, Callable[[Rng, tuple[int, int]], Picture]] = {
    "planks": _planks,
    "parquet": _parquet,
    "wide_boards": _wide_boards,
    "plain_tiles": _plain_tiles,
    "chequer": _chequer,
    "bricks": _bricks,
    "pile": _pile,
    "loops": _loops,
    "flecked": _flecked,
    "stained": _stained,
    "smooth": _smooth,
    "rough": _rough,
    "woven": _woven,
    "bordered": _bordered,
    "diamonds": _diamonds,
}
"""Function that draws each style."""


def draw_style(rng: Rng, floor: str, textures: str) -> str:
    """Return a random style of a floor; `textures` as in the config."""
    styles = {"training": TRAINING[floor], "held_out": HELD_OUT[floor], "all": TRAINING[floor] + HELD_OUT[floor]}
    return str(rng.choice(styles[textures]))
