"""One episode: observe, decide, log, step, at 10 Hz until the time is over or something is touched.

Success means: no collision until the end, and the robot got somewhere (at least `LEAST_PACE` of its cruising speed on
average, turns included). The failure reasons are `collision` and `stuck`.
"""

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from sim2edge.capture.config import RATE_HZ, CaptureConfig
from sim2edge.capture.driver import Driver
from sim2edge.capture.labels import find_boxes
from sim2edge.capture.lidar_capture import beam_angles, disturb
from sim2edge.capture.recorder import EpisodeResult, Recorder
from sim2edge.capture.room_simulator import occupancy_of
from sim2edge.capture.seeds import generator
from sim2edge.capture.simulator import Simulator
from sim2edge.capture.specs import CAMERA_AHEAD_M, ROBOT_RADIUS_M, EpisodeSpec, Pose

LEAST_PACE = 0.15


def capture_episode(
    spec: EpisodeSpec, simulator: Simulator, config: CaptureConfig, folder: Path
) -> tuple[EpisodeResult, Counter[str]]:
    """Drive one episode and write its folder; also how many boxes of each class were labelled."""
    simulator.reset(spec)
    driver = Driver(occupancy_of(spec.room), spec.robot.speed_m_s, generator(spec.seed, "goals"))
    lidar_rng, angles = generator(spec.seed, "lidar"), beam_angles(config.lidar)
    path: list[Pose] = []
    clearance, touched, labelled = config.lidar.max_range_m, False, Counter[str]()
    with Recorder(folder, spec, config, simulator.name, simulator.camera_backend) as recorder:
        while len(path) < config.frames and not touched:
            view = simulator.observe()
            ranges = disturb(view.ranges, config.lidar, lidar_rng)
            command = driver.drive(view.pose, ranges, angles)
            boxes = find_boxes(view.instances, spec.room.obstacles, camera_pose(view.pose), config.labels)
            recorder.write(view.image, ranges, view.pose, command, boxes)
            path.append(view.pose)
            clearance = min(clearance, float(np.min(view.ranges)) - ROBOT_RADIUS_M)
            labelled.update(box.label for box in boxes)
            touched = simulator.step(command)
    duration, length = len(path) / RATE_HZ, path_length(path)
    reason = failure_reason(touched, length, duration * spec.robot.speed_m_s)
    result = recorder.finish(
        success=not reason,
        failure_reason=reason,
        duration_s=duration,
        path_length_m=round(length, 4),
        goals_reached=driver.goals_reached,
        collisions=int(touched),
        min_clearance_m=round(max(0.0, clearance), 4),
    )
    return result, labelled


def camera_pose(robot: Pose) -> Pose:
    """Where the camera is, on the ground plane."""
    x = robot.x_m + CAMERA_AHEAD_M * math.cos(robot.yaw_rad)
    y = robot.y_m + CAMERA_AHEAD_M * math.sin(robot.yaw_rad)
    return Pose(x, y, robot.yaw_rad)


def path_length(path: list[Pose]) -> float:
    """Metres along the positions."""
    return math.fsum(math.dist(one[:2], other[:2]) for one, other in pairwise(path))


def failure_reason(touched: bool, path_length_m: float, cruised_m: float) -> str:
    """Why an episode failed, "" if it did not; `cruised_m` is the way at cruising speed all the time."""
    if touched:
        return "collision"
    return "stuck" if path_length_m < LEAST_PACE * cruised_m else ""
