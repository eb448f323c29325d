"""Place the messages of a log on one clock, or refuse the log: what can be trusted of its topics' times.

    placed = place(log.streams)
    placed.times["command"], placed.numbers["command"]      # rising times, and the number of each message in its topic

Stamps count if images, scans and poses have them. A command without a stamp is placed by its log time, through the map
that a stamped topic gives; labels without stamps belong to the images with exactly their log times. A single message
whose time is out of order is left out; a topic on another clock, or a clock that steps back, refuses the log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sim2edge.ingest.clock import KNOT_NS, SMOOTHED, ClockMap, Floats, Mask, Times, Track, longest_rising, steps_back
from sim2edge.ingest.clock_steps import check_advances, check_pauses
from sim2edge.ingest.config import Role
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.place_labels import check_stamped, date_labels, place_labels
from sim2edge.ingest.source_log import Stream

STEADY: tuple[Role, ...] = ("pose", "scan", "image")
"""Roles that are sent continuously, the quickest first; commands and labels may pause."""
MAX_LATE_NS = 250_000_000
"""Largest difference of two topics in how long after its stamp a message is logged; a larger one is another clock."""
MAX_CHANGE_NS = 150_000_000
"""Largest change of that difference within a log."""
PARTS = 10
"""Parts of a log whose medians are compared, so that a drift shows that is small in each message."""
MAX_DOUBTFUL = 0.1
"""Largest share of a topic's messages that are left out because they exceed these."""
MAX_OUT_OF_ORDER = 0.01
FEW = 3
"""Messages out of order that never refuse a log."""
REORDERED_NS = 100_000_000
"""A recorder that writes messages out of order, does so by at most this."""
CHANCE_NS = 30_000_000
"""A topic begins and ends later than others by at most this, besides its spacing, by chance."""
ONE_CLOCK = "stamp all topics by one clock (in simulation: use_sim_time on every node)"
ADD_STAMPS = "send commands with stamps (TwistStamped; stamp_ns in JSON)"


@dataclass(frozen=True)
class Clock:
    """The source of a log's times."""

    name: str
    """`stamps` of the messages, or `log_time`."""
    reason: str = ""
    """Why the stamps are not used; empty when they are."""
    map: ClockMap | None = None
    """From log time to stamps; None: not known."""
    reference: str = ""
    """The topic that the map was learned from."""


@dataclass
class Placed:
    """The messages of each role in the order of their times."""

    clock: Clock
    times: dict[Role, Times] = field(default_factory=dict)
    """Nanoseconds, rising; strictly after `keep_usable`."""
    numbers: dict[Role, Times] = field(default_factory=dict)
    """The number of each message in its stream."""
    sure: dict[Role, Mask] = field(default_factory=dict)
    """Whether the time of each message is certain; absent: all are."""
    late_ns: dict[Role, float] = field(default_factory=dict)
    """How much later than those of the quickest topic a role's messages are logged, the median."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Messages left out because of their times, by topic."""
    notes: list[str] = field(default_factory=list)
    """What an operator should know."""

    def put(self, role: Role, stream: Stream, order: Times, times: Times) -> None:
        """Set the messages of a role, and count those that are left out."""
        self.numbers[role], self.times[role] = order, times
        if len(order) < len(stream.log_times):
            self.left_out[stream.topic] = len(stream.log_times) - len(order)


def place(streams: Mapping[Role, Stream], max_gap_ns: float) -> Placed:
    """Return the times of a log's usable messages on one clock; images, scans and poses may pause for `max_gap_ns`.

    Raises:
        BadLog: a clock steps back or pauses, a topic is on another clock, or the times of messages without stamps are
            not certain.
    """
    bare = [streams[role].topic for role in reversed(STEADY) if role in streams and not streams[role].stamped]
    placed = Placed(Clock("log_time", f"{bare[0]} has no stamps") if bare else Clock("stamps"))
    for role, stream in streams.items():
        if stream.stamped and role == "labels":
            _place_stamped(placed, role, stream, date_labels(stream, streams["image"]))
        elif stream.stamped and not bare:
            _place_stamped(placed, role, stream, stream.stamps)
        elif role != "labels":
            order = _order_logged(stream)
            placed.put(role, stream, order, np.array(stream.log_times, dtype=np.int64)[order])
    for role in (role for role in STEADY if role in streams):
        check_pauses(streams[role].topic, placed.clock.name, placed.times[role], placed.numbers[role], max_gap_ns)
    if not bare:
        images = streams["image"]
        logged = np.array(images.log_times, dtype=np.int64)[placed.numbers["image"]]
        check_advances(images.topic, placed.times["image"], logged, max_gap_ns)
        _relate(placed, streams)
    if "labels" in placed.times:
        placed.notes += check_stamped(streams["labels"], streams["image"], "log_time" if bare else "stamps")
    elif "labels" in streams:
        used = streams["image"].log_times, placed.numbers["image"], placed.times["image"]
        placed.put("labels", streams["labels"], *place_labels(streams["labels"], *used))
    for role, stream in streams.items():
        _keep_usable(placed, role, stream)
    return placed


def _place_stamped(placed: Placed, role: Role, stream: Stream, dates: Sequence[int | None]) -> None:
    """Order a topic by its stamps; wrong ones are left out, and of labels those without one.

    Raises:
        BadLog: the clock of the stamps steps back.
    """
    stamps = np.array([stamp or 0 for stamp in dates], dtype=np.int64)
    used = np.flatnonzero(stamps) if role == "labels" else np.arange(len(stamps))
    orders = used, used[np.argsort(np.array(stream.log_times, dtype=np.int64)[used], kind="stable")]
    order, kept = max(((order, longest_rising(stamps[order])) for order in orders), key=lambda found: found[1].sum())
    back = role in STEADY and steps_back(stamps[order], kept)
    if back or (~kept).sum() > max(FEW, MAX_OUT_OF_ORDER * len(stamps)):
        raise _jump(stream.topic, "stamps", stamps[order], order)
    placed.put(role, stream, order[kept], stamps[order][kept])


def _order_logged(stream: Stream) -> Times:
    """Return the order of a topic's messages by log time; single wrong ones are left out.

    Raises:
        BadLog: the clock of the log steps back.
    """
    logged = np.array(stream.log_times, dtype=np.int64)
    kept = np.flatnonzero(longest_rising(logged))
    others = np.setdiff1d(np.arange(len(logged)), kept)
    at = np.searchsorted(kept, others)
    after, before = logged[kept[np.minimum(at, len(kept) - 1)]], logged[kept[np.maximum(at - 1, 0)]]
    off = np.maximum(before - logged[others], logged[others] - after) > REORDERED_NS
    if (np.diff(others[off]) == 1).any() or off.sum() > max(FEW, MAX_OUT_OF_ORDER * len(logged)):
        raise _jump(stream.topic, "log_time", logged, np.arange(len(logged)))
    numbers = np.setdiff1d(np.arange(len(logged)), others[off])
    return np.asarray(numbers[np.argsort(logged[numbers], kind="stable")], dtype=np.int64)


def _jump(topic: str, clock: str, times: Times, order: Times) -> BadLog:
    steps = np.diff(times)
    worst = int(np.argmin(steps))
    return BadLog(
        f"{topic}: the clock ({clock}) jumps back by {-steps[worst] / 1e9:.3f} s after message {order[worst]}: "
        "cut the log there"
    )


def _relate(placed: Placed, streams: Mapping[Role, Stream]) -> None:
    """Learn the map from log time to stamps, compare the clocks of the stamped topics, and place the others by the map.

    Raises:
        BadLog: a topic is on another clock, or one without stamps cannot be placed.
    """
    stamped: list[Role] = [role for role in streams if role != "labels" and streams[role].stamped]
    tracks = {role: _track(placed, role, streams[role]) for role in stamped}
    maps = {role: found for role in STEADY if role in tracks and (found := ClockMap.of(tracks[role]))}
    if maps:
        best = max(maps, key=lambda role: round(maps[role].sure_share, 1))
        _compare(placed, streams, tracks, best, maps[best])
    command = streams.get("command")
    if command is not None and not command.stamped:
        if placed.clock.map is None:
            raise BadLog(f"{command.topic}: no stamps, and {_why_no_map(tracks)}: {ADD_STAMPS}")
        _check_shift(command, placed.times["command"], [streams[role].log_times for role in stamped])
        placed.times["command"], placed.sure["command"] = placed.clock.map.at(placed.times["command"])


def _why_no_map(tracks: Mapping[Role, Track]) -> str:
    """Return why no topic gives a map from log time to stamps."""
    longest = max((int(track.stamp_ns[-1] - track.stamp_ns[0]) for track in tracks.values()), default=0)
    if longest >= KNOT_NS:
        return "the log times of the other topics step back"
    return f"the other topics last {longest / 1e9:g} s, too short to place it by them"


def _track(placed: Placed, role: Role, stream: Stream) -> Track:
    return Track(np.array(stream.log_times, dtype=np.int64)[placed.numbers[role]], placed.times[role])


def _compare(
    placed: Placed, streams: Mapping[Role, Stream], tracks: Mapping[Role, Track], best: Role, clock: ClockMap
) -> None:
    """Compare the stamped topics with the reference, and leave out messages that are logged at odd times."""
    late = {role: clock.lateness(track) for role, track in tracks.items() if role != best}
    for role, (_, known) in late.items():
        if not known.any():
            raise _other_clock(streams[role], streams[best])
    levels = {role: float(np.median(found[known])) for role, (found, known) in late.items()} | {best: 0.0}
    quickest = min(levels.values())
    placed.late_ns = {role: level - quickest for role, level in levels.items()}
    placed.clock = replace(
        placed.clock, map=replace(clock, ahead_ns=-quickest / min(1.0, clock.rate)), reference=streams[best].topic
    )
    odd = {
        role: known & ((np.abs(found) > MAX_LATE_NS) | (np.abs(found - levels[role]) > MAX_CHANGE_NS))
        for role, (found, known) in late.items()
    }
    for role, (found, known) in late.items():
        if _drift_ns(found[known & ~odd[role]]) > MAX_CHANGE_NS:
            odd[role] = known
    other = [role for role, wrong in odd.items() if wrong.sum() > MAX_DOUBTFUL * len(wrong)]
    if other:
        found = late[other[0]][0][odd[other[0]]]
        alone = len(other) == len(odd) > 1  # all others disagree with the reference: it is the odd one
        pair = (streams[best], streams[other[0]]) if alone else (streams[other[0]], streams[best])
        raise _other_clock(*pair, -found if alone else found)
    for role, wrong in odd.items():
        placed.put(role, streams[role], placed.numbers[role][~wrong], placed.times[role][~wrong])


def _drift_ns(late_ns: Floats) -> float:
    """Return by how much the lateness of a topic changes over a log; 0 if it has too few messages to tell."""
    if len(late_ns) < PARTS * SMOOTHED:
        return 0.0
    levels = [float(np.median(part)) for part in np.array_split(late_ns, PARTS)]
    return (max(levels) - min(levels)) * PARTS / (PARTS - 1)  # the medians are of the parts' middles


def _other_clock(stream: Stream, reference: Stream, late_ns: Floats | None = None) -> BadLog:
    if late_ns is None:
        ahead = [np.median(np.array(s.log_times) - np.array([t or 0 for t in s.stamps])) for s in (stream, reference)]
        late_ns = np.array([ahead[0] - ahead[1]])
    worst = float(late_ns[np.argmax(np.abs(late_ns))]) / 1e9
    return BadLog(
        f"{stream.topic}: its stamps are of another clock than those of {reference.topic}: off by up to {worst:.3f} s "
        f"by log time: {ONE_CLOCK}"
    )


def _check_shift(stream: Stream, logged: Times, others: list[list[int]]) -> None:
    """Refuse a topic that begins and ends later than all others: its log times are late by that.

    Raises:
        BadLog: it does.
    """
    first, last = min(map(min, others)), max(map(max, others))
    begins, ends = int(logged[0]) - first, int(logged[-1]) - last
    spacing = float(np.median(np.diff(logged))) if len(logged) > 1 else 0.0
    chance = CHANCE_NS + 1.5 * spacing
    if min(begins, ends) > chance > abs(begins - ends):
        raise BadLog(f"{stream.topic}: no stamps, and logged {ends / 1e9:.3f} s after the other topics: {ADD_STAMPS}")


def _keep_usable(placed: Placed, role: Role, stream: Stream) -> None:
    """Keep the messages with a usable value; of several with the same time the first, of commands the last."""
    usable = np.array([stream.values[number] is not None for number in placed.numbers[role].tolist()], dtype=bool)
    times = placed.times[role][usable]
    differs = np.diff(times) > 0
    single = np.concatenate([differs, [True]]) if role == "command" else np.concatenate([[True], differs])
    kept = np.flatnonzero(usable)[single[: len(times)]]
    placed.times[role], placed.numbers[role] = placed.times[role][kept], placed.numbers[role][kept]
    if role in placed.sure:
        placed.sure[role] = placed.sure[role][kept]
