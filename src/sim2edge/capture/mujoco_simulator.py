"""Simulate physics, camera and LiDAR of one episode with MuJoCo, in this process."""

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.camera_capture import Camera
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.lidar_capture import cast_beams, cast_cloud, cloud_directions
from sim2edge.capture.motion_sensors import RATE_HZ as IMU_RATE_HZ
from sim2edge.capture.movers import Movers
from sim2edge.capture.mujoco_scene import CLOUD_GROUPS, LIDAR_GROUPS, STEP_S, Scene, body_name, build_scene
from sim2edge.capture.ray_camera import RayCamera
from sim2edge.capture.robot import BODY, LIDAR, LIDAR_3D, WHEELS, wheel_speeds
from sim2edge.capture.simulator import NO_INSTANCE, Advance, Observation
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.episodes.formats import beam_angles
from sim2edge.episodes.moment import RATE_HZ, Command, Pose

SAMPLES_A_TICK = IMU_RATE_HZ // RATE_HZ
"""IMU samples per tick; walkers move and contacts are checked at the same rate."""
STEPS_A_SAMPLE = round(1 / IMU_RATE_HZ / STEP_S)
SETTLING_STEPS = 40


class MujocoSimulator:
    """Simulates one room at a time; `reset` replaces it. Call `prepare_environment` before importing this module."""

    name = "mujoco"

    def __init__(self, config: CaptureConfig, camera_backend: str) -> None:
        self.camera_backend = camera_backend
        self._config = config
        self._angles = beam_angles(config.lidar)
        self._directions = cloud_directions(config.lidar_3d) if config.lidar_3d.enabled else None
        self._camera: Camera | None = None

    def reset(self, spec: EpisodeSpec) -> None:
        """Build the episode's room and let the robot settle on its wheels before time 0, see `Simulator.reset`."""
        self.close()
        self._scene = build_scene(spec, self._config.camera)
        self._data = mujoco.MjData(self._scene.model)
        mujoco.mj_step(self._scene.model, self._data, SETTLING_STEPS)
        self._camera = self._make_camera(self._scene)
        model = self._scene.model
        self._body = model.body(BODY).id
        self._lidar, self._lidar_3d = model.site(LIDAR).id, model.site(LIDAR_3D).id
        self._wheels = [model.joint(name).qposadr[0] for name in WHEELS]
        self._movers = Movers(spec.room.obstacles)
        self._walkers = {
            index: int(model.body(body_name(spec.room.obstacles[index].instance)).mocapid[0])
            for index in self._movers.moving
        }
        self._place_walkers(self._movers.poses())

    def _make_camera(self, scene: Scene) -> Camera:
        if self.camera_backend == "ray":
            return RayCamera(scene, self._data, self._config.camera)
        from sim2edge.capture.egl_camera import EglCamera

        return EglCamera(scene, self._data, self._config.camera)

    def observe(self) -> Observation:
        """Render the camera, cast the scans and read the poses, see `Simulator.observe`."""
        assert self._camera is not None, "reset comes first"  # noqa: S101
        mujoco.mj_forward(self._scene.model, self._data)
        image, geom = self._camera.draw()
        instances = np.where(geom < 0, np.int16(NO_INSTANCE), self._scene.instances[geom])
        model, reach = self._scene.model, self._config.lidar.max_range_m + 1
        ranges = cast_beams(model, self._data, self._lidar, self._angles, LIDAR_GROUPS, reach)
        return Observation(image, instances, ranges, self._cast_cloud(), self.pose(), self._movers.poses())

    def _cast_cloud(self) -> NDArray[np.float64] | None:
        if self._directions is None:
            return None
        reach = self._config.lidar_3d.max_range_m + 1
        return cast_cloud(self._scene.model, self._data, self._lidar_3d, self._directions, CLOUD_GROUPS, reach)

    def _place_walkers(self, poses: tuple[Pose, ...]) -> None:
        for index, mocap in self._walkers.items():
            x, y, yaw = poses[index]
            self._data.mocap_pos[mocap, :2] = x, y
            self._data.mocap_quat[mocap] = math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)

    def pose(self) -> Pose:
        """Return the robot's pose."""
        x, y, _ = self._data.xpos[self._body]
        forward = self._data.xmat[self._body].reshape(3, 3)[:, 0]
        return Pose(float(x), float(y), math.atan2(forward[1], forward[0]))

    def step(self, command: Command) -> Advance:
        """Advance one tick, counting touches between samples too, see `Simulator.step`."""
        model, data = self._scene.model, self._data
        data.ctrl[:] = wheel_speeds(command)
        before = data.qpos[self._wheels].copy()
        touched, samples = set[str](), np.empty((SAMPLES_A_TICK, 6))
        for index in range(SAMPLES_A_TICK):
            if self._walkers:
                self._place_walkers(self._movers.advance(1 / IMU_RATE_HZ, self.pose()))
            mujoco.mj_step(model, data, STEPS_A_SAMPLE)
            samples[index] = data.sensordata
            geoms = data.contact.geom
            if self._scene.solid[geoms].any():
                touched.update(self._scene.names[geom] for geom in geoms.ravel() if self._scene.solid[geom])
        left, right = data.qpos[self._wheels] - before
        return Advance(frozenset(touched), (float(left), float(right)), samples)

    def close(self) -> None:
        """Release the room, and the camera's rendering context: an idle worker holds neither."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
            del self._scene, self._data
