"""Draw layouts: the walls of a room, and the openings between its parts.

    plan = LAYOUTS["two_rooms"](rng, config)

A plan is drawn before the room is furnished. Walls are boxes along x and y, outside of the floor or on it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sim2edge.capture.config import RoomConfig
from sim2edge.capture.obstacles import DOOR_HEIGHT_M, JAMB_HALF_M
from sim2edge.capture.seeds import Rng
from sim2edge.capture.specs import WALL_HEIGHT_M, Part
from sim2edge.episodes.moment import Layout, Pose

WALL_HALF_M = 0.05
"""Half the thickness of a wall."""
CLUTTER = 2
"""Factor on the number of obstacles in clutter."""


@dataclass(frozen=True)
class Plan:
    """The empty room."""

    width_m: float
    length_m: float
    walls: tuple[tuple[float, float, float, float, float], ...]
    """Inner walls: middle x and y, half sides along x and y, height of the lower edge above the floor; metres."""
    opening: tuple[Pose, float] | None = None
    """A door's middle and direction of passage, and its width (m)."""
    crowd: float = 1
    """Factor on the number of obstacles per square metre."""

    @property
    def floor_m2(self) -> float:
        """Floor area without walls, square metres."""
        return self.width_m * self.length_m - sum(4 * x * y for _, _, x, y, bottom in self.walls if bottom == 0)

    def parts(self, rgb: tuple[float, float, float]) -> tuple[Part, ...]:
        """Return all walls as boxes: the four around the floor, then the inner ones."""
        half_width, half_length, out = self.width_m / 2, self.length_m / 2, WALL_HALF_M
        sides = [(s * (half_width + out), 0.0, out, half_length + 2 * out, 0.0) for s in (-1, 1)]
        sides += [(0.0, s * (half_length + out), half_width + 2 * out, out, 0.0) for s in (-1, 1)]
        return tuple(_wall(*wall, rgb) for wall in (*sides, *self.walls))


def _wall(x: float, y: float, half_x: float, half_y: float, bottom: float, rgb: tuple[float, float, float]) -> Part:
    half = (WALL_HEIGHT_M - bottom) / 2
    return Part(shape="box", size=(half_x, half_y, half), position=(x, y, bottom + half), rgb=rgb)


def _rectangle(rng: Rng, config: RoomConfig) -> Plan:
    return Plan(rng.uniform(*config.side_m), rng.uniform(*config.side_m), ())


def _clutter(rng: Rng, config: RoomConfig) -> Plan:
    return Plan(rng.uniform(*config.side_m), rng.uniform(*config.side_m), (), crowd=CLUTTER)


def _l(rng: Rng, config: RoomConfig) -> Plan:
    """Draw a rectangle without one of its corners."""
    width, length = rng.uniform(*config.side_m), rng.uniform(*config.side_m)
    half_x, half_y = (side * rng.uniform(0.35, 0.5) / 2 for side in (width, length))
    right, up = rng.choice([-1, 1]), rng.choice([-1, 1])
    return Plan(width, length, ((right * (width / 2 - half_x), up * (length / 2 - half_y), half_x, half_y, 0.0),))


def _corridor(rng: Rng, config: RoomConfig) -> Plan:
    """Draw a long and narrow room, along x or y."""
    sides = config.side_m[1] * rng.uniform(1.1, 1.5), rng.uniform(*config.corridor_m)
    width, length = sides if rng.random() < 0.5 else sides[::-1]
    return Plan(width, length, ())


def _two_rooms(rng: Rng, config: RoomConfig) -> Plan:
    """Draw two rooms in a row along x, with an open door in the wall between them."""
    one, other, length = (rng.uniform(*config.side_m) * 0.8 for _ in range(3))
    width, door = one + other, rng.uniform(*config.door_m)
    x, frame = one - width / 2, door / 2 + 2 * JAMB_HALF_M
    room = length / 2 - frame - 0.25
    y = rng.uniform(-room, room) if room > 0 else 0.0
    low, high = (y - frame + length / 2) / 2, (length / 2 - y - frame) / 2
    walls = (
        (x, -length / 2 + low, WALL_HALF_M, low, 0.0),
        (x, length / 2 - high, WALL_HALF_M, high, 0.0),
        (x, y, WALL_HALF_M, frame, DOOR_HEIGHT_M + 2 * JAMB_HALF_M),
    )
    return Plan(width, length, walls, (Pose(x, y, 0.0), door))


LAYOUTS: dict[Layout, Callable[[Rng, RoomConfig], Plan]] = {
    "rectangle": _rectangle,
    "l": _l,
    "corridor": _corridor,
    "two_rooms": _two_rooms,
    "clutter": _clutter,
}
"""Function that draws each layout."""
