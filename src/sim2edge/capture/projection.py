"""Project obstacles into the robot's pinhole camera: outlines of their parts in the image, and their joint area.

    projector = Projector(spec.camera, config.camera)
    outlines = projector.outlines(solid_of(obstacle), in_frame(obstacle.pose, robot))
    outlines.area(projector.image)         # pixels of its silhouette in the image

A pixel (column c, row r) is the square from (c, r) to (c + 1, r + 1). Parts are convex, so a part's outline is the hull
of its projected points: corners of boxes, rims of cylinders, and where rays from the camera touch balls.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.camera_mount import focal_pixels, mount_position, mount_rotation
from sim2edge.capture.config import CameraConfig
from sim2edge.capture.specs import CameraSpec, Obstacle, Part
from sim2edge.episodes.moment import Pose

Floats = NDArray[np.float64]

NEAR_M = 0.02
"""Nearest plane of projection: points nearer to the camera along its axis are cut off."""

RIM_POINTS = 16
CANVAS_PIXELS = 224
FINEST = 8
"""Areas are measured on a canvas of at most CANVAS_PIXELS a side, and at most FINEST to a pixel of the image."""

SUBPIXEL_BITS = 4
FAR_OUT = 4
"""Silhouettes are computed up to this many image sizes beyond the image's edges."""

_TURN = np.arange(RIM_POINTS) / RIM_POINTS * math.tau
# A polygon with corners this much outside a circle has the circle's area.
_SAME_AREA = math.sqrt(2 * math.pi / RIM_POINTS / math.sin(2 * math.pi / RIM_POINTS))


class Window(NamedTuple):
    """A rectangle of the image plane, pixels."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def overlap(self, other: "Window") -> "Window":
        """Return the intersection of both."""
        lows = max(self.x_min, other.x_min), max(self.y_min, other.y_min)
        return Window(*lows, min(self.x_max, other.x_max), min(self.y_max, other.y_max))

    def contains(self, other: "Window") -> bool:
        """Return whether this window contains all of the other."""
        return self.overlap(other) == other


@dataclass(frozen=True)
class Solid:
    """An obstacle as points (n, 3) in its own frame, grouped by part."""

    points: Floats
    ends: tuple[int, ...]
    """End index of each part's points."""
    balls: NDArray[np.intp]
    """Indices of points that are the centre of a ball: one of the `RIM_POINTS` on its outline as seen by the camera."""
    radii: Floats
    """Radii of those balls, metres."""
    turns: Floats
    """Angles on the outline, radians."""


def solid_of(obstacle: Obstacle) -> Solid:
    """Prepare an obstacle for `Projector.outlines`."""
    points, radii = zip(*(_part_points(part) for part in obstacle.parts), strict=True)
    sizes = np.array([len(part) for part in points])
    radius = np.repeat(radii, sizes)
    balls = np.flatnonzero(radius)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    turns = _TURN[(balls - starts[balls]) % RIM_POINTS]
    return Solid(np.concatenate(points), tuple(np.cumsum(sizes).tolist()), balls, radius[balls], turns)


def _part_points(part: Part) -> tuple[Floats, float]:
    """Return points (n, 3) whose hull is the part or, with a radius, centres of balls whose hull is the part."""
    if part.shape == "sphere":
        return np.repeat([part.position], RIM_POINTS, axis=0).astype(float), part.size[0]
    turn = rotation(part.quaternion)
    if part.shape == "capsule":
        ends = np.repeat([(0, 0, -part.size[1]), (0, 0, part.size[1])], RIM_POINTS, axis=0)
        return ends @ turn.T + part.position, part.size[0]
    if part.shape == "cylinder":
        rim = part.size[0] * _SAME_AREA * np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)
        local = np.concatenate([np.insert(rim, 2, height, axis=1) for height in (-part.size[1], part.size[1])])
    else:
        signs = np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
        local = signs * part.size
    return local @ turn.T + part.position, 0.0


def rotation(quaternion: tuple[float, float, float, float]) -> Floats:
    """Return the matrix (3, 3) of a unit quaternion (w, x, y, z)."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def in_frame(pose: Pose, frame: Pose) -> Pose:
    """Transform a pose from the room to the frame of another pose; its yaw is within -pi..pi."""
    cos, sin = math.cos(frame.yaw_rad), math.sin(frame.yaw_rad)
    x, y = pose.x_m - frame.x_m, pose.y_m - frame.y_m
    yaw = (pose.yaw_rad - frame.yaw_rad + math.pi) % math.tau - math.pi
    return Pose(cos * x + sin * y, cos * y - sin * x, yaw)


@dataclass(frozen=True)
class Outlines:
    """The convex outlines (n, 2) of an obstacle's parts, pixels, one after the other."""

    points: NDArray[np.float32]
    ends: tuple[int, ...]

    @cached_property
    def bounds(self) -> Window:
        """The smallest window around all outlines; empty if none is in front of the camera."""
        if not len(self.points):
            return Window(0, 0, 0, 0)
        (x_min, y_min), (x_max, y_max) = self.points.min(axis=0), self.points.max(axis=0)
        return Window(float(x_min), float(y_min), float(x_max), float(y_max))

    def area(self, window: Window) -> float:
        """Return the area of the window that the parts cover together, square pixels."""
        seen = self.bounds.overlap(window)
        width, height = seen.x_max - seen.x_min, seen.y_max - seen.y_min
        if min(width, height) <= 0:
            return 0.0
        scale = min(FINEST, CANVAS_PIXELS / max(width, height))
        canvas = np.zeros((math.ceil(height * scale), math.ceil(width * scale)), np.uint8)
        # In OpenCV the centres of pixels have integer coordinates.
        placed = (self.points - (seen.x_min, seen.y_min)) * scale - 0.5
        corners = np.rint(placed * (1 << SUBPIXEL_BITS)).astype(np.int32)
        start = 0
        for end in self.ends:
            cv2.fillConvexPoly(canvas, corners[start:end], 1, cv2.LINE_8, SUBPIXEL_BITS)
            start = end
        return max(0, cv2.countNonZero(canvas) - _excess(canvas)) / scale**2


def _excess(canvas: NDArray[np.uint8]) -> int:
    """Return the pixels by which OpenCV's filled polygons, which include their outline, are too large.

    An outline takes half a pixel outside on either side: one a row where it is steep, one a column where it is flat.
    """
    return max(_runs(canvas[:, :-1], canvas[:, 1:], canvas[:, 0]), _runs(canvas[:-1], canvas[1:], canvas[0]))


def _runs(before: NDArray[np.uint8], after: NDArray[np.uint8], first: NDArray[np.uint8]) -> int:
    return cv2.countNonZero(cv2.compare(after, before, cv2.CMP_GT)) + int(np.count_nonzero(first))


class Projector:
    """The camera of one episode."""

    def __init__(self, camera: CameraSpec, config: CameraConfig) -> None:
        self.focal_px = focal_pixels(config.height, config.fov_deg)
        self.image = Window(0, 0, config.width, config.height)
        self.surroundings = Window(
            *(-FAR_OUT * config.width, -FAR_OUT * config.height),
            *((1 + FAR_OUT) * config.width, (1 + FAR_OUT) * config.height),
        )
        self._centre = np.array([config.width / 2, config.height / 2])
        self._rotation, self._position = mount_rotation(camera), np.array(mount_position(camera))

    def pixels(self, points: Floats) -> Floats:
        """Project points (n, 3) of the robot's frame into the image.

        Return pixels (n, 2); the points have to be in front of the camera.
        """
        return self._flatten((points - self._position) @ self._rotation)

    def outlines(self, solid: Solid, pose: Pose) -> Outlines:
        """Return the outlines of an obstacle at a pose in the robot's frame.

        Parts behind the camera have none.
        """
        points = self._to_camera(solid, pose)
        ahead = -points[:, 2] > NEAR_M
        if ahead.all():
            pixels = self._flatten(points).astype(np.float32)
            return _hulls([pixels[start:end] for start, end in _spans(solid.ends)])
        parts = [_cut(points[start:end], ahead[start:end]) for start, end in _spans(solid.ends)]
        return _hulls([self._flatten(part).astype(np.float32) for part in parts if len(part)])

    def _to_camera(self, solid: Solid, pose: Pose) -> Floats:
        cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ self._rotation
        points: Floats = solid.points @ turn + ((pose.x_m, pose.y_m, 0) - self._position) @ self._rotation
        if len(solid.balls):
            points[solid.balls] = _touched(points[solid.balls], solid.radii, solid.turns)
        return points

    def _flatten(self, points: Floats) -> Floats:
        flat: Floats = self._centre + points[:, :2] * (-self.focal_px / points[:, 2:]) * (1, -1)
        return flat


def _touched(middles: Floats, radii: Floats, turns: Floats) -> Floats:
    """Return the points (n, 3) where rays from the camera touch balls (n).

    They are on a circle: at distance d, its centre is nearer by r^2 / d, and its radius is r * sqrt(1 - (r / d)^2).
    """
    square = (middles * middles).sum(axis=1)
    share = np.minimum(radii * radii / square, 1)
    across = np.stack([-middles[:, 2], np.zeros(len(middles)), middles[:, 0]], axis=1)
    across /= np.sqrt((across * across).sum(axis=1, keepdims=True)) + 1e-12
    upward = np.cross(middles, across) / np.sqrt(square)[:, None]
    size = _SAME_AREA * radii * np.sqrt(1 - share)
    rim = (size * np.cos(turns))[:, None] * across + (size * np.sin(turns))[:, None] * upward
    touched: Floats = middles * (1 - share)[:, None] + rim
    return touched


def _spans(ends: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip((0, *ends[:-1]), ends, strict=True))


def _cut(points: Floats, ahead: NDArray[np.bool_]) -> Floats:
    """Return points whose hull is the hull of these, cut at the near plane.

    All lines across the plane are inside the hull.
    """
    front, back = points[ahead], points[~ahead]
    if not len(back) or not len(front):
        return front
    depth = -front[:, None, 2:]
    share = (depth - NEAR_M) / (depth + back[None, :, 2:])
    crossings = front[:, None] + share * (back[None] - front[:, None])
    return np.concatenate([front, crossings.reshape(-1, 3)])


def _hulls(parts: list[NDArray[np.float32]]) -> Outlines:
    hulls = [cv2.convexHull(part)[:, 0] for part in parts]
    if not hulls:
        return Outlines(np.zeros((0, 2), np.float32), ())
    ends = np.cumsum([len(hull) for hull in hulls])
    return Outlines(np.asarray(np.concatenate(hulls), np.float32), tuple(ends.tolist()))
