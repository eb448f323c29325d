"""Turn the actions of a dataset into commands: metres a second ahead, radians a second to the left.

    actions = choose(["x.vel", "y.vel", "theta.vel"], config.dataset, None)      # LeRobot's LeKiwi
    actions.command([0.2, 0.0, 90.0], "row 0")                               # Command(0.2, 1.571)

Only names whose unit is known are taken unasked; a share of full throttle needs the speed that it stands for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sim2edge.episodes.moment import Command
from sim2edge.errors import BadInput
from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.config import DatasetConfig
from sim2edge.ingest.steering import Steering, to_command

MAX_SHOWN = 12


@dataclass(frozen=True)
class Known:
    """An action whose meaning is known by its name."""

    per_unit: float | None
    """m/s or rad/s to the left for the value 1; None: a share (-1..1) of what the robot can do."""
    sign: int = 1
    """-1: positive values turn right."""


# Units: LeKiwi and Reachy 2 take degrees a second, see `_body_to_wheel_raw` in lerobot/robots/lekiwi/lekiwi.py.
LINEAR = {
    "linear_m_s": Known(1.0),
    "linear.x": Known(1.0),
    "x.vel": Known(1.0),
    "mobile_base.vx": Known(1.0),
    "user/throttle": Known(None),
}
ANGULAR = {
    "angular_rad_s": Known(1.0),
    "angular.z": Known(1.0),
    "theta.vel": Known(math.pi / 180),
    "mobile_base.vtheta": Known(math.pi / 180),
    "user/angle": Known(None, -1),
}
SIDEWAYS = ("y.vel", "linear.y", "mobile_base.vy")
"""What our commands cannot express."""


@dataclass(frozen=True)
class ActionMap:
    """How the values of an action become a command."""

    linear: int
    """Number of the value that drives ahead, from 0."""
    angular: int
    m_s: float
    """Speed at the value 1."""
    rad_s: float
    """Rate of turn to the left at the value 1; for a car, its steering angle to the left, radians."""
    wheelbase_m: float | None = None
    """Of a car; None: the robot turns on the spot."""

    def command(self, values: Sequence[float], where: str) -> Command:
        """Return the command for the values of one action; NaN stays NaN.

        Raises:
            BadLog: no car steers like that; the line begins with `where`.
        """
        ahead, turn = values[self.linear] * self.m_s, values[self.angular] * self.rad_s
        if self.wheelbase_m is None or math.isnan(turn):
            return Command(ahead, turn)
        try:
            return to_command(Steering(ahead, turn), self.wheelbase_m)
        except ValueError as error:
            raise BadLog(f"{where}: action: {error}") from error


def choose(names: Sequence[str], config: DatasetConfig, wheelbase_m: float | None) -> ActionMap:
    """Choose the two values of an action, by the config's names or by known ones; `wheelbase_m` is that of a car.

    Raises:
        BadInput: they are not among the names, or their unit is unknown.
    """
    linear = _find(names, config.linear, LINEAR, "linear")
    angular = _find(names, config.angular, ANGULAR, "angular")
    ahead, turn = LINEAR.get(names[linear], Known(None)), ANGULAR.get(names[angular], Known(None))
    m_s, rad_s = config.full_speed_m_s or ahead.per_unit, turn.per_unit
    if wheelbase_m is not None:
        rad_s = turn.sign * math.radians(config.full_steer_deg)
    elif config.full_turn_rad_s is not None:
        rad_s = turn.sign * config.full_turn_rad_s
    unknown = [names[linear]] * (m_s is None) + [names[angular]] * (rad_s is None)
    if m_s is None or rad_s is None:
        needed = ["dataset.full_speed_m_s=<m/s>"] * (m_s is None)
        needed += ["dataset.full_turn_rad_s=<rad/s> (for a car wheelbase_m=<m>)"] * (rad_s is None)
        raise BadInput(f"action: {', '.join(unknown)}: no unit is known: say what 1 stands for: {' '.join(needed)}")
    return ActionMap(linear, angular, m_s, rad_s, wheelbase_m)


def _find(names: Sequence[str], named: str, known: dict[str, Known], which: str) -> int:
    """Return the number of the action that `named` or, if empty, a known name chooses."""
    wanted = [named] if named else [name for name in known if name in names]
    if wanted and wanted[0] in names:
        return names.index(wanted[0])
    if named.isdigit() and int(named) < len(names):
        return int(named)
    shown = ", ".join(names[:MAX_SHOWN]) + (", ..." if len(names) > MAX_SHOWN else "")
    missing = f"no '{named}' among" if named else f"no {which} velocity of a mobile base among"
    how = f"name it with dataset.{which}=<name>, or its number from 0"
    raise BadInput(f"action: {missing}: {shown or 'no names'}: {how}")
