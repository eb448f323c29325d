"""Build Foxglove messages of data that only a simulation has; the others: `sim2edge/episodes/foxglove_messages.py`.

Frames: `room`; `odom`, where odometry starts; `robot` (x ahead, y left, z up, on the floor); `camera`, which has x to
the right, y down and z ahead, as viewers expect of a camera.
"""

import math

import numpy as np
from foxglove import messages
from numpy.typing import NDArray

from sim2edge.capture.camera_mount import focal_pixels, mount_position, mount_rotation
from sim2edge.capture.config import CameraConfig
from sim2edge.capture.projection import in_frame
from sim2edge.capture.specs import LIDAR_3D_HEIGHT_M, CameraSpec
from sim2edge.episodes.foxglove_messages import UPRIGHT, timestamp, turned
from sim2edge.episodes.moment import Box, Pose
from sim2edge.recipes.perception import CLASSES

Floats = NDArray[np.float64]

SCANNER_3D = messages.Pose(position=messages.Vector3(x=0, y=0, z=LIDAR_3D_HEIGHT_M), orientation=UPRIGHT)

_FLOAT32 = messages.PackedElementFieldNumericType.Float32
POINT_FIELDS = [messages.PackedElementField(name=name, offset=4 * k, type=_FLOAT32) for k, name in enumerate("xyz")]
POINT_STRIDE = 12


def point_cloud(stamp: messages.Timestamp, cloud: Floats, directions: Floats) -> messages.PointCloud:
    """Build a cloud of the returns of a 3D scan (layers, columns), lowest layer first, along directions (..., 3)."""
    returned = np.isfinite(cloud)
    points = (directions[returned] * cloud[returned][:, None]).astype("<f4")
    return messages.PointCloud(
        timestamp=stamp,
        frame_id="robot",
        pose=SCANNER_3D,
        point_stride=POINT_STRIDE,
        fields=POINT_FIELDS,
        data=points.tobytes(),
    )


def _class_colour(index: int) -> messages.Color:
    hue = math.tau * index / len(CLASSES)
    red, green, blue = (0.55 + 0.45 * math.cos(hue + shift) for shift in (0, -math.tau / 3, math.tau / 3))
    return messages.Color(r=red, g=green, b=blue, a=0.5)


CLASS_COLOURS = {name: _class_colour(index) for index, name in enumerate(CLASSES)}


def scene(stamp: messages.Timestamp, boxes: tuple[Box, ...]) -> messages.SceneUpdate:
    """Return the 3D boxes as one entity that replaces that of the previous tick."""
    cubes = [_cube(box) for box in boxes]
    entity = messages.SceneEntity(timestamp=stamp, frame_id="robot", id="boxes", frame_locked=True, cubes=cubes)
    return messages.SceneUpdate(entities=[entity])


def _cube(box: Box) -> messages.CubePrimitive:
    position, size = (messages.Vector3(x=v[0], y=v[1], z=v[2]) for v in (box.position_m, box.size_m))
    place = messages.Pose(position=position, orientation=turned(box.yaw_rad))
    return messages.CubePrimitive(pose=place, size=size, color=CLASS_COLOURS[box.label])


class Transforms:
    """Builds `/tf` of an episode: room to robot, room to odom (so that both agree at the start) and robot to camera."""

    def __init__(self, camera: CameraSpec) -> None:
        right, up, backward = mount_rotation(camera).T
        rotation = np.stack([right, -up, -backward], axis=1)
        self._mount = messages.Vector3(**dict(zip("xyz", mount_position(camera), strict=True)))
        self._look = messages.Quaternion(**dict(zip("wxyz", _quaternion(rotation), strict=True)))
        self._odom: Pose | None = None

    def at(self, stamp: messages.Timestamp, pose: Pose, odometry: Pose) -> messages.FrameTransforms:
        """Return all transforms at one time; the first call has to be at the start."""
        if self._odom is None:
            self._odom = _place(in_frame(Pose(0, 0, 0), odometry), pose)
        return messages.FrameTransforms(
            transforms=[
                self._flat(stamp, "room", "robot", pose),
                self._flat(stamp, "room", "odom", self._odom),
                messages.FrameTransform(
                    timestamp=stamp,
                    parent_frame_id="robot",
                    child_frame_id="camera",
                    translation=self._mount,
                    rotation=self._look,
                ),
            ]
        )

    @staticmethod
    def _flat(stamp: messages.Timestamp, parent: str, child: str, pose: Pose) -> messages.FrameTransform:
        return messages.FrameTransform(
            timestamp=stamp,
            parent_frame_id=parent,
            child_frame_id=child,
            translation=messages.Vector3(x=pose.x_m, y=pose.y_m, z=0),
            rotation=turned(pose.yaw_rad),
        )


def _place(local: Pose, frame: Pose) -> Pose:
    """Transform a pose from a frame to the room; `frame` is the frame's pose in the room."""
    cos, sin = math.cos(frame.yaw_rad), math.sin(frame.yaw_rad)
    x, y = frame.x_m + cos * local.x_m - sin * local.y_m, frame.y_m + sin * local.x_m + cos * local.y_m
    return Pose(x, y, frame.yaw_rad + local.yaw_rad)


def _quaternion(matrix: Floats) -> tuple[float, float, float, float]:
    """Convert a rotation (3, 3) to (w, x, y, z), by that of four formulas with the largest divisor.

    Shepperd, "Quaternion from rotation matrix", Journal of Guidance and Control 1 (3), 1978.
    """
    squares = np.array([np.trace(matrix), *np.diag(matrix)])
    largest = int(np.argmax(squares))
    skew = matrix - matrix.T
    w_times = np.array([skew[2, 1], skew[0, 2], skew[1, 0]])
    if largest == 0:
        values = np.array([1 + squares[0], *w_times])
    else:
        k = largest - 1
        row = matrix[k] + matrix[:, k]
        row[k] = 1 + 2 * matrix[k, k] - squares[0]
        values = np.array([w_times[k], *row])
    w, x, y, z = (values / np.linalg.norm(values)).tolist()
    return w, x, y, z


def calibration(config: CameraConfig) -> messages.CameraCalibration:
    """Return the calibration of a pinhole camera: square pixels, the image's middle on its axis, no distortion."""
    focal, x, y = focal_pixels(config.height, config.fov_deg), config.width / 2, config.height / 2
    return messages.CameraCalibration(
        timestamp=timestamp(0),
        frame_id="camera",
        width=config.width,
        height=config.height,
        distortion_model="plumb_bob",
        D=[0.0] * 5,
        K=[focal, 0, x, 0, focal, y, 0, 0, 1],
        R=[1, 0, 0, 0, 1, 0, 0, 0, 1],
        P=[focal, 0, x, 0, 0, focal, y, 0, 0, 0, 1, 0],
    )
