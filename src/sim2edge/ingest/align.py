"""Which messages make a tick: pure functions from the times of a log's topics to ticks of our 10 Hz.

    clock = choose_clock(log.streams)
    times = {role: clock.times_of(stream) for role, stream in log.streams.items()}
    check_clock(...)
    aligned = align(times, tolerance_ns, hold_ns)

Ticks lie a tenth of a second apart, from the first image on. Each takes the image nearest to it, and what is nearest to
that image on the other topics; a tick that lacks something is dropped and counted, and leaves a gap.
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
"""Stamps farther than this from the log time are of another clock (simulated time, say)."""


@dataclass(frozen=True)
class Clock:
    """Where the times of a log come from."""

    name: str
    """`stamps` of the messages, or `log_time`."""
    reason: str
    """Why not the stamps; empty when they are used."""
    offset_ns: int
    """How far the log time runs ahead of the stamps: for messages without one. 0 when they are of the same clock."""

    def times_of(self, stream: Stream) -> Times:
        """Return the times of a stream's messages, nanoseconds."""
        if self.name == "stamps" and stream.stamped:
            return np.array(stream.stamps, dtype=np.int64)
        return np.array(stream.log_times, dtype=np.int64) - self.offset_ns


@dataclass
class Aligned:
    """The ticks of an episode: for each its index on the grid, and the number of the message it takes by role."""

    index: Times
    chosen: dict[Role, Times]
    dropped: Counter[str] = field(default_factory=Counter)
    """Ticks left out, by the role they lack."""
    farthest_ns: dict[Role, int] = field(default_factory=dict)
    """By role, the farthest that a message is from its image; of the image, from its tick."""

    def __len__(self) -> int:
        return len(self.index)


def choose_clock(streams: Mapping[Role, Stream]) -> Clock:
    """Return the stamps if images, scans and poses have them, otherwise the log time for all."""
    for role in ("image", "scan", "pose"):
        stream = streams[role]
        if not stream.stamped:
            return Clock("log_time", f"{stream.topic} has no stamps", 0)
    images = streams["image"]
    ahead = np.array(images.log_times, dtype=np.int64) - np.array(images.stamps, dtype=np.int64)
    offset = int(np.median(ahead))
    return Clock("stamps", "", offset if abs(offset) > OTHER_CLOCK_NS else 0)


def check_clock(topic: str, times: Times, clock: Clock, max_gap_ns: float | None) -> None:
    """Check that a topic's time only goes forward, and, if `max_gap_ns` is given, never by more than that.

    Raises:
        BadLog: it does not.
    """
    steps = np.diff(times)
    for wrong, verb in ((steps < 0, "back"), (steps > (max_gap_ns or np.inf), "on")):
        if wrong.any():
            number = int(np.argmax(wrong))
            seconds = abs(int(steps[number])) / 1e9
            raise BadLog(f"{topic}: the clock ({clock.name}) jumps {verb} by {seconds:.3f} s after message {number}")


def nearest(times: Times, wanted: Times, tolerance_ns: float) -> Times:
    """Index into the rising `times` of the one nearest to each wanted time; `NONE` where it is too far."""
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    found = np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted), before, after)
    return np.where(np.abs(times[found] - wanted) <= tolerance_ns, found, NONE)


def in_force(times: Times, wanted: Times, tolerance_ns: float, hold_ns: float) -> Times:
    """As `nearest`, else the last one before that is not older than `hold_ns`: a command holds until the next."""
    found = nearest(times, wanted, tolerance_ns)
    last = np.searchsorted(times, wanted, side="right") - 1
    held = (last >= 0) & (wanted - times[np.maximum(last, 0)] <= hold_ns)
    return np.where((found == NONE) & held, last, found)


def align(times: Mapping[Role, Times], tolerance_ns: float, hold_ns: float) -> Aligned:
    """Choose the messages of each tick; `times` of each role rise.

    An image serves one tick only, the first that takes it.
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
    """Keep the ticks that lack nothing."""
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
