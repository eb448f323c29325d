"""Determine what the robot touched from the positions of contact points, the only data that Webots provides."""

from collections.abc import Iterable, Sequence

from sim2edge.capture.footprints import distance_to, placed_footprints, wall_footprint
from sim2edge.capture.simulator import WALL
from sim2edge.capture.specs import RoomSpec
from sim2edge.episodes.moment import Pose

FLOOR_M = 0.003
"""Height below which contacts are those of wheels and casters with the floor."""


def touched_at(points: Iterable[Sequence[float]], room: RoomSpec, obstacles: Sequence[Pose]) -> frozenset[str]:
    """Return the classes of obstacles, or `WALL`, nearest to contact points (x, y, z) above the floor."""
    above = [(point[0], point[1]) for point in points if point[2] > FLOOR_M]
    return frozenset(_nearest(x, y, room, obstacles) for x, y in above)


def _nearest(x: float, y: float, room: RoomSpec, obstacles: Sequence[Pose]) -> str:
    candidates = [(distance_to(wall_footprint(wall), x, y), WALL) for wall in room.walls]
    for obstacle, pose in zip(room.obstacles, obstacles, strict=True):
        distance = min(distance_to(hull, x, y) for hull in placed_footprints(obstacle, pose))
        candidates.append((distance, obstacle.label))
    # Of equals an obstacle, which may lean on a wall.
    return min(candidates, key=lambda candidate: (candidate[0], candidate[1] == WALL))[1]
