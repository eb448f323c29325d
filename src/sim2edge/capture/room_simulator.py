"""Rooms: everything that describes an episode, drawn from its seed and the config, before any simulator is involved.

    spec, rejected = draw_episode(config, "demo-1", 7)

An `EpisodeSpec` is plain data: it is written to `config.yaml` and each simulator builds its world from it. A drawn room
is kept only when the robot fits at its start and a goal can be reached on the occupancy grid; rejections are counted.
"""

import math
from collections import Counter

import numpy as np

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import fits, make_obstacle
from sim2edge.capture.obstacles import SHAPES, box, colour, shade
from sim2edge.capture.occupancy import Occupancy
from sim2edge.capture.seeds import Rng, episode_id, episode_seed, generator
from sim2edge.capture.specs import (
    ROBOT_RADIUS_M,
    EpisodeSpec,
    Light,
    Obstacle,
    Part,
    Pose,
    RobotSpec,
    RoomSpec,
    Vector,
)
from sim2edge.errors import BadInput
from sim2edge.recipes.perception import CLASSES, FLOORS

PLANNING_MARGIN_M = 0.08
"""Room left between the chassis and an obstacle's footprint when goals and routes are chosen."""

LEAST_REACHABLE = 0.5
"""Share of the free floor that has to be reachable from the start."""

ATTEMPTS = 50
"""Rooms drawn for an episode before its config is called impossible."""


def draw_episode(config: CaptureConfig, batch: str, index: int) -> tuple[EpisodeSpec, Counter[str]]:
    """Draw episode `index` of a batch; also how many rooms were rejected, by reason.

    Raises:
        BadInput: no usable room in `ATTEMPTS` draws: the config asks for what does not fit.
    """
    identity = episode_id(batch, index)
    seed = episode_seed(identity)
    rng = generator(seed, "room")
    # In turn, not at random, so that even a small batch has as much of each.
    floor = FLOORS[index % len(FLOORS)]
    rejected: Counter[str] = Counter()
    for _ in range(ATTEMPTS):
        room = draw_room(rng, config, floor)
        start = choose_start(rng, room) if room else "crowded"
        if room and isinstance(start, Pose):
            robot = draw_robot(generator(seed, "robot"), config)
            return EpisodeSpec(episode_id=identity, seed=seed, room=room, robot=robot, start=start), rejected
        rejected[str(start)] += 1
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items()))
    raise BadInput(f"capture.room: no drivable room in {ATTEMPTS} draws for episode {identity} ({reasons})")


def draw_robot(rng: Rng, config: CaptureConfig) -> RobotSpec:
    """Draw the robot's mass, friction, speed and camera mount."""
    ranges = config.robot
    return RobotSpec(
        mass_kg=rng.uniform(*ranges.mass_kg),
        wheel_friction=rng.uniform(*ranges.wheel_friction),
        speed_m_s=rng.uniform(*ranges.speed_m_s),
        camera_height_m=rng.uniform(*ranges.camera_height_m),
        camera_tilt_deg=rng.uniform(*ranges.camera_tilt_deg),
    )


def draw_room(rng: Rng, config: CaptureConfig, floor: str) -> RoomSpec | None:
    """Draw a room with a floor of the given type; None when its obstacles did not fit."""
    width, length = rng.uniform(*config.room.side_m), rng.uniform(*config.room.side_m)
    obstacles = place_obstacles(rng, config, width, length)
    if obstacles is None:
        return None
    wall = colour(rng, saturation=0.35, value=(0.55, 0.95))
    return RoomSpec(
        width_m=width,
        length_m=length,
        floor=floor,
        texture_seed=rng.bytes(8).hex(),
        wall_rgb=wall,
        obstacles=obstacles,
        decorations=draw_decorations(rng, config, width, length, wall),
        lights=draw_lights(rng, config, width, length),
        ambient=rng.uniform(*config.lighting.ambient),
    )


def place_obstacles(rng: Rng, config: CaptureConfig, width: float, length: float) -> tuple[Obstacle, ...] | None:
    """Draw obstacles that overlap neither each other nor a wall, classes as even as their number allows."""
    count = int(rng.integers(config.room.obstacles[0], config.room.obstacles[1] + 1))
    rounds = [rng.permutation(len(CLASSES)) for _ in range(-(-count // len(CLASSES)))]
    labels = [CLASSES[k] for k in np.concatenate([[], *rounds])[:count].astype(int)]
    placed: list[Obstacle] = []
    for label in labels:
        parts = tuple(SHAPES[label](rng))
        for _ in range(40):
            x, y = rng.uniform(-width / 2, width / 2), rng.uniform(-length / 2, length / 2)
            candidate = make_obstacle(len(placed), label, Pose(x, y, rng.uniform(-math.pi, math.pi)), parts)
            if fits(candidate, placed, config.room.gap_m, width, length):
                placed.append(candidate)
                break
        else:
            return None
    return tuple(placed)


def draw_decorations(rng: Rng, config: CaptureConfig, width: float, length: float, wall: Vector) -> tuple[Part, ...]:
    """Skirting boards on all walls, doors and pictures on some."""
    board = shade(wall, rng.choice([0.6, 1.3]))
    parts = [box((0, s * (length / 2 - 0.006), 0.04), (width / 2, 0.006, 0.04), board) for s in (-1, 1)]
    parts += [box((s * (width / 2 - 0.006), 0, 0.04), (0.006, length / 2, 0.04), board) for s in (-1, 1)]
    for index in range(int(rng.integers(config.room.decorations[0], config.room.decorations[1] + 1))):
        rgb, along, side = colour(rng), rng.uniform(-0.35, 0.35), int(rng.choice([-1, 1]))
        door = rng.random() < 0.4
        half_width, half_height = (0.45, 1.0) if door else (rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.5))
        z = half_height if door else rng.uniform(1.0, 1.6)
        depth = 0.008 + 0.002 * index  # where two overlap, one is in front
        if rng.random() < 0.5:
            parts.append(box((along * width, side * (length / 2 - depth), z), (half_width, depth, half_height), rgb))
        else:
            parts.append(box((side * (width / 2 - depth), along * length, z), (depth, half_width, half_height), rgb))
    return tuple(parts)


def draw_lights(rng: Rng, config: CaptureConfig, width: float, length: float) -> tuple[Light, ...]:
    """Lamps of slightly warm or cool light that share the drawn brightness."""
    count = int(rng.integers(config.lighting.lights[0], config.lighting.lights[1] + 1))
    strength = rng.uniform(*config.lighting.brightness) / count
    lights = []
    for _ in range(count):
        warmth = rng.uniform(-0.12, 0.12)
        position = (rng.uniform(-0.35, 0.35) * width, rng.uniform(-0.35, 0.35) * length, rng.uniform(2.4, 3.2))
        lights.append(Light(position=position, rgb=(strength * (1 + warmth), strength, strength * (1 - warmth))))
    return tuple(lights)


def occupancy_of(room: RoomSpec) -> Occupancy:
    """The grid on which goals and routes for the robot are chosen."""
    footprints = [obstacle.footprint for obstacle in room.obstacles]
    return Occupancy(room.width_m, room.length_m, footprints, ROBOT_RADIUS_M + PLANNING_MARGIN_M)


def choose_start(rng: Rng, room: RoomSpec) -> Pose | str:
    """A start, looking roughly at an obstacle, from which much of the floor can be reached; or why there is none."""
    grid = occupancy_of(room)
    cells = np.argwhere(grid.clearance_m > ROBOT_RADIUS_M + 2 * PLANNING_MARGIN_M)
    if not len(cells):
        return "no_start"
    x, y = grid.position(cells[rng.integers(len(cells))])
    yaw = rng.uniform(-math.pi, math.pi)
    if room.obstacles:
        seen = room.obstacles[rng.integers(len(room.obstacles))]
        yaw = math.atan2(seen.y_m - y, seen.x_m - x) + rng.normal(0, 0.3)
    if grid.reachable(x, y).sum() < LEAST_REACHABLE * grid.free.sum() or not len(grid.goals(x, y, yaw)):
        return "unreachable"
    return Pose(x, y, yaw)
