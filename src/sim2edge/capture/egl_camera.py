"""Render with MuJoCo's own renderer by EGL, without a display. Import it only where the EGL probe succeeded."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.config import CameraConfig
from sim2edge.capture.mujoco_scene import CAMERA_GROUPS, Scene
from sim2edge.capture.robot import CAMERA


class EglCamera:
    """Renders the robot camera's view of one scene. It holds a GL context and has to be closed."""

    def __init__(self, scene: Scene, data: mujoco.MjData, config: CameraConfig) -> None:
        self._data = data
        self._renderer = mujoco.Renderer(scene.model, config.height, config.width)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = CAMERA_GROUPS

    def draw(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Return the image and the geom seen by each pixel, see `camera_capture.Camera`."""
        self._renderer.update_scene(self._data, CAMERA, self._option)
        image = self._renderer.render().copy()
        self._renderer.enable_segmentation_rendering()
        seen = self._renderer.render()
        self._renderer.disable_segmentation_rendering()
        geom = np.where(seen[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM), seen[..., 0], -1).astype(np.int32)
        return image, geom

    def close(self) -> None:
        """Release the GL context."""
        self._renderer.close()
