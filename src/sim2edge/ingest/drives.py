"""Find the logs of a delivery that are pieces of one drive, so that augment keeps them in one split.

    drives = name_drives(origins, config)       # for each log the drive it is a piece of; None: a drive of its own

A drive is named by the config, by a pattern on file names, or by the date in a recorder's own file name; otherwise
logs are pieces of one drive if they are numbered in their names and one follows the other, if they were made of one
session of a dataset, or if one begins when and where another ends. The clock may show any time here; between batches
augment compares dates.
"""

import re
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from sim2edge.frames.continuity import Moment
from sim2edge.frames.drives import DATED, Piece, find_drives
from sim2edge.inbox import LOG_SUFFIXES
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.session import session_of
from sim2edge.ingest.understand import Understood

MAX_NUMBERED_GAP_S = 10.0
"""Longest pause, or overlap, between logs whose names are numbered, seconds."""
FIRST_DATE_S = 1e9
"""Earlier times (before September 2001) are of a clock that shows no date, such as simulated time."""
RECORDED = re.compile(r"(.+?)[_-]\d{1,6}")
"""A recorder's name of a piece: that of the recording, and the number of the piece."""
NUMBERED = re.compile(r"(|.*\D)(\d{1,6})")


@dataclass(frozen=True)
class Origin:
    """Where a log comes from."""

    episode_id: str
    path: str
    first: Moment
    last: Moment
    session: str | None = None
    """The session of a dataset that it was made of."""

    @property
    def recorded_from_s(self) -> float | None:
        """When the first tick was recorded, seconds since 1970; None: the clock shows no date."""
        return self.first.time_s if self.first.time_s >= FIRST_DATE_S else None


def origin_of(episode_id: str, path: str, understood: Understood) -> Origin:
    """Return where and when the first and the last tick of a log were recorded."""
    first, last = (_moment(understood, tick) for tick in (0, -1))
    return Origin(episode_id, path, first, last, session_of(understood.log.path))


def _moment(understood: Understood, tick: int) -> Moment:
    streams, chosen = understood.log.streams, understood.ticks.chosen
    number = chosen["image"][tick]
    at = int(np.flatnonzero(understood.placed.numbers["image"] == number)[0])
    pose = streams["pose"].values[chosen["pose"][tick]] if "pose" in chosen else None
    return Moment(float(understood.placed.times["image"][at]) / 1e9, pose and float(pose[0]), pose and float(pose[1]))


def name_drives(origins: Sequence[Origin], config: IngestConfig) -> list[str | None]:
    """Return the drive of each log, None for one of its own."""
    declared = [_declared(each.path, config) for each in origins]
    pieces = [
        Piece(each.episode_id, drive, each.first, each.last) for each, drive in zip(origins, declared, strict=True)
    ]
    keys = find_drives(pieces, [*_numbered(origins), *_of_one_session(origins)])
    shared = Counter(keys.values())
    return [
        keys[each.episode_id] if drive is not None or shared[keys[each.episode_id]] > 1 else None
        for each, drive in zip(origins, declared, strict=True)
    ]


def _declared(path: str, config: IngestConfig) -> str | None:
    if config.drive:
        return config.drive
    if config.drive_pattern:
        match = re.search(config.drive_pattern, path)
        return match[1] if match else None
    recorded = RECORDED.fullmatch(_stem(path))
    return recorded[1] if recorded and DATED.search(recorded[1]) else None


def _stem(path: str) -> str:
    name = PurePosixPath(path).name
    suffix = next((suffix for suffix in sorted(LOG_SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def _numbered(origins: Sequence[Origin]) -> Iterator[tuple[int, int]]:
    """Yield logs whose names have consecutive numbers, if one begins when the other ends.

    Dates in names do not count: `rosbag record --split` gives each piece its own.
    """
    known: dict[tuple[str, str, int], list[tuple[float, int]]] = {}
    for at, origin in enumerate(origins):
        if match := NUMBERED.fullmatch(DATED.sub("", _stem(origin.path))):
            key = str(PurePosixPath(origin.path).parent), match[1], int(match[2])
            insort(known.setdefault(key, []), (origin.first.time_s, at))
    for (folder, name, number), logs in known.items():
        after = known.get((folder, name, number + 1), [])
        for _, at in logs:
            end_s = origins[at].last.time_s
            low = bisect_left(after, (end_s - MAX_NUMBERED_GAP_S, 0))
            high = bisect_right(after, (end_s + MAX_NUMBERED_GAP_S, len(origins)))
            yield from ((at, other) for _, other in after[low:high])


def _of_one_session(origins: Sequence[Origin]) -> Iterator[tuple[int, int]]:
    """Yield logs that were made of one session, however long the pause between them."""
    first: dict[str, int] = {}
    for at, origin in enumerate(origins):
        if origin.session is not None:
            yield first.setdefault(origin.session, at), at
