"""Capture one episode: observe, decide, log, step, at 10 Hz until the time is over or the robot touches something.

Success means: no collision until the end, and enough progress (at least `MIN_PACE` of its cruising speed on average,
turns included). The failure reasons are `collision` and `stuck`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from sim2edge.capture.camera_effects import develop
from sim2edge.capture.camera_mount import focal_pixels
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.driver import Driver, Expert, Explorer, NoisyExpert
from sim2edge.capture.footprints import Points, distance_to, placed_footprints
from sim2edge.capture.label_check import check_labels
from sim2edge.capture.labels import FrameLabels, Labeller
from sim2edge.capture.lidar_capture import disturb, disturb_cloud
from sim2edge.capture.motion_sensors import Odometry, disturb_imu
from sim2edge.capture.policy_driver import PolicyDriver
from sim2edge.capture.recorder import Recorder
from sim2edge.capture.room_simulator import occupancy_of
from sim2edge.capture.seeds import generator
from sim2edge.capture.simulator import Observation, Simulator
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.tick import Tick
from sim2edge.episodes.formats import beam_angles
from sim2edge.episodes.moment import LIDAR_HEIGHT_M, RATE_HZ, ROBOT_RADIUS_M, Pose, path_length
from sim2edge.episodes.result import EpisodeResult

MIN_PACE = 0.15
NEAR_MISS_M = 0.05
"""Passing nearer than this without touching is a near miss, counted once for each approach."""


@dataclass
class Drive:
    """Statistics of the drive so far."""

    path: list[Pose] = field(default_factory=list)
    touched: frozenset[str] = frozenset()
    clearance_m: float = math.inf
    near: bool = False
    near_misses: int = 0
    boxes: Counter[str] = field(default_factory=Counter)
    labels_checked: int = 0
    label_errors: list[str] = field(default_factory=list)

    def note(self, pose: Pose, clearance_m: float, labels: FrameLabels) -> None:
        """Add one tick to the statistics."""
        self.path.append(pose)
        self.clearance_m = min(self.clearance_m, clearance_m)
        near = clearance_m < NEAR_MISS_M
        self.near_misses += near and not self.near
        self.near = near
        self.boxes.update(box.label for box in labels.boxes)


def capture_episode(
    spec: EpisodeSpec, simulator: Simulator, config: CaptureConfig, folder: Path
) -> tuple[EpisodeResult, Drive]:
    """Drive one episode, write its folder, and return its result and the statistics of the drive."""
    simulator.reset(spec)
    driver, odometry, labeller = choose_driver(spec, config), Odometry(spec.robot.slip), Labeller(spec, config)
    lidar_rng, camera_rng, imu_rng = (generator(spec.seed, sensor) for sensor in ("lidar", "camera noise", "imu"))
    angles, low = beam_angles(config.lidar), low_footprints(spec)
    focal = focal_pixels(config.camera.height, config.camera.fov_deg)
    drive, imu = Drive(), np.empty((0, 6))
    with Recorder(folder, spec, config, simulator.name, simulator.camera_backend) as recorder:
        while len(drive.path) < config.frames and not drive.touched:
            view = simulator.observe()
            ranges = disturb(view.ranges, config.lidar, lidar_rng)
            decision = driver.drive(view, ranges, angles)
            labels = labeller.label(view)
            turning = float(imu[-1, 2]) if len(imu) else 0.0
            tick = Tick(
                index=len(drive.path),
                image=develop(view.image, spec.camera, turning, focal, camera_rng),
                instances=view.instances if config.camera.masks else None,
                ranges=ranges,
                cloud=None if view.cloud is None else disturb_cloud(view.cloud, config.lidar_3d, lidar_rng),
                pose=view.pose,
                odometry=odometry.pose,
                command=decision.command,
                applied=decision.applied,
                labels=labels,
                imu=disturb_imu(imu, config.imu, spec.robot.gyro_bias_rad_s, imu_rng),
            )
            recorder.write(tick)
            _check(drive, labels, view, spec, config)
            drive.note(view.pose, clearance(view, low), labels)
            advance = simulator.step(decision.applied)
            odometry.advance(advance.wheels)
            drive.touched, imu = advance.touched, advance.imu
    return recorder.finish(**outcome(spec, drive, driver.checkpoints_passed)), drive


def choose_driver(spec: EpisodeSpec, config: CaptureConfig) -> Driver:
    """Return the driver named by the episode."""
    if spec.driver == "policy":
        return PolicyDriver(config)
    rng = generator(spec.seed, "driver")
    if spec.driver == "explore":
        return Explorer(spec.robot.speed_m_s, rng)
    expert = Expert(spec, occupancy_of(spec.room))
    if spec.driver == "noisy":
        return NoisyExpert(expert, spec.robot.speed_m_s, config.driver.noise, rng)
    return expert


def low_footprints(spec: EpisodeSpec) -> list[Points]:
    """Return the footprints of obstacles below the LiDAR's plane, none of which moves."""
    low = (obstacle for obstacle in spec.room.obstacles if obstacle.top_m < LIDAR_HEIGHT_M)
    return [polygon for obstacle in low for polygon in placed_footprints(obstacle)]


def clearance(view: Observation, low: Sequence[Points]) -> float:
    """Return the chassis' distance to the nearest object that the LiDAR hits or that is below its plane, metres."""
    x, y, _ = view.pose
    nearest = min((distance_to(polygon, x, y) for polygon in low), default=math.inf)
    return max(0.0, min(float(view.ranges.min()), nearest) - ROBOT_RADIUS_M)


def _check(drive: Drive, labels: FrameLabels, view: Observation, spec: EpisodeSpec, config: CaptureConfig) -> None:
    """Check the labels of some frames against geometry; errors name episode and frame."""
    frame = len(drive.path)
    if frame % config.labels.check_every:
        return
    drive.labels_checked += 1
    errors = check_labels(labels, view, spec, config)
    drive.label_errors += [f"{spec.episode_id} frame {frame}: {error}" for error in errors]


def outcome(spec: EpisodeSpec, drive: Drive, checkpoints_passed: int) -> dict[str, object]:
    """Return the fields of `EpisodeResult` on the drive's outcome."""
    duration, length = len(drive.path) / RATE_HZ, path_length(drive.path)
    touched = bool(drive.touched)
    reason = failure_reason(touched, length, duration * spec.robot.speed_m_s)
    return {
        "success": not reason,
        "failure_reason": reason,
        "duration_s": duration,
        "path_length_m": round(length, 4),
        "collided_with": tuple(sorted(drive.touched)),
        "collisions": int(touched),
        "near_misses": drive.near_misses,
        "min_clearance_m": round(drive.clearance_m, 4),
        "checkpoints_passed": checkpoints_passed,
        "checkpoints": len(spec.checkpoints),
        "distance_to_collision_m": round(length, 4) if touched else None,
        "time_to_collision_s": duration if touched else None,
    }


def failure_reason(touched: bool, path_length_m: float, cruised_m: float) -> str:
    """Return the reason of a failure, or ""; `cruised_m` is the distance at cruising speed all the time, metres."""
    if touched:
        return "collision"
    return "stuck" if path_length_m < MIN_PACE * cruised_m else ""


class Outcome(BaseModel):
    """The return value of `capture_episode` inside Webots."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    result: EpisodeResult
    drive: Drive
