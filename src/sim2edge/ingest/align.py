"""Align messages to ticks: pure functions from the times of a log's topics to ticks of our 10 Hz.

    clock = choose_clock(log.streams)
    times = {role: clock.times_of(stream) for role, stream in log.streams.items()}
    check_clock(...)
    aligned = align(times, tolerance_ns, hold_ns)

Ticks are a tenth of a second apart, starting at the first image. Each takes the image nearest to it, and from the other
topics the messages nearest to that image; an incomplete tick is dropped and counted, and leaves a gap.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sim2edge.episodes.moment import TICK_NS
from sim2edge.ingest.config import Role
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import Stream

Times = NDArray[np.int64]

NONE = -1
OTHER_CLOCK_NS = 1_000_000_000
"""Stamps farther than this from the log time belong to another clock, such as simulated time."""


@dataclass(frozen=True)
class Clock:
    """The source of a log's times."""

    name: str
    """`stamps` of the messages, or `log_time`."""
    reason: str
    """Why the stamps are not used; empty when they are."""
    offset_ns: int
    """Log time minus stamps, for messages without a stamp; 0 when both are of the same clock."""

    def times_of(self, stream: Stream) -> Times:
        """Return the times of a stream's messages, nanoseconds."""
        if self.name == "stamps" and stream.stamped:
            return np.array(stream.stamps, dtype=np.int64)
        return np.array(stream.log_times, dtype=np.int64) - self.offset_ns


@dataclass
class Aligned:
    """The ticks of an episode: the index of each on the grid, and by role the number of its message."""

    index: Times
    chosen: dict[Role, Times]
    dropped: Counter[str] = field(default_factory=Counter)
    """Dropped ticks, by the role they lack."""
    farthest_ns: dict[Role, int] = field(default_factory=dict)
    """By role, the largest distance of a message from its image; for the image, from its tick."""

    def __len__(self) -> int:
        return len(self.index)

    def keep(self, kept: NDArray[np.bool_], role: Role) -> "Aligned":
        """Return the ticks that are `kept`, the others counted as lacking `role`; the first gets the index 0."""
        index = self.index[kept]
        dropped = self.dropped + Counter({role: int((~kept).sum())})
        chosen = {each: numbers[kept] for each, numbers in self.chosen.items()}
        return Aligned(index - index[0] if len(index) else index, chosen, dropped, self.farthest_ns)


def choose_clock(streams: Mapping[Role, Stream]) -> Clock:
    """Return a clock of stamps if images, scans and poses have them, otherwise of the log time for all topics."""
    for role in ("image", "scan", "pose"):
        stream = streams.get(role)
        if stream is not None and not stream.stamped:
            return Clock("log_time", f"{stream.topic} has no stamps", 0)
    images = streams["image"]
    ahead = np.array(images.log_times, dtype=np.int64) - np.array(images.stamps, dtype=np.int64)
    offset = int(np.median(ahead))
    return Clock("stamps", "", offset if abs(offset) > OTHER_CLOCK_NS else 0)


def check_clock(topic: str, times: Times, clock: Clock, max_gap_ns: float | None) -> None:
    """Check that a topic's times never decrease and, if `max_gap_ns` is given, never rise by more than that.

    Raises:
        BadLog: they do.
    """
    steps = np.diff(times)
    for wrong, verb in ((steps < 0, "back"), (steps > (max_gap_ns or np.inf), "on")):
        if wrong.any():
            number = int(np.argmax(wrong))
            seconds = abs(int(steps[number])) / 1e9
            raise BadLog(f"{topic}: the clock ({clock.name}) jumps {verb} by {seconds:.3f} s after message {number}")


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


def align(times: Mapping[Role, Times], tolerance_ns: float, hold_ns: float) -> Aligned:
    """Choose the messages of each tick; the times of each role have to rise.

    An image is used for one tick only, the first that takes it.
    """
    images = times["image"]
    grid = images[0] + TICK_NS * np.arange((images[-1] - images[0] + TICK_NS // 2) // TICK_NS + 1)
    chosen: dict[Role, Times] = {"image": nearest(images, grid, min(tolerance_ns, TICK_NS / 2))}
    chosen["image"][1:][np.diff(chosen["image"]) == 0] = NONE
    moments = images[chosen["image"]]
    for role in times:
        if role != "image":
            hold = hold_ns if role == "command" else 0
            chosen[role] = in_force(times[role], moments, tolerance_ns, hold)
    return _complete(times, grid, moments, chosen)


def _complete(times: Mapping[Role, Times], grid: Times, moments: Times, chosen: dict[Role, Times]) -> Aligned:
    """Keep the complete ticks."""
    dropped: Counter[str] = Counter()
    kept = np.ones(len(grid), dtype=bool)
    for role, found in chosen.items():
        dropped[role] = int((kept & (found == NONE)).sum())
        kept &= found != NONE
    index = np.flatnonzero(kept)
    picked = {role: found[kept] for role, found in chosen.items()}
    near = {role: grid[kept] if role == "image" else moments[kept] for role in chosen}
    farthest = {role: int(np.abs(times[role][picked[role]] - near[role]).max(initial=0)) for role in chosen}
    return Aligned(index - index[0] if len(index) else index, picked, +dropped, farthest)
