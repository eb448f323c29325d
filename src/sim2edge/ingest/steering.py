"""Convert the commands of a car, speed and steering angle, to ours: speed and turning rate (the bicycle model)."""

import math
from typing import NamedTuple

from sim2edge.episodes.moment import Command

MAX_ANGLE_RAD = 1.5
"""Beyond this a car would turn on the spot, and a degree changes the turning rate by a third."""


class Steering(NamedTuple):
    """A command of `ackermann_msgs`; the angle is that of a virtual front wheel, positive to the left."""

    speed_m_s: float
    angle_rad: float


def to_command(value: Command | Steering, wheelbase_m: float | None) -> Command:
    """Return a command as speed and turning rate.

    Raises:
        ValueError: it is of a car whose wheelbase is not known, or its wheel is about across the direction of driving.
    """
    if isinstance(value, Command):
        return value
    if wheelbase_m is None:
        raise ValueError("a steering angle: wheelbase_m=<metres from axle to axle> tells how fast the car turns by it")
    if not abs(value.angle_rad) <= MAX_ANGLE_RAD:
        raise ValueError(f"the steering angle is {value.angle_rad:g} rad: expected at most {MAX_ANGLE_RAD} to a side")
    return Command(value.speed_m_s, value.speed_m_s * math.tan(value.angle_rad) / wheelbase_m)
