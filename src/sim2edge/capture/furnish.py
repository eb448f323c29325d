"""Furnish a planned room: obstacles that fit, walking persons, rugs, decoration and lights."""

import math

import numpy as np

from sim2edge.capture.config import LightingConfig, RoomConfig
from sim2edge.capture.floors import draw_style
from sim2edge.capture.footprints import Points, hull_distance, make_obstacle, place, placed_footprints, wall_footprint
from sim2edge.capture.layouts import WALL_HALF_M, Plan
from sim2edge.capture.obstacles import SHAPES, box, colour, make_door_frame, shade
from sim2edge.capture.seeds import Rng
from sim2edge.capture.specs import Light, Motion, Obstacle, Part, Rug, Vector
from sim2edge.episodes.moment import Pose

OVERHEAD_M = 1.0
"""Walls that begin above this height do not obstruct the robot."""
TRIES = 40
"""Places tried for an obstacle before the room is rejected as crowded."""
WALK_M = (1.0, 3.0)
"""Length of a walk."""


def place_obstacles(rng: Rng, config: RoomConfig, plan: Plan) -> tuple[Obstacle, ...] | None:
    """Draw obstacles that overlap neither each other nor a wall, with classes as even as their number allows.

    None when one of them found no place."""
    usual_m2 = (sum(config.side_m) / 2) ** 2
    drawn = rng.integers(config.obstacles[0], config.obstacles[1] + 1)
    count = round(float(drawn) * plan.crowd * plan.floor_m2 / usual_m2)
    classes = config.classes
    rounds = [rng.permutation(len(classes)) for _ in range(-(-count // len(classes)))]
    labels = [classes[k] for k in np.concatenate([[], *rounds])[:count].astype(int)]
    inner = [wall_footprint(wall) for wall in plan.parts((0, 0, 0))[4:] if wall.position[2] - wall.size[2] < OVERHEAD_M]
    placed = _door_frames(rng, plan)
    taken = inner + [polygon for one in placed for polygon in placed_footprints(one)]
    if placed and plan.opening:
        # Keep the passage through the door free.
        taken.append(place(((-0.6, -0.4), (0.6, -0.4), (0.6, 0.4), (-0.6, 0.4)), plan.opening[0]))
    for label in labels:
        obstacle = _place(rng, config, plan, label, len(placed), taken)
        if obstacle is None:
            return None
        placed.append(obstacle)
        taken += _taken(obstacle)
    return tuple(placed)


def _door_frames(rng: Rng, plan: Plan) -> list[Obstacle]:
    if plan.opening is None:
        return []
    pose, width = plan.opening
    jambs, lintel = make_door_frame(rng, width, WALL_HALF_M)
    return [make_obstacle(0, "door_frame", pose, jambs, lintel)]


def _place(rng: Rng, config: RoomConfig, plan: Plan, label: str, instance: int, taken: list[Points]) -> Obstacle | None:
    parts = SHAPES[label](rng)
    walks = label == "person" and rng.random() < config.walking
    for _ in range(TRIES):
        pose = _beside_a_wall(rng, plan, parts) if label == "door_frame" else _anywhere(rng, plan)
        motion = _draw_walk(rng, config, pose) if walks else None
        candidate = make_obstacle(instance, label, pose, [parts], motion=motion)
        if _fits(candidate, taken, 0.0 if label == "door_frame" else config.gap_m, plan):
            return candidate
    return None


def _anywhere(rng: Rng, plan: Plan) -> Pose:
    x, y = rng.uniform(-0.5, 0.5) * plan.width_m, rng.uniform(-0.5, 0.5) * plan.length_m
    return Pose(x, y, rng.uniform(-math.pi, math.pi))


def _beside_a_wall(rng: Rng, plan: Plan, parts: list[Part]) -> Pose:
    """Draw a pose with its back to one of the outer walls, facing into the room."""
    back = -min(part.position[0] - part.size[0] for part in parts) + 0.001
    side, along = int(rng.integers(4)), rng.uniform(-0.5, 0.5)
    half = plan.width_m / 2, plan.length_m / 2
    x, y = [(-half[0] + back, None), (None, -half[1] + back), (half[0] - back, None), (None, half[1] - back)][side]
    return Pose(along * plan.width_m if x is None else x, along * plan.length_m if y is None else y, side * math.pi / 2)


def _draw_walk(rng: Rng, config: RoomConfig, start: Pose) -> Motion:
    length = rng.uniform(*WALK_M)
    return Motion(
        to_x_m=start.x_m + length * math.cos(start.yaw_rad),
        to_y_m=start.y_m + length * math.sin(start.yaw_rad),
        speed_m_s=rng.uniform(*config.walking_m_s),
        phase=rng.uniform(0, 1),
    )


def _taken(obstacle: Obstacle) -> list[Points]:
    """Return the floor area that an obstacle needs: for a walker, that of its whole walk."""
    shadows = placed_footprints(obstacle)
    if obstacle.motion is None:
        return shadows
    end = Pose(obstacle.motion.to_x_m, obstacle.motion.to_y_m, obstacle.yaw_rad)
    reach = max(float(np.linalg.norm(polygon, axis=1).max()) for polygon in map(np.array, obstacle.footprints))
    length = math.dist(obstacle.pose[:2], end[:2])
    swept = ((-reach, -reach), (length + reach, -reach), (length + reach, reach), (-reach, reach))
    return [place(swept, obstacle.pose)]


def _fits(candidate: Obstacle, taken: list[Points], gap: float, plan: Plan) -> bool:
    """Return whether an obstacle is inside the room and farther than `gap` (m) from all occupied floor."""
    needed = _taken(candidate)
    inside = (plan.width_m / 2, plan.length_m / 2) if gap == 0 else (plan.width_m / 2 - 0.02, plan.length_m / 2 - 0.02)
    if any((np.abs(polygon) > inside).any() for polygon in needed):
        return False
    return all(hull_distance(one, other) > gap for one in needed for other in taken)


def draw_rugs(rng: Rng, config: RoomConfig, plan: Plan) -> tuple[Rug, ...]:
    """Draw rugs; obstacles may stand on them."""
    rugs = []
    for _ in range(int(rng.integers(config.rugs[0], config.rugs[1] + 1))):
        x, y, yaw = _anywhere(rng, plan)
        rugs.append(
            Rug(
                x_m=0.7 * x,
                y_m=0.7 * y,
                yaw_rad=yaw,
                half_x_m=rng.uniform(0.6, 1.1),
                half_y_m=rng.uniform(0.45, 0.8),
                style=draw_style(rng, "rug", config.textures),
                texture_seed=rng.bytes(8).hex(),
            )
        )
    return tuple(rugs)


def draw_decorations(rng: Rng, config: RoomConfig, plan: Plan, wall: Vector) -> tuple[Part, ...]:
    """Draw skirting boards on the outer walls, and pictures."""
    board = shade(wall, rng.choice([0.6, 1.3]))
    width, length = plan.width_m, plan.length_m
    parts = [box((0, s * (length / 2 - 0.006), 0.04), (width / 2, 0.006, 0.04), board) for s in (-1, 1)]
    parts += [box((s * (width / 2 - 0.006), 0, 0.04), (0.006, length / 2, 0.04), board) for s in (-1, 1)]
    for index in range(int(rng.integers(config.decorations[0], config.decorations[1] + 1))):
        rgb, along, side = colour(rng), rng.uniform(-0.35, 0.35), int(rng.choice([-1, 1]))
        half_width, half_height = rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.5)
        z = rng.uniform(1.0, 1.6)
        depth = 0.008 + 0.002 * index  # of two that overlap, one is in front
        if rng.random() < 0.5:
            parts.append(box((along * width, side * (length / 2 - depth), z), (half_width, depth, half_height), rgb))
        else:
            parts.append(box((side * (width / 2 - depth), along * length, z), (depth, half_width, half_height), rgb))
    return tuple(parts)


def draw_lights(rng: Rng, config: LightingConfig, plan: Plan) -> tuple[Light, ...]:
    """Draw lamps of slightly warm or cool light that share the drawn brightness; one in each of two rooms."""
    count = 2 if plan.opening else int(rng.integers(config.lights[0], config.lights[1] + 1))
    strength = rng.uniform(*config.brightness) / count
    lights = []
    for index in range(count):
        warmth = rng.uniform(-0.12, 0.12)
        x = rng.uniform(-0.35, 0.35) if plan.opening is None else (index - 0.5) * rng.uniform(0.4, 0.6)
        position = (x * plan.width_m, rng.uniform(-0.35, 0.35) * plan.length_m, rng.uniform(2.4, 3.2))
        lights.append(Light(position=position, rgb=(strength * (1 + warmth), strength, strength * (1 - warmth))))
    return tuple(lights)
