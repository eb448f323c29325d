"""Compute footprints, the convex outlines of an obstacle's parts on the floor, and distances between polygons."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.specs import Motion, Obstacle, Part, Polygon
from sim2edge.episodes.moment import Pose

Points = NDArray[np.float64]


def make_obstacle(
    instance: int,
    label: str,
    pose: Pose,
    groups: Sequence[Sequence[Part]],
    overhead: Sequence[Part] = (),
    motion: Motion | None = None,
) -> Obstacle:
    """Build an obstacle at a pose; each group of its parts has a footprint, and the space between groups is free.

    Parts `overhead` have none: the robot passes under them.
    """
    return Obstacle(
        instance=instance,
        label=label,
        x_m=pose.x_m,
        y_m=pose.y_m,
        yaw_rad=pose.yaw_rad,
        parts=tuple(part for group in (*groups, overhead) for part in group),
        footprints=tuple(_hull(group) for group in groups),
        motion=motion,
    )


def _hull(parts: Sequence[Part]) -> Polygon:
    outline = np.concatenate([_outline(part) for part in parts])
    hull = cv2.convexHull(outline.astype(np.float32))[:, 0].astype(float)
    return tuple((round(x, 5), round(y, 5)) for x, y in hull)


def _outline(part: Part) -> Points:
    """Return points (n, 2) around a part's projection onto the floor, in the obstacle's frame."""
    x, y, _ = part.position
    if part.shape == "box":
        half_x, half_y, _ = part.size
        return np.array([(x + i * half_x, y + j * half_y) for i in (-1, 1) for j in (-1, 1)])
    turn = np.arange(16) / 16 * math.tau
    circle = part.size[0] * np.stack([np.cos(turn), np.sin(turn)], axis=1) + (x, y)
    if part.shape != "capsule":
        return circle
    w, i, j, k = part.quaternion
    axis = part.size[1] * np.array([2 * (i * k + w * j), 2 * (j * k - w * i)])
    return np.concatenate([circle - axis, circle + axis])


def place(polygon: Polygon, pose: Pose) -> Points:
    """Transform the corners (n, 2) of a polygon from an obstacle's frame to the room's, for an obstacle at `pose`."""
    cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    placed: Points = np.array(polygon) @ np.array([[cos, sin], [-sin, cos]]) + (pose.x_m, pose.y_m)
    return placed


def placed_footprints(obstacle: Obstacle, pose: Pose | None = None) -> list[Points]:
    """Return an obstacle's footprints in the room; `pose` is the present one of a moving obstacle."""
    return [place(polygon, pose or obstacle.pose) for polygon in obstacle.footprints]


def wall_footprint(wall: Part) -> Points:
    """Return the corners (4, 2) of a wall, an upright box along x and y."""
    (x, y, _), (half_x, half_y, _) = wall.position, wall.size
    return np.array(
        [(x - half_x, y - half_y), (x + half_x, y - half_y), (x + half_x, y + half_y), (x - half_x, y + half_y)]
    )


def distance_to(polygon: Points, x: float, y: float) -> float:
    """Return the distance of a point to a convex polygon (n, 2), metres; 0 inside."""
    return max(0.0, -cv2.pointPolygonTest(polygon.astype(np.float32), (x, y), True))


def hull_distance(one: Points, other: Points) -> float:
    """Return the distance between two convex polygons (n, 2), metres; 0 when they overlap."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    if cv2.intersectConvexConvex(a, b)[0] > 0:
        return 0.0
    return min(
        min(-cv2.pointPolygonTest(b, (float(x), float(y)), True) for x, y in a),
        min(-cv2.pointPolygonTest(a, (float(x), float(y)), True) for x, y in b),
    )
