"""Compute the camera's mount on the robot, for simulators, labels and worlds alike.

Robot's frame: x ahead, y left, z up, origin on the floor below the middle. Camera's frame: x right, y up, z backward.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.specs import CAMERA_AHEAD_M, CameraSpec

Floats = NDArray[np.float64]


def mount_position(camera: CameraSpec) -> tuple[float, float, float]:
    """Return the camera's position in the robot's frame, metres."""
    return CAMERA_AHEAD_M, 0.0, camera.height_m


def mount_rotation(camera: CameraSpec) -> Floats:
    """Return a matrix (3, 3) whose columns are the camera's right, up and backward in the robot's frame.

    From level and straight ahead it turns left by the yaw, then down by the tilt, then clockwise by the roll.
    """
    yaw, tilt, roll = (math.radians(angle) for angle in (camera.yaw_deg, camera.tilt_deg, camera.roll_deg))
    level = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    left = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    down = np.array([[1, 0, 0], [0, math.cos(tilt), math.sin(tilt)], [0, -math.sin(tilt), math.cos(tilt)]])
    clockwise = np.array([[math.cos(roll), math.sin(roll), 0], [-math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    rotation: Floats = left @ level @ down @ clockwise
    return rotation


def focal_pixels(height: int, fov_deg: float) -> float:
    """Return the focal length of a pinhole camera with a vertical field of view, pixels."""
    return height / 2 / math.tan(math.radians(fov_deg) / 2)
