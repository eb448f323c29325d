"""Build Foxglove messages of a moment.

Frames: `room`; `robot` (x ahead, y left, z up, on the floor); `camera`, which has x to the right, y down and z ahead,
as viewers expect of a camera.
"""

import math
from collections.abc import Sequence

import numpy as np
from foxglove import messages
from numpy.typing import NDArray

from sim2edge.episodes.moment import LIDAR_HEIGHT_M, ImageBox, Pose

Floats = NDArray[np.float64]

GREEN = messages.Color(r=0.2, g=1, b=0.2, a=1)
UPRIGHT = messages.Quaternion(x=0, y=0, z=0, w=1)
SCANNER = messages.Pose(position=messages.Vector3(x=0, y=0, z=LIDAR_HEIGHT_M), orientation=UPRIGHT)


def timestamp(time_ns: int) -> messages.Timestamp:
    """Convert a time in nanoseconds to a timestamp."""
    return messages.Timestamp(time_ns // 1_000_000_000, time_ns % 1_000_000_000)


def turned(yaw_rad: float) -> messages.Quaternion:
    """Return the quaternion of a rotation around z."""
    return messages.Quaternion(x=0, y=0, z=math.sin(yaw_rad / 2), w=math.cos(yaw_rad / 2))


def picture(stamp: messages.Timestamp, data: bytes, encoding: str) -> messages.CompressedImage:
    """Return an encoded image of the camera."""
    return messages.CompressedImage(timestamp=stamp, frame_id="camera", data=data, format=encoding)


def laser_scan(stamp: messages.Timestamp, ranges: Floats, span: tuple[float, float]) -> messages.LaserScan:
    """Return a scan whose first and last beam are at the angles of `span`."""
    return messages.LaserScan(
        timestamp=stamp,
        frame_id="robot",
        pose=SCANNER,
        start_angle=span[0],
        end_angle=span[1],
        ranges=ranges.tolist(),
    )


def pose_in_frame(stamp: messages.Timestamp, pose: Pose, frame: str) -> messages.PoseInFrame:
    """Return a pose on the floor of a frame."""
    position = messages.Vector3(x=pose.x_m, y=pose.y_m, z=0)
    place = messages.Pose(position=position, orientation=turned(pose.yaw_rad))
    return messages.PoseInFrame(timestamp=stamp, frame_id=frame, pose=place)


def annotations(stamp: messages.Timestamp, boxes: Sequence[ImageBox]) -> messages.ImageAnnotations:
    """Return the boxes and captions to draw over the image."""
    outlines, captions = [_outline(stamp, box) for box in boxes], [_caption(stamp, box) for box in boxes]
    return messages.ImageAnnotations(timestamp=stamp, points=outlines, texts=captions)


def _outline(stamp: messages.Timestamp, box: ImageBox) -> messages.PointsAnnotation:
    corners = [(box.x_min, box.y_min), (box.x_max, box.y_min), (box.x_max, box.y_max), (box.x_min, box.y_max)]
    return messages.PointsAnnotation(
        timestamp=stamp,
        type=messages.PointsAnnotationType.LineLoop,
        points=[messages.Point2(x=x, y=y) for x, y in corners],
        outline_color=GREEN,
        thickness=1,
    )


def _caption(stamp: messages.Timestamp, box: ImageBox) -> messages.TextAnnotation:
    return messages.TextAnnotation(
        timestamp=stamp,
        position=messages.Point2(x=box.x_min, y=box.y_min),
        text=box.label + ("" if box.distance_m is None else f" {box.distance_m:.1f} m"),
        font_size=8,
        text_color=GREEN,
    )
