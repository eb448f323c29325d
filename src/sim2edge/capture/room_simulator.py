"""Draw an episode from its seed and the config: everything that describes it, independent of any simulator.

    spec, rejected = draw_episode(config, "demo-1", 7)

An `EpisodeSpec` is plain data: it is written to `config.yaml`, and each simulator builds its world from it. A room is
kept only if the robot fits at its start and every checkpoint can be reached on the occupancy grid; rejections are
counted.
"""

import math
from collections import Counter

import numpy as np

from sim2edge.capture.config import CameraConfig, CaptureConfig
from sim2edge.capture.floors import draw_style
from sim2edge.capture.footprints import placed_footprints, wall_footprint
from sim2edge.capture.furnish import OVERHEAD_M, draw_decorations, draw_lights, draw_rugs, place_obstacles
from sim2edge.capture.layouts import LAYOUTS
from sim2edge.capture.obstacles import colour
from sim2edge.capture.occupancy import Occupancy
from sim2edge.capture.seeds import Rng, episode_seed, generator
from sim2edge.capture.specs import CameraSpec, EpisodeSpec, RobotSpec, RoomSpec
from sim2edge.episodes.moment import ROBOT_RADIUS_M, Layout, Pose, episode_id
from sim2edge.errors import BadInput
from sim2edge.recipes.perception import FLOORS

PLANNING_MARGIN_M = 0.08
"""Distance kept between the chassis and an obstacle's footprint in the choice of goals and routes."""

MIN_REACHABLE = 0.5
"""Smallest share of the free floor that has to be reachable from the start."""

ATTEMPTS = 50
"""Rooms drawn for an episode before its config is refused."""

CHECKPOINT_M = 1.0
"""Smallest distance between checkpoints; it limits how many an episode can pass at cruising speed."""
MAX_CHECKPOINTS = 64
"""After the last one a driver starts over."""

ROOM_FLOORS = tuple(floor for floor in FLOORS if floor != "rug")
"""The floors that a room can have; a rug is placed on one of them."""


def draw_episode(config: CaptureConfig, batch: str, index: int) -> tuple[EpisodeSpec, Counter[str]]:
    """Draw episode `index` of a batch, and return it with the numbers of rejected rooms by reason.

    Raises:
        BadInput: no usable room in `ATTEMPTS` draws, as its obstacles or the robot do not fit.
    """
    identity = episode_id(batch, index)
    seed = episode_seed(identity)
    rng = generator(seed, "room")
    # In turn, not at random, so that even a small batch is balanced; the layouts shift against the floors.
    round_, turn = divmod(index, len(ROOM_FLOORS))
    floor = ROOM_FLOORS[turn]
    layout = config.room.layouts[(turn + round_) % len(config.room.layouts)]
    rejected: Counter[str] = Counter()
    for _ in range(ATTEMPTS):
        room = draw_room(rng, config, layout, floor)
        route = choose_route(rng, room, config) if room else "crowded"
        if room is None or isinstance(route, str):
            rejected[str(route)] += 1
            continue
        spec = EpisodeSpec(
            episode_id=identity,
            seed=seed,
            room=room,
            robot=draw_robot(generator(seed, "robot"), config),
            camera=draw_camera(generator(seed, "camera"), config.camera),
            driver=config.driver.kinds[index % len(config.driver.kinds)],
            start=route[0],
            checkpoints=route[1],
        )
        return spec, rejected
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items()))
    raise BadInput(f"capture.room: no drivable room in {ATTEMPTS} draws for episode {identity} ({reasons})")


def draw_robot(rng: Rng, config: CaptureConfig) -> RobotSpec:
    """Draw the robot's mass, friction, speed, slip and the bias of its gyroscope."""
    ranges = config.robot
    return RobotSpec(
        mass_kg=rng.uniform(*ranges.mass_kg),
        wheel_friction=rng.uniform(*ranges.wheel_friction),
        speed_m_s=rng.uniform(*ranges.speed_m_s),
        slip=(rng.uniform(*ranges.slip), rng.uniform(*ranges.slip)),
        gyro_bias_rad_s=rng.normal(0, config.imu.gyro_bias_rad_s),
    )


def draw_camera(rng: Rng, config: CameraConfig) -> CameraSpec:
    """Draw the camera's mount and settings."""
    return CameraSpec(
        height_m=rng.uniform(*config.height_m),
        tilt_deg=rng.uniform(*config.tilt_deg),
        yaw_deg=rng.uniform(*config.yaw_deg),
        roll_deg=rng.uniform(*config.roll_deg),
        exposure=rng.uniform(*config.exposure),
        tint=(rng.uniform(*config.tint), rng.uniform(*config.tint), rng.uniform(*config.tint)),
        noise=rng.uniform(*config.noise),
        shutter_s=rng.uniform(*config.shutter_s),
        readout_s=rng.uniform(*config.readout_s),
    )


def draw_room(rng: Rng, config: CaptureConfig, layout: Layout, floor: str) -> RoomSpec | None:
    """Draw a room of a layout with a floor of the given type; return None if its obstacles do not fit."""
    plan = LAYOUTS[layout](rng, config.room)
    wall = colour(rng, saturation=0.35, value=(0.55, 0.95))
    obstacles = place_obstacles(rng, config.room, plan)
    if obstacles is None:
        return None
    return RoomSpec(
        layout=layout,
        width_m=plan.width_m,
        length_m=plan.length_m,
        walls=plan.parts(wall),
        floor=floor,
        style=draw_style(rng, floor, config.room.textures),
        texture_seed=rng.bytes(8).hex(),
        rugs=draw_rugs(rng, config.room, plan),
        wall_rgb=wall,
        obstacles=obstacles,
        decorations=draw_decorations(rng, config.room, plan, wall),
        lights=draw_lights(rng, config.lighting, plan),
        ambient=rng.uniform(*config.lighting.ambient),
    )


def occupancy_of(room: RoomSpec) -> Occupancy:
    """Return the grid for the robot's goals and routes, without walkers."""
    footprints = [wall_footprint(wall) for wall in room.walls if wall.position[2] - wall.size[2] < OVERHEAD_M]
    footprints += [polygon for one in room.obstacles if not one.motion for polygon in placed_footprints(one)]
    return Occupancy(room.width_m, room.length_m, footprints, ROBOT_RADIUS_M + PLANNING_MARGIN_M)


def choose_route(rng: Rng, room: RoomSpec, config: CaptureConfig) -> tuple[Pose, tuple[tuple[float, float], ...]] | str:
    """Return a start, facing roughly an obstacle, and the checkpoints from there; or the reason why there are none."""
    grid = occupancy_of(room)
    start = _choose_start(rng, room, grid)
    if start is None:
        return "no_start"
    if grid.reachable(start.x_m, start.y_m).sum() < MIN_REACHABLE * grid.free.sum():
        return "unreachable"
    way_m = config.episode_seconds * config.robot.speed_m_s[1]
    count = min(MAX_CHECKPOINTS, 1 + math.ceil(way_m / CHECKPOINT_M))
    pose, checkpoints = start, list[tuple[float, float]]()
    for _ in range(count):
        goals = grid.goals(*pose)
        if not len(goals):
            return "no_goal"
        x, y = grid.position(goals[rng.integers(len(goals))])
        checkpoints.append((round(x, 4), round(y, 4)))
        pose = Pose(x, y, math.atan2(y - pose.y_m, x - pose.x_m))
    return start, tuple(checkpoints)


def _choose_start(rng: Rng, room: RoomSpec, grid: Occupancy) -> Pose | None:
    cells = np.argwhere(grid.clearance_m > ROBOT_RADIUS_M + 2 * PLANNING_MARGIN_M)
    if not len(cells):
        return None
    x, y = grid.position(cells[rng.integers(len(cells))])
    walkers = [one for one in room.obstacles if one.motion]
    if any(_on_the_walk(x, y, one.pose, (one.motion.to_x_m, one.motion.to_y_m)) for one in walkers if one.motion):
        return None
    yaw = rng.uniform(-math.pi, math.pi)
    if room.obstacles:
        seen = room.obstacles[rng.integers(len(room.obstacles))]
        yaw = math.atan2(seen.y_m - y, seen.x_m - x) + rng.normal(0, 0.3)
    return Pose(x, y, yaw)


def _on_the_walk(x: float, y: float, start: Pose, end: tuple[float, float]) -> bool:
    """Return whether the robot would stand within a step of a walker's line."""
    line, here = np.subtract(end, start[:2]), np.subtract((x, y), start[:2])
    share = np.clip(np.dot(here, line) / np.dot(line, line), 0, 1)
    return bool(np.linalg.norm(here - share * line) < ROBOT_RADIUS_M + 0.5)
