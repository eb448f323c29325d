"""Draw obstacle shapes: each class is a family of shapes, built of simple solids that every simulator has.

Sizes, proportions and colours are drawn for each obstacle; the structure of its class is fixed. Coordinates are in the
obstacle's own frame: the middle of its footprint on the floor is the origin, z is up.
"""

import colorsys
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from sim2edge.capture.seeds import Rng
from sim2edge.capture.specs import Part, Vector


def colour(
    rng: Rng, hue: tuple[float, float] = (0, 1), saturation: float = 0.6, value: tuple[float, float] = (0.3, 0.95)
) -> Vector:
    """Draw a colour (RGB, 0..1) with a hue within the range (in turns) and at most the given saturation."""
    return colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(0.1, 1) * saturation, rng.uniform(*value))


def shade(rgb: Vector, factor: float) -> Vector:
    """Return a lighter or darker version of a colour."""
    red, green, blue = (min(1.0, channel * factor) for channel in rgb)
    return red, green, blue


def box(position: Vector, half: Vector, rgb: Vector) -> Part:
    """Return a box around `position`."""
    return Part(shape="box", size=half, position=position, rgb=rgb)


def upright(x: float, y: float, bottom: float, top: float, radius: float, rgb: Vector) -> Part:
    """Return a standing cylinder."""
    return Part(shape="cylinder", size=(radius, (top - bottom) / 2), position=(x, y, (top + bottom) / 2), rgb=rgb)


def limb(start: Vector, end: Vector, radius: float, rgb: Vector) -> Part:
    """Return a capsule whose axis runs from `start` to `end`."""
    axis = np.subtract(end, start)
    length = float(np.linalg.norm(axis))
    quaternion = np.array([length + axis[2], -axis[1], axis[0], 0.0])
    norm = np.linalg.norm(quaternion)
    w, x, y, z = quaternion / norm if norm > 1e-9 else (0.0, 1.0, 0.0, 0.0)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    return Part(shape="capsule", size=(radius, length / 2), position=middle, quaternion=(w, x, y, z), rgb=rgb)


def make_box(rng: Rng) -> list[Part]:
    """Draw a crate or carton: one block with a strip of tape and a lid's edge."""
    rgb = colour(rng)
    half = (rng.uniform(0.14, 0.32), rng.uniform(0.14, 0.32), rng.uniform(0.14, 0.36))
    strip = shade(rgb, rng.choice([0.55, 1.5]))
    width = rng.uniform(0.02, 0.04)
    return [
        box((0, 0, half[2]), half, rgb),
        box((0, 0, half[2]), (width, half[1] + 0.004, half[2] + 0.004), strip),
        box((0, 0, 2 * half[2] - 0.03), (half[0] + 0.008, half[1] + 0.008, 0.008), shade(rgb, 0.75)),
    ]


def make_cylinder(rng: Rng) -> list[Part]:
    """Draw a barrel or bin: one standing cylinder with bands around it."""
    rgb = colour(rng)
    radius, height = rng.uniform(0.12, 0.24), rng.uniform(0.35, 0.9)
    band = shade(rgb, rng.choice([0.5, 1.6]))
    levels = np.linspace(0, height, int(rng.integers(3, 5)) + 1)[1:-1]
    bands = [upright(0, 0, level - 0.02, level + 0.02, radius + 0.008, band) for level in levels]
    return [upright(0, 0, 0, height, radius, rgb), upright(0, 0, height - 0.03, height, radius + 0.012, band), *bands]


def make_chair(rng: Rng) -> list[Part]:
    """Draw a chair: four thin legs, a seat, and a back that is a slab or slats."""
    frame, cushion = colour(rng), colour(rng)
    x, y, seat = rng.uniform(0.18, 0.24), rng.uniform(0.18, 0.24), rng.uniform(0.36, 0.46)
    leg, top = rng.uniform(0.014, 0.024), seat + rng.uniform(0.3, 0.45)
    parts = [
        box((sx * (x - leg), sy * (y - leg), seat / 2), (leg, leg, seat / 2), frame) for sx in (-1, 1) for sy in (-1, 1)
    ]
    parts.append(box((0, 0, seat), (x, y, rng.uniform(0.015, 0.035)), cushion))
    middle, half = (seat + top) / 2, (top - seat) / 2
    if rng.random() < 0.5:
        parts.append(box((-x + 0.015, 0, middle + 0.03), (0.015, y, half - 0.03), cushion))
        return parts
    parts += [box((-x + leg, sy * (y - leg), middle), (leg, leg, half), frame) for sy in (-1, 1)]
    parts += [box((-x + leg, 0, seat + (top - seat) * share), (0.01, y, 0.03), frame) for share in (0.4, 0.65, 0.92)]
    return parts


def make_table(rng: Rng) -> list[Part]:
    """Draw a table: a wide top on four legs at its corners, with boards between them under the top."""
    top, frame = colour(rng), colour(rng)
    x, y, height = rng.uniform(0.36, 0.55), rng.uniform(0.28, 0.4), rng.uniform(0.5, 0.72)
    leg, thickness = rng.uniform(0.022, 0.04), rng.uniform(0.018, 0.03)
    parts = [box((0, 0, height), (x, y, thickness), top)]
    parts += [
        box((sx * (x - leg), sy * (y - leg), height / 2), (leg, leg, height / 2), frame)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    parts += [box((0, sy * (y - leg), height - thickness - 0.035), (x - leg, 0.012, 0.035), frame) for sy in (-1, 1)]
    return parts


def draw_leaf_colour(rng: Rng) -> Vector:
    """Draw a green, from yellowish to bluish."""
    return colour(rng, (0.2, 0.42), 0.85, (0.3, 0.7))


def make_plant(rng: Rng) -> list[Part]:
    """Draw a pot with a bush of balls or with long leaves."""
    pot = colour(rng)
    radius, rim = rng.uniform(0.11, 0.18), rng.uniform(0.2, 0.32)
    parts = [upright(0, 0, 0, rim - 0.04, radius * 0.85, pot), upright(0, 0, rim - 0.05, rim, radius, shade(pot, 0.85))]
    if rng.random() < 0.5:
        crown = rng.uniform(0.14, 0.2)
        parts.append(limb((0, 0, rim), (0, 0, rim + crown), 0.02, (0.35, 0.25, 0.15)))
        for _ in range(int(rng.integers(7, 11))):
            offset = rng.normal(0, 0.08, 3).clip(-0.12, 0.12)
            centre = (float(offset[0]), float(offset[1]), float(rim + crown * 1.5 + offset[2]))
            parts.append(
                Part(shape="sphere", size=(rng.uniform(0.06, 0.11),), position=centre, rgb=draw_leaf_colour(rng))
            )
        return parts
    count = int(rng.integers(8, 13))
    for turn in np.arange(count) / count * math.tau + rng.uniform(0, 1):
        reach, rise = rng.uniform(0.08, 0.26), rng.uniform(0.25, 0.6)
        tip = (reach * math.cos(turn), reach * math.sin(turn), rim + rise)
        parts.append(limb((tip[0] * 0.1, tip[1] * 0.1, rim), tip, rng.uniform(0.014, 0.028), draw_leaf_colour(rng)))
    return parts


def make_person(rng: Rng) -> list[Part]:
    """Draw a standing person: shoes, two thick legs, a torso with arms, and a head."""
    skin = colour(rng, (0.04, 0.09), 0.6, (0.35, 0.95))
    trousers, shirt, shoes = (
        colour(rng, saturation=0.8),
        colour(rng, saturation=0.9),
        colour(rng, saturation=0.4, value=(0.1, 0.5)),
    )
    size, stance, stride = rng.uniform(0.88, 1.08), rng.uniform(0.08, 0.13), rng.uniform(-0.08, 0.08)
    hip, neck = 0.85 * size, 1.45 * size
    parts = []
    for side in (-1, 1):
        foot = (side * stride, side * stance)
        parts.append(limb((foot[0], foot[1], 0.12), (0, side * 0.09, hip), 0.075 * size, trousers))
        parts.append(box((foot[0] + 0.04, foot[1], 0.04), (0.13, 0.05, 0.04), shoes))
        hand = (rng.uniform(-0.1, 0.25), side * rng.uniform(0.26, 0.36), hip + rng.uniform(-0.05, 0.25))
        parts.append(limb((0, side * 0.2, neck - 0.08), hand, 0.045 * size, shirt))
        parts.append(Part(shape="sphere", size=(0.055,), position=hand, rgb=skin))
    parts.append(box((0, 0, (hip + neck) / 2), (0.1, 0.18 * size, (neck - hip) / 2 + 0.03), shirt))
    parts.append(Part(shape="sphere", size=(0.11,), position=(0.0, 0.0, neck + 0.15), rgb=skin))
    return parts


def make_shoe(rng: Rng) -> list[Part]:
    """Draw a shoe left on the floor: sole, heel, upper and toe; lower than the LiDAR."""
    upper, sole = colour(rng, saturation=0.7, value=(0.15, 0.9)), colour(rng, saturation=0.2, value=(0.1, 0.95))
    length, width = rng.uniform(0.12, 0.16), rng.uniform(0.045, 0.06)
    thickness, height = rng.uniform(0.012, 0.02), rng.uniform(0.055, 0.085)
    instep = 0.55 * height
    return [
        box((0, 0, thickness), (length, width, thickness), sole),
        box((-0.45 * length, 0, height), (0.5 * length, 0.9 * width, height - thickness), upper),
        box((0.2 * length, 0, thickness + instep), (0.35 * length, 0.9 * width, instep), upper),
        limb(
            (0.55 * length, -0.35 * width, 0.75 * instep + thickness),
            (0.55 * length, 0.35 * width, 0.75 * instep + thickness),
            0.75 * instep,
            shade(upper, 0.85),
        ),
    ]


def make_cable(rng: Rng) -> list[Part]:
    """Draw a cable on the floor: a winding line of thin limbs, often with a plug; below the LiDAR's plane."""
    rgb = colour(rng, saturation=0.5, value=(0.05, 0.9))
    radius, step = rng.uniform(0.011, 0.016), rng.uniform(0.1, 0.14)
    heading, place, points = rng.uniform(-math.pi, math.pi), np.zeros(2), [np.zeros(2)]
    bend = rng.uniform(0.5, 1.0) * rng.choice([-1, 1])
    for _ in range(int(rng.integers(6, 11))):
        place = place + step * np.array([math.cos(heading), math.sin(heading)])
        points.append(place)
        heading += bend + rng.normal(0, 0.35)
        bend *= rng.choice([1, 1, -1])
    middle = np.mean(points, axis=0)
    path = [(float(x), float(y), radius) for x, y in np.array(points) - middle]
    parts = [limb(one, other, radius, rgb) for one, other in pairwise(path)]
    if rng.random() < 0.6:
        x, y, _ = path[-1]
        parts.append(box((x, y, 0.02), (0.03, 0.02, 0.02), shade(rgb, 0.7)))
    return parts


DOOR_HEIGHT_M = 2.05
JAMB_HALF_M = 0.045
"""Half the width of a jamb."""
JAMB_PROUD_M = 0.02
"""How far a frame protrudes from either face of its wall, metres."""


def make_door_frame(rng: Rng, opening_m: float, depth_m: float) -> tuple[list[list[Part]], list[Part]]:
    """Draw a frame around an opening that the robot drives through along x: two jambs, and a lintel above.

    `depth_m` is half the thickness of the wall around it.
    """
    rgb = colour(rng, saturation=0.5, value=(0.3, 0.95))
    deep, high = depth_m + JAMB_PROUD_M, DOOR_HEIGHT_M / 2
    across = opening_m / 2 + JAMB_HALF_M
    jambs = [[box((0, side * across, high), (deep, JAMB_HALF_M, high), rgb)] for side in (-1, 1)]
    lintel = box((0, 0, DOOR_HEIGHT_M + JAMB_HALF_M), (deep, opening_m / 2 + 2 * JAMB_HALF_M, JAMB_HALF_M), rgb)
    return jambs, [lintel]


def make_closed_door(rng: Rng) -> list[Part]:
    """Draw a closed door in its frame, flat against a wall at its back (towards -x)."""
    frame, leaf = colour(rng, saturation=0.5, value=(0.3, 0.95)), colour(rng, saturation=0.5, value=(0.3, 0.95))
    half, high = rng.uniform(0.36, 0.46), DOOR_HEIGHT_M / 2
    depth = 0.025
    handle = shade(leaf, 0.4)
    return [
        box((0.012 - depth, 0, high), (0.012, half, high), leaf),
        *(box((0, side * (half + JAMB_HALF_M), high), (depth, JAMB_HALF_M, high), frame) for side in (-1, 1)),
        box((0, 0, DOOR_HEIGHT_M + JAMB_HALF_M), (depth, half + 2 * JAMB_HALF_M, JAMB_HALF_M), frame),
        box((0.01, 0.8 * half, 1.0), (0.015, 0.05, 0.015), handle),
    ]


SHAPES: dict[str, Callable[[Rng], list[Part]]] = {
    "box": make_box,
    "cylinder": make_cylinder,
    "chair": make_chair,
    "table": make_table,
    "plant": make_plant,
    "person": make_person,
    "shoe": make_shoe,
    "cable": make_cable,
    "door_frame": make_closed_door,
}
"""Function that draws each class of `sim2edge.recipes.perception.CLASSES`; open frames: `make_door_frame`."""
