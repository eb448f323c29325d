"""The camera's mount: which way it looks for each of its angles."""

import numpy as np
import pytest
from capture.hand_made import CAMERA

from sim2edge.capture.camera_mount import focal_pixels, mount_position, mount_rotation


def looking(**angles):
    """Right, up and ahead of a camera in the robot's frame."""
    level = CAMERA.model_copy(update={"tilt_deg": 0.0, "yaw_deg": 0.0, "roll_deg": 0.0} | angles)
    right, up, backward = mount_rotation(level).T
    return right, up, -backward


def test_level_it_looks_ahead_with_the_left_on_its_left():
    right, up, ahead = looking()
    assert right == pytest.approx([0, -1, 0])
    assert up == pytest.approx([0, 0, 1])
    assert ahead == pytest.approx([1, 0, 0])
    assert mount_position(CAMERA)[2] == CAMERA.height_m


def test_tilt_looks_down_yaw_left_and_roll_lowers_the_right():
    assert looking(tilt_deg=10.0)[2][2] == pytest.approx(-np.sin(np.radians(10)))
    assert looking(yaw_deg=10.0)[2][1] == pytest.approx(np.sin(np.radians(10)))
    assert looking(roll_deg=10.0)[0][2] == pytest.approx(-np.sin(np.radians(10)))


def test_the_axes_stay_a_right_handed_frame():
    rotation = mount_rotation(CAMERA.model_copy(update={"yaw_deg": 3.0, "roll_deg": -2.0}))
    assert rotation @ rotation.T == pytest.approx(np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_a_right_angle_sees_as_far_to_the_sides_as_ahead():
    assert focal_pixels(100, 90) == pytest.approx(50)
