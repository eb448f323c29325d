"""Decide from a rotation how a 2D scanner sits on its robot: turned about the vertical, and upright or upside down.

    upright(multiply(base_from_frame, frame_from_scan))      # Sitting(yaw_rad=1.57, flipped=False)

A rotation is a quaternion (x, y, z, w) that turns directions of the scanner into directions of the robot (x ahead, y
left, z up). A scanner that is tilted sees the floor or the ceiling, and its ranges are not those of a level one.
"""

import math
from typing import NamedTuple

Quaternion = tuple[float, float, float, float]
"""x, y, z, w."""

IDENTITY: Quaternion = (0.0, 0.0, 0.0, 1.0)
MAX_TILT_DEG = 3.0
"""At 3 degrees a beam is 5 cm higher or lower for each metre; what calibrations find is below 1 degree."""
MAX_NORM_ERROR = 0.01


class Sitting(NamedTuple):
    """The orientation of a scanner on its robot."""

    yaw_rad: float
    """Direction of the scanner's x axis, counter-clockwise from ahead of the robot."""
    flipped: bool
    """Whether it is upside down, so that its beams run clockwise."""

    def __str__(self) -> str:
        return f"yaw {math.degrees(self.yaw_rad):.1f} degrees, {'upside down' if self.flipped else 'upright'}"


def unit(x: float, y: float, z: float, w: float) -> Quaternion:
    """Return the quaternion, scaled to a norm of exactly 1.

    Raises:
        ValueError: it is no rotation: its norm is not 1 within 1 %.
    """
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    if not abs(norm - 1) <= MAX_NORM_ERROR:
        raise ValueError(f"the quaternion ({x:g}, {y:g}, {z:g}, {w:g}) is no rotation: its norm is {norm:g}, not 1")
    return x / norm, y / norm, z / norm, w / norm


def multiply(first: Quaternion, second: Quaternion) -> Quaternion:
    """Return the rotation that applies `second`, then `first`."""
    ax, ay, az, aw = first
    bx, by, bz, bw = second
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def inverse(q: Quaternion) -> Quaternion:
    """Return the opposite rotation of a unit quaternion."""
    return -q[0], -q[1], -q[2], q[3]


def angle_between(first: Quaternion, second: Quaternion) -> float:
    """Return the angle of the rotation from one orientation to another, 0..pi."""
    x, y, z, w = multiply(inverse(first), second)
    return 2 * math.atan2(math.sqrt(x * x + y * y + z * z), abs(w))


def yaw_of(q: Quaternion) -> float:
    """Return the direction of the turned x axis, seen from above: radians, counter-clockwise."""
    x, y, z, w = q
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def rotation_of(yaw_rad: float, flipped: bool = False) -> Quaternion:
    """Return the rotation of a scanner with that yaw, after turning it upside down about its x axis if `flipped`."""
    turn = 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)
    return multiply(turn, (1.0, 0.0, 0.0, 0.0)) if flipped else turn


def upright(rotation: Quaternion) -> Sitting:
    """Return how a scanner with that rotation sits.

    Raises:
        ValueError: it is tilted by more than `MAX_TILT_DEG`; the message has its angles.
    """
    x, y, z, w = rotation
    up = 1 - 2 * (x * x + y * y)
    yaw = yaw_of(rotation)
    tilt = math.degrees(math.acos(min(1.0, abs(up))))
    if tilt > MAX_TILT_DEG:
        roll = math.degrees(math.atan2(2 * (w * x + y * z), up))
        pitch = math.degrees(math.asin(max(-1.0, min(1.0, 2 * (w * y - x * z)))))
        raise ValueError(
            f"tilted by {tilt:.1f} degrees (roll {roll:.1f}, pitch {pitch:.1f}, yaw {math.degrees(yaw):.1f}): "
            f"a scanner has to be level, upright or upside down, within {MAX_TILT_DEG:g} degrees"
        )
    return Sitting(yaw, up < 0)
