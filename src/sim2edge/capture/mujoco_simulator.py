"""The MuJoCo simulator: physics, camera and LiDAR of one episode in this process."""

import math

import mujoco
import numpy as np

from sim2edge.capture.camera_capture import Camera
from sim2edge.capture.config import RATE_HZ, CaptureConfig
from sim2edge.capture.lidar_capture import beam_angles, cast_beams
from sim2edge.capture.mujoco_scene import LIDAR_GROUPS, STEP_S, Scene, build_scene
from sim2edge.capture.ray_camera import RayCamera
from sim2edge.capture.robot import BODY, LIDAR, wheel_speeds
from sim2edge.capture.simulator import NO_INSTANCE, Command, Observation
from sim2edge.capture.specs import EpisodeSpec, Pose

STEPS_A_TICK = round(1 / RATE_HZ / STEP_S)
SETTLING_STEPS = 40


class MujocoSimulator:
    """One room at a time; `reset` replaces it. Use `prepare_environment` before importing this module."""

    name = "mujoco"

    def __init__(self, config: CaptureConfig, camera_backend: str) -> None:
        self.camera_backend = camera_backend
        self._config = config
        self._angles = beam_angles(config.lidar)
        self._camera: Camera | None = None

    def reset(self, spec: EpisodeSpec) -> None:
        """As `Simulator.reset`; the robot settles on its wheels before time 0."""
        self.close()
        self._scene = build_scene(spec, self._config.camera)
        self._data = mujoco.MjData(self._scene.model)
        mujoco.mj_step(self._scene.model, self._data, SETTLING_STEPS)
        self._camera = self._make_camera(self._scene)
        self._body = self._scene.model.body(BODY).id
        self._lidar = self._scene.model.site(LIDAR).id

    def _make_camera(self, scene: Scene) -> Camera:
        if self.camera_backend == "ray":
            return RayCamera(scene, self._data, self._config.camera)
        from sim2edge.capture.egl_camera import EglCamera

        return EglCamera(scene, self._data, self._config.camera)

    def observe(self) -> Observation:
        """As `Simulator.observe`."""
        assert self._camera is not None, "reset comes first"  # noqa: S101
        mujoco.mj_forward(self._scene.model, self._data)
        image, geom = self._camera.draw()
        instances = np.where(geom < 0, np.int16(NO_INSTANCE), self._scene.instances[geom])
        ranges = cast_beams(
            self._scene.model, self._data, self._lidar, self._angles, LIDAR_GROUPS, self._config.lidar.max_range_m + 1
        )
        return Observation(image, instances, ranges, self.pose())

    def pose(self) -> Pose:
        """Where the robot stands."""
        x, y, _ = self._data.xpos[self._body]
        forward = self._data.xmat[self._body].reshape(3, 3)[:, 0]
        return Pose(float(x), float(y), math.atan2(forward[1], forward[0]))

    def step(self, command: Command) -> bool:
        """As `Simulator.step`; touches between sub-steps count too."""
        self._data.ctrl[:] = wheel_speeds(command)
        touched = False
        for _ in range(STEPS_A_TICK):
            mujoco.mj_step(self._scene.model, self._data)
            touched = touched or bool(self._scene.solid[self._data.contact.geom].any())
        return touched

    def close(self) -> None:
        """Free the camera's drawing context."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
