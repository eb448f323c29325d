"""Align messages to ticks: pure functions from the times of a log's topics to ticks of our 10 Hz.

    aligned = align(placed.times, tolerance_ns, hold_ns)

Ticks are a tenth of a second apart, starting at the first image (of a fast camera, at the one of the first tick that
the scans come nearest to). Each takes the image nearest to it, and from the other
topics the messages nearest to that image; an incomplete tick is dropped and counted, and leaves a gap.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sim2edge.episodes.moment import TICK_NS
from sim2edge.ingest.clock import Mask, Times
from sim2edge.ingest.config import Role

NONE = -1
SAME_IMAGE_NS = 2_000_000
"""Labels are for the image whose stamp they have; rounded by their writer, they differ by at most this."""
NEAR_NS = 20_000_000
"""Scans that are this near to images in the median are near enough."""
MAX_STARTS = 50
CLOCK = "clock"
"""The reason of ticks dropped because it is not certain which command was in force."""


@dataclass
class Aligned:
    """The ticks of an episode: the index of each on the grid, and by role the number and the time of its message."""

    index: Times
    chosen: dict[Role, Times]
    times: dict[Role, Times]
    """Nanoseconds."""
    start_ns: int
    """Time of index 0."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Dropped ticks, by the role they lack, or `CLOCK`."""

    def __len__(self) -> int:
        return len(self.index)

    def keep(self, kept: Mask, role: Role) -> "Aligned":
        """Return the ticks that are `kept`, the others counted as lacking `role`; the first gets the index 0."""
        index = self.index[kept]
        dropped = self.dropped + Counter({role: int((~kept).sum())})
        chosen = {each: numbers[kept] for each, numbers in self.chosen.items()}
        times = {each: moments[kept] for each, moments in self.times.items()}
        first = int(index[0]) if len(index) else 0
        return Aligned(index - first, chosen, times, self.start_ns + first * TICK_NS, dropped)

    @property
    def farthest_ns(self) -> dict[Role, int]:
        """By role, the largest distance of a message from its image; for the image, from its tick; nanoseconds."""
        grid = self.start_ns + self.index * TICK_NS
        near = {role: grid if role == "image" else self.times["image"] for role in self.times}
        return {role: int(np.abs(times - near[role]).max(initial=0)) for role, times in self.times.items()}

    @property
    def times_to_write(self) -> dict[Role, Times]:
        """Times since the earliest message, nanoseconds; commands have those of their images, where they are in force.

        The earliest is at 0, or the first image if that is on its tick and nothing precedes it.
        """
        written = self.times | ({"command": self.times["image"]} if "command" in self.times else {})
        start = min([self.start_ns, *(int(times[0]) for times in written.values())])
        return {role: times - start for role, times in written.items()}


def nearest(times: Times, wanted: Times, tolerance_ns: float) -> Times:
    """Return the index into the rising `times` of the nearest to each wanted time; `NONE` beyond the tolerance."""
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    found = np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted), before, after)
    return np.where(np.abs(times[found] - wanted) <= tolerance_ns, found, NONE)


def in_force(times: Times, wanted: Times, tolerance_ns: float, hold_ns: float) -> Times:
    """Return the `nearest` index, else the last before it not older than `hold_ns`: a command holds until the next."""
    found = nearest(times, wanted, tolerance_ns)
    last = np.searchsorted(times, wanted, side="right") - 1
    held = (last >= 0) & (wanted - times[np.maximum(last, 0)] <= hold_ns)
    return np.where((found == NONE) & held, last, found)


@dataclass(frozen=True)
class Doubts:
    """Where the times of commands are not certain."""

    sure: Mask
    """Of each command: whether its time is certain."""
    stretches: tuple[Times, Times]
    """First and last time of each stretch in which a command may have been sent at any time."""

    def at(self, moments: Times, commands: Times) -> Mask:
        """Return at which moments it is not certain that the chosen command is the right one."""
        starts, ends = self.stretches
        inside = np.searchsorted(starts, moments, side="left") > np.searchsorted(ends, moments, side="left")
        return np.asarray(inside | ~self.sure[commands], dtype=bool)


def align(times: Mapping[Role, Times], tolerance_ns: float, hold_ns: float, doubts: Doubts | None = None) -> Aligned:
    """Choose the messages of each tick; the times of each role have to rise.

    An image is used for one tick only, the first that takes it.
    """
    images = times["image"]
    start = _first_tick(times)
    grid = start + TICK_NS * np.arange((images[-1] - start + TICK_NS // 2) // TICK_NS + 1)
    chosen: dict[Role, Times] = {"image": nearest(images, grid, min(tolerance_ns, TICK_NS / 2))}
    chosen["image"][1:][np.diff(chosen["image"]) == 0] = NONE
    moments = images[chosen["image"]]
    for role in times:
        if role != "image":
            hold = hold_ns if role == "command" else 0
            within = SAME_IMAGE_NS if role == "labels" else tolerance_ns
            chosen[role] = in_force(times[role], moments, within, hold)
    wrong: dict[str, Mask] = {role: found == NONE for role, found in chosen.items()}
    if doubts is not None:
        wrong[CLOCK] = doubts.at(moments, chosen["command"])
    return _complete(times, grid, chosen, wrong)


def _first_tick(times: Mapping[Role, Times]) -> int:
    """Return the time of the first tick: the first image, unless scans are far from it and nearer to a later one."""
    images = times["image"]
    starts = images[images < images[0] + TICK_NS][:MAX_STARTS]
    if "scan" not in times:
        return int(starts[0])
    after = (times["scan"][None, :] - starts[:, None]) % TICK_NS
    apart = np.median(np.minimum(after, TICK_NS - after), axis=1)
    return int(starts[0] if apart[0] <= NEAR_NS else starts[np.argmin(apart)])


def _complete(
    times: Mapping[Role, Times], grid: Times, chosen: dict[Role, Times], wrong: Mapping[str, Mask]
) -> Aligned:
    """Keep the ticks with which nothing is wrong."""
    dropped: Counter[str] = Counter()
    kept = np.ones(len(grid), dtype=bool)
    for reason, ticks in wrong.items():
        dropped[reason] = int((kept & ticks).sum())
        kept &= ~ticks
    index = np.flatnonzero(kept)
    picked = {role: found[kept] for role, found in chosen.items()}
    first = int(index[0]) if len(index) else 0
    found_times = {role: times[role][numbers] for role, numbers in picked.items()}
    return Aligned(index - first, picked, found_times, int(grid[first]), +dropped)
