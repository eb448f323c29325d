"""Map a room to an occupancy grid: where the robot fits, what it can reach, and the path to a goal.

Cells are (row, column) = (y, x); the robot is a disc, so cells nearer than its radius to an obstacle or a wall are not
free.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

CELL_M = 0.05
NEAR_M = (1.0, 5.0)
"""Smallest and largest distance of a goal from the robot."""
FACING_M = 0.8
"""Largest distance of a goal from an obstacle, so that the robot drives towards obstacles and not past them."""
AHEAD_RAD = 0.9
"""Goals within this angle of the robot's heading are preferred, so that it does not turn on the spot for long."""
ALWAYS_AHEAD = 4
"""Cells of the path that are followed even without a straight line to them, so that the target is never the robot."""

Mask = NDArray[np.bool_]


class Occupancy:
    """A grid over a `width_m` x `length_m` room around the origin, for a robot of radius `radius_m`."""

    def __init__(
        self, width_m: float, length_m: float, footprints: Sequence[NDArray[np.float64]], radius_m: float
    ) -> None:
        self._origin = np.array([width_m / 2 + CELL_M, length_m / 2 + CELL_M])
        shape = (round(length_m / CELL_M) + 2, round(width_m / CELL_M) + 2)
        open_floor = np.zeros(shape, np.uint8)
        open_floor[1:-1, 1:-1] = 1
        unoccupied = np.ones(shape, np.uint8)
        for footprint in footprints:
            corners = np.round((footprint + self._origin) / CELL_M - 0.5).astype(np.int32)
            cv2.fillConvexPoly(unoccupied, corners, 0)
        self.clearance_m = _distance(open_floor & unoccupied)
        """Distance of each cell to the nearest obstacle or wall, metres."""
        self.free: Mask = self.clearance_m > radius_m
        self._faces_obstacle: Mask = _distance(unoccupied) < FACING_M

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Return the cell that contains a position of the room."""
        column, row = ((np.array([x, y]) + self._origin) / CELL_M).astype(int)
        rows, columns = self.free.shape
        return int(row.clip(0, rows - 1)), int(column.clip(0, columns - 1))

    def position(self, cell: NDArray[np.int64] | tuple[int, int]) -> tuple[float, float]:
        """Return the middle of a cell, metres."""
        x, y = (np.array([cell[1], cell[0]]) + 0.5) * CELL_M - self._origin
        return float(x), float(y)

    def reachable(self, x: float, y: float) -> Mask:
        """Return the free cells connected (4 neighbours) with the free cell nearest to a position."""
        _, regions = cv2.connectedComponents(self.free.astype(np.uint8), connectivity=4)
        mask: Mask = regions == regions[_nearest(self.free, self.cell(x, y))]
        return mask & self.free

    def goals(self, x: float, y: float, yaw: float) -> NDArray[np.int64]:
        """Return suitable goal cells (n, 2) for a pose: reachable, within the distance limits, beside an obstacle.

        Those ahead if there are any, else those to the sides and behind."""
        row, column = self.cell(x, y)
        rows, columns = np.indices(self.free.shape)
        distance = CELL_M * np.hypot(rows - row, columns - column)
        turn = (np.arctan2(rows - row, columns - column) - yaw + np.pi) % (2 * np.pi) - np.pi
        near, far = NEAR_M
        wanted = self.reachable(x, y) & self._faces_obstacle & (distance > near) & (distance < far)
        ahead = wanted & (np.abs(turn) < AHEAD_RAD)
        return np.argwhere(ahead if ahead.any() else wanted)

    def steps_to(self, x: float, y: float) -> NDArray[np.int32]:
        """Return the steps from every cell to a goal, -1 if unreachable, by spreading a wave over the free cells."""
        steps = np.full(self.free.shape, -1, np.int32)
        free = self.free.astype(np.uint8)
        wave = np.zeros_like(free)
        wave[self.cell(x, y)] = 1
        cross, square = (cv2.getStructuringElement(kind, (3, 3)) for kind in (cv2.MORPH_CROSS, cv2.MORPH_RECT))
        count = 0
        while wave.any():
            steps[wave > 0] = count
            free[wave > 0] = 0
            count += 1
            # Alternating the neighbourhoods makes the wave an octagon, close to a circle.
            wave = np.asarray(cv2.dilate(wave, square if count % 2 else cross), np.uint8) & free
        return steps

    def ahead(self, steps: NDArray[np.int32], x: float, y: float, distance_m: float) -> tuple[float, float]:
        """Return a point on the path (as found by `steps_to`) from a position to the goal.

        It is the farthest, up to `distance_m` along the way, to which a straight line stays on free cells."""
        way = [_nearest(steps >= 0, self.cell(x, y))]
        for _ in range(round(distance_m / CELL_M)):
            row, column = way[-1]
            window = steps[row - 1 : row + 2, column - 1 : column + 2]
            best = int(np.where(window < 0, np.iinfo(np.int32).max, window).argmin())
            if window.flat[best] >= steps[row, column]:
                break
            way.append((row + best // 3 - 1, column + best % 3 - 1))
        followed = way[: ALWAYS_AHEAD + 1]
        farther = way[ALWAYS_AHEAD + 1 :]
        # From the far end, so that on open floor one test is enough.
        return self.position(next((cell for cell in reversed(farther) if self._straight(way[0], cell)), followed[-1]))

    def _straight(self, one: tuple[int, int], other: tuple[int, int]) -> bool:
        count = 2 * max(abs(one[0] - other[0]), abs(one[1] - other[1])) + 1
        rows, columns = (np.rint(np.linspace(one[k], other[k], count)).astype(int) for k in (0, 1))
        return bool(self.free[rows, columns].all())


def _nearest(mask: Mask, cell: tuple[int, int]) -> tuple[int, int]:
    """Return the cell of a mask that is nearest to `cell`; `cell` itself if the mask is empty."""
    if mask[cell]:
        return cell
    known = np.argwhere(mask)
    if not len(known):
        return cell
    row, column = known[np.square(known - cell).sum(axis=1).argmin()]
    return int(row), int(column)


def _distance(open_cells: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the distance of each cell to the nearest that is 0, metres."""
    return CELL_M * np.asarray(cv2.distanceTransform(open_cells, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)
