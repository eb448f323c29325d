"""Footprints: the convex shadow of an obstacle on the floor, and distances between them."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.capture.specs import Obstacle, Part, Polygon, Pose


def make_obstacle(instance: int, label: str, pose: Pose, parts: tuple[Part, ...]) -> Obstacle:
    """Put an obstacle of these parts at a pose; its footprint follows."""
    outline = np.concatenate([_outline(part) for part in parts])
    cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    turned = outline @ np.array([[cos, sin], [-sin, cos]]) + (pose.x_m, pose.y_m)
    hull = cv2.convexHull(turned.astype(np.float32))[:, 0].astype(float)
    return Obstacle(
        instance=instance,
        label=label,
        x_m=pose.x_m,
        y_m=pose.y_m,
        yaw_rad=pose.yaw_rad,
        parts=parts,
        footprint=tuple((round(x, 5), round(y, 5)) for x, y in hull),
    )


def _outline(part: Part) -> NDArray[np.float64]:
    """Points (n, 2) around a part's shadow on the floor, in the obstacle's frame."""
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


def fits(candidate: Obstacle, placed: list[Obstacle], gap: float, width: float, length: float) -> bool:
    """Whether an obstacle is inside a room of this size (m) and farther than `gap` (m) from those placed already."""
    points = np.array(candidate.footprint)
    if (np.abs(points) > (width / 2 - 0.02, length / 2 - 0.02)).any():
        return False
    return all(hull_distance(candidate.footprint, other.footprint) > gap for other in placed)


def hull_distance(one: Polygon, other: Polygon) -> float:
    """Distance between two convex polygons, metres; 0 when they overlap."""
    a, b = np.array(one, np.float32), np.array(other, np.float32)
    if cv2.intersectConvexConvex(a, b)[0] > 0:
        return 0.0
    return min(
        min(-cv2.pointPolygonTest(b, (float(x), float(y)), True) for x, y in a),
        min(-cv2.pointPolygonTest(a, (float(x), float(y)), True) for x, y in b),
    )
