"""Relate the log time of messages to their stamps: pure functions on the times of topics.

    kept = longest_rising(stamps)                       # without the messages whose stamp is out of order
    clock = ClockMap.of(Track(log_times, stamps))       # learned from one stamped topic
    times, sure = clock.at(log_times)                   # when messages without stamps were sent, on the stamps' clock
    late = clock.lateness(other)                        # of another stamped topic against this one

Simulated time runs faster or slower than the log's clock, pauses and steps, so that one offset does not relate them.
The map goes through knots (log time, stamp) of a topic. Between two knots a time is sure if the neighbouring knots lie
on the same line; where they do not (a pause, a step of a clock, a stall of the recorder), it can be anywhere between.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

KNOT_NS = 50_000_000
"""Least distance of two knots by stamp, so that jitter of the log time does not look like a change of rate."""
SURE_NS = 10_000_000
"""Largest distance by stamp of a knot from the line between its neighbours."""
BURST = 4
"""Log times are late, not simulated time fast, where it seems to run this many times faster than at the median."""
SMOOTHED = 5
"""Messages over which the lateness of a topic is averaged; fewer late ones in a row do not matter."""


@dataclass(frozen=True)
class Track:
    """The messages of a stamped topic, nanoseconds; the stamps rise."""

    log_ns: Times
    stamp_ns: Times


@dataclass(frozen=True)
class ClockMap:
    """A piecewise linear map from log time to stamps; nanoseconds after those of the first knot."""

    origin: tuple[int, int]
    """Log time and stamp of the first knot, nanoseconds."""
    log_ns: Floats
    stamp_ns: Floats
    error_ns: Floats
    """Of each knot, the distance by stamp from the line between its neighbours."""
    sure: Mask
    """Of each segment from one knot to the next: whether times in it are sure."""
    ahead_ns: float = 0.0
    """How much later than those of the quickest topic this topic's messages are logged, nanoseconds of log time."""

    @classmethod
    def of(cls, track: Track) -> "ClockMap | None":
        """Return the map that a topic's messages give; None if its log times step back, or it has one only."""
        knots = _thin(track.stamp_ns)
        log, stamp = track.log_ns[knots], track.stamp_ns[knots]
        kept = longest_rising(log)
        if has_runs(~kept) or kept.sum() < 2:
            return None
        log, stamp = log[kept], stamp[kept]
        origin = int(log[0]), int(stamp[0])
        x, y = (log - log[0]).astype(np.float64), (stamp - stamp[0]).astype(np.float64)
        error = _errors(x, y)
        rates = _rates(x, y)
        even = np.maximum(error[:-1], error[1:]) <= SURE_NS
        return cls(origin, x, y, error, even & (rates <= BURST * np.median(rates)))

    @property
    def rate(self) -> float:
        """Seconds of stamps that pass in a second of log time, the median."""
        return float(np.median(_rates(self.log_ns, self.stamp_ns)))

    @property
    def sure_share(self) -> float:
        """Share of the time by stamp in which times are sure."""
        steps = np.diff(self.stamp_ns)
        return float(steps[self.sure].sum() / steps.sum())

    @property
    def pieces(self) -> int:
        """Number of the sure stretches."""
        return int(self.sure[0]) + int((np.diff(self.sure.astype(np.int8)) > 0).sum())

    @property
    def residual_ns(self) -> float:
        """The largest error of a knot at which a sure segment begins or ends."""
        return float(np.maximum(self.error_ns[:-1], self.error_ns[1:])[self.sure].max(initial=0.0))

    @property
    def unsure_stretches(self) -> tuple[Times, Times]:
        """First and last stamp of every segment that is not sure."""
        edges = self.stamp_ns.astype(np.int64) + self.origin[1]
        return edges[:-1][~self.sure], edges[1:][~self.sure]

    def at(self, log_ns: Times) -> tuple[Times, Mask]:
        """Return the stamps that messages logged at these times would have, and whether they are sure."""
        x = (log_ns - self.origin[0]).astype(np.float64) + self.ahead_ns
        segment = np.clip(np.searchsorted(self.log_ns, x, side="right") - 1, 0, len(self.sure) - 1)
        x0, x1 = self.log_ns[segment], self.log_ns[segment + 1]
        y0, y1 = self.stamp_ns[segment], self.stamp_ns[segment + 1]
        outside = np.maximum(x0 - x, x - x1)
        share = np.where(x1 > x0, (x - x0) / np.maximum(x1 - x0, 1), 1.0)
        y = y0 + (y1 - y0) * share
        return np.round(y).astype(np.int64) + self.origin[1], self.sure[segment] & (outside <= x1 - x0)

    def lateness(self, track: Track) -> tuple[Floats, Mask]:
        """Return how much later than this topic's another topic's messages are logged, and where that is known.

        Nanoseconds, by the clock that runs slower, the median of `SMOOTHED` messages. Unknown outside of the map, and
        where it is not sure, unless it rarely is.
        """
        y = (track.stamp_ns - self.origin[1]).astype(np.float64)
        segment = np.clip(np.searchsorted(self.stamp_ns, y, side="right") - 1, 0, len(self.sure) - 1)
        known = (y >= self.stamp_ns[0]) & (y <= self.stamp_ns[-1])
        if self.sure_share > 0.5:
            known &= self.sure[segment]
        logged = np.interp(y, self.stamp_ns, self.log_ns)
        late = (track.log_ns - self.origin[0]).astype(np.float64) - logged
        return _smoothed(late, known) * min(1.0, self.rate), known


def longest_rising(times: Times) -> Mask:
    """Return which elements form a longest subsequence that never decreases: the others are out of order."""
    if len(times) < 2 or bool((np.diff(times) >= 0).all()):
        return np.ones(len(times), dtype=bool)
    values = times.tolist()
    tails: list[int] = []
    ends: list[int] = []
    before = [-1] * len(values)
    for number, value in enumerate(values):
        at = bisect_right(tails, value)
        before[number] = ends[at - 1] if at else -1
        tails[at : at + 1] = [value]
        ends[at : at + 1] = [number]
    kept = np.zeros(len(values), dtype=bool)
    number = ends[-1]
    while number >= 0:
        kept[number] = True
        number = before[number]
    return kept


def has_runs(mask: Mask) -> bool:
    """Return whether two elements in a row are true."""
    return bool((mask[1:] & mask[:-1]).any())


def steps_back(stamps: Times, kept: Mask) -> bool:
    """Return whether the elements left out of rising stamps are a step of the clock, rather than single wrong stamps.

    After a single wrong stamp the clock is where it would be without it; after a step back it is behind.
    """
    out = np.flatnonzero(~kept)
    if not len(out):
        return False
    if has_runs(~kept):
        return True
    rising = stamps[kept]
    period = float(np.median(np.diff(rising))) if len(rising) > 1 else 0.0
    positions = np.flatnonzero(kept)
    for number in out.tolist():
        at = int(np.searchsorted(positions, number))
        first, last = max(0, at - 2), min(len(rising) - 1, at + 1)
        inner = at - 1 >= 0 and at < len(rising)
        expected = period * float(positions[last] - positions[first])
        if inner and float(rising[last] - rising[first]) < expected - 0.6 * period:
            return True
    return False


def _thin(stamps: Times) -> NDArray[np.int64]:
    """Return the indices of rising stamps that are at least `KNOT_NS` apart."""
    kept, last = [], None
    for number, stamp in enumerate(stamps.tolist()):
        if last is None or stamp - last >= KNOT_NS:
            kept.append(number)
            last = stamp
    return np.array(kept, dtype=np.int64)


def _rates(x: Floats, y: Floats) -> Floats:
    return np.diff(y) / np.maximum(np.diff(x), 1.0)


def _errors(x: Floats, y: Floats) -> Floats:
    """Return the distance of each knot, along y, from the line between its neighbours; that of the ends is 0."""
    span = np.maximum(x[2:] - x[:-2], 1.0)
    between = y[:-2] + (y[2:] - y[:-2]) * (x[1:-1] - x[:-2]) / span
    return np.concatenate([[0.0], np.abs(y[1:-1] - between), [0.0]])


def _smoothed(values: Floats, known: Mask) -> Floats:
    """Return the median of the `SMOOTHED` known values around each; unknown ones stay as they are."""
    inner = values[known]
    if len(inner) < SMOOTHED:
        return np.where(known, np.median(inner) if len(inner) else 0.0, values)
    half = SMOOTHED // 2
    padded = np.concatenate([inner[half:0:-1], inner, inner[-2 : -half - 2 : -1]])
    found = values.copy()
    found[known] = np.median(np.lib.stride_tricks.sliding_window_view(padded, SMOOTHED), axis=1)
    return found
