"""Implement `Simulator` inside a Webots controller process, with the `controller` package of Webots.

    simulator = WebotsSimulator(config, Supervisor())      # in the process that Webots started for the robot
    capture_episode(spec, simulator, config, folder)

The world is loaded before the controller starts, so `reset` is called once: `launch.py` starts a process per episode.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.movers import Movers
from sim2edge.capture.robot import wheel_speeds
from sim2edge.capture.simulator import Advance, Observation
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.webots.colours import read_instances
from sim2edge.capture.webots.contacts import touched_at
from sim2edge.capture.webots.robot_node import (
    ACCELEROMETER,
    CAMERA,
    DEFINED,
    GYRO,
    LIDAR,
    LIDAR_3D,
    MOTORS,
    ROBOT,
    WHEELS,
)
from sim2edge.capture.webots.scanner import Scanner, read_ranges, scanner_2d, scanner_3d
from sim2edge.capture.webots.world import DECORATIONS, FLOOR, obstacle_name
from sim2edge.episodes.moment import RATE_HZ, Command, Pose

TICK_MS = 1000 // RATE_HZ
SAMPLE_MS = 10
"""Period of the inertial unit; walkers move and contacts are checked at the same rate."""
SETTLING_MS = 200
"""Time in which the robot settles on its wheels, and every sensor gets its first value, before time 0."""


class WebotsSimulator:
    """Simulates the one room of the world that Webots loaded."""

    name = "webots"
    camera_backend = "webots"

    def __init__(
        self, config: CaptureConfig, supervisor: Any, heartbeat: Callable[[float], None] = lambda _: None
    ) -> None:
        """Take a `controller.Supervisor`, and a `heartbeat` that gets the simulated seconds after every tick."""
        self._config, self._supervisor, self._heartbeat = config, supervisor, heartbeat
        self._scanners = {LIDAR: scanner_2d(config.lidar)}
        if config.lidar_3d.enabled:
            self._scanners[LIDAR_3D] = scanner_3d(config.lidar_3d)

    def reset(self, spec: EpisodeSpec) -> None:
        """Set up the devices of the loaded world, which was built from `spec`, see `Simulator.reset`."""
        self._spec, self._movers = spec, Movers(spec.room.obstacles)
        self._robot = self._node(ROBOT)
        self._motors = [self._device(name) for name in MOTORS]
        self._wheels, self._imu = (
            [self._sensor(name, SAMPLE_MS) for name in names] for names in (WHEELS, (GYRO, ACCELEROMETER))
        )
        self._camera = self._sensor(CAMERA, TICK_MS)
        self._camera.recognitionEnable(TICK_MS)
        self._camera.enableRecognitionSegmentation()
        self._lidars = {name: self._sensor(name, TICK_MS) for name in self._scanners}
        walkers = {
            index: self._node(obstacle_name(spec.room.obstacles[index].instance)) for index in self._movers.moving
        }
        self._walkers = {
            index: (node.getField("translation"), node.getField("rotation")) for index, node in walkers.items()
        }
        self._robot.enableContactPointsTracking(SAMPLE_MS, True)
        self._hide()
        self._place_walkers(self._movers.poses())
        self._set_speeds(0.0, 0.0)
        for _ in range(SETTLING_MS // SAMPLE_MS):
            self._advance()
        self._started_s = self._supervisor.getTime()

    def observe(self) -> Observation:
        """Read the camera, the scans and the poses, see `Simulator.observe`."""
        image, cloud = self._image(self._camera.getImage()), None
        if LIDAR_3D in self._lidars:
            cloud = self._scan(LIDAR_3D)
        instances = read_instances(
            self._some(self._camera.getRecognitionSegmentationImage(), CAMERA),
            self._config.camera.width,
            self._config.camera.height,
            len(self._spec.room.obstacles),
        )
        return Observation(image, instances, self._scan(LIDAR)[0], cloud, self.pose(), self._movers.poses())

    def pose(self) -> Pose:
        """Return the robot's pose."""
        x, y, _ = self._robot.getPosition()
        turned = self._robot.getOrientation()
        return Pose(float(x), float(y), math.atan2(turned[3], turned[0]))

    def step(self, command: Command) -> Advance:
        """Advance one tick, counting touches between samples too, see `Simulator.step`."""
        self._set_speeds(*wheel_speeds(command))
        before, touched = self._wheel_angles(), frozenset[str]()
        samples = np.empty((TICK_MS // SAMPLE_MS, 6))
        for sample in samples:
            if self._walkers:
                self._place_walkers(self._movers.advance(SAMPLE_MS / 1000, self.pose()))
            self._advance()
            sample[:] = [value for sensor in self._imu for value in sensor.getValues()]
            touched |= self._touched()
        if not np.isfinite(samples).all():
            raise RuntimeError("Webots: the inertial unit returns NaN")
        left, right = (after - start for after, start in zip(self._wheel_angles(), before, strict=True))
        self._heartbeat(self._supervisor.getTime() - self._started_s)
        return Advance(touched, (left, right), samples)

    def close(self) -> None:
        """Do nothing: Webots ends with the episode."""

    def _device(self, name: str) -> Any:
        return self._some(self._supervisor.getDevice(name), name)

    def _node(self, define: str) -> Any:
        return self._some(self._supervisor.getFromDef(define), define)

    def _sensor(self, name: str, period_ms: int) -> Any:
        sensor = self._device(name)
        sensor.enable(period_ms)
        return sensor

    @staticmethod
    def _some(value: Any, name: str) -> Any:
        """Raise for None, which Webots returns, with a line on the console, instead of raising itself."""
        if value is None:
            raise RuntimeError(f"Webots: the world has no '{name}', or it returns nothing yet")
        return value

    def _hide(self) -> None:
        """Hide the robot from its own camera and scanners, and decorations from scanners."""
        robot, decorations = self._node(ROBOT), self._node(DECORATIONS)
        for name in (CAMERA, *self._scanners):
            viewer = self._node(DEFINED[name])
            robot.setVisibility(viewer, False)
            if name != CAMERA:
                decorations.setVisibility(viewer, False)
        self._node(FLOOR).setVisibility(self._node(DEFINED[LIDAR]), False)

    def _set_speeds(self, *speeds: float) -> None:
        for motor, speed in zip(self._motors, speeds, strict=True):
            motor.setPosition(math.inf)
            motor.setVelocity(float(speed))

    def _place_walkers(self, poses: tuple[Pose, ...]) -> None:
        """Set the walkers' poses after the next step; Webots' setters silently refuse tuples and integers."""
        for index, (translation, rotation) in self._walkers.items():
            x, y, yaw = poses[index]
            translation.setSFVec3f([float(x), float(y), 0.0])
            rotation.setSFRotation([0.0, 0.0, 1.0, float(yaw)])

    def _advance(self) -> None:
        if self._supervisor.step(SAMPLE_MS) == -1:
            raise RuntimeError("Webots ended the controller before the episode was over")

    def _touched(self) -> frozenset[str]:
        points = [list(contact.point)[:3] for contact in self._robot.getContactPoints(True)]
        return touched_at(points, self._spec.room, self._movers.poses())

    def _wheel_angles(self) -> tuple[float, float]:
        left, right = (float(sensor.getValue()) for sensor in self._wheels)
        return left, right

    def _image(self, picture: bytes | None) -> NDArray[np.uint8]:
        shape = self._config.camera.height, self._config.camera.width, 4
        blue_first = np.frombuffer(self._some(picture, CAMERA), np.uint8).reshape(shape)
        return np.ascontiguousarray(blue_first[..., 2::-1])

    def _scan(self, name: str) -> NDArray[np.float64]:
        scanner: Scanner = self._scanners[name]
        ranges = read_ranges(self._some(self._lidars[name].getRangeImage(), name), scanner)
        if np.isnan(ranges).any():
            raise RuntimeError(f"Webots: the scanner '{name}' returns NaN")
        return ranges
