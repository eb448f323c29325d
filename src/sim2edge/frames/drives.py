"""Find the episodes that are pieces of one drive, so that a split never divides a drive.

    drives = find_drives(pieces)        # episode id to the key that its split is drawn by

Pieces belong together if they have the same declared drive, or if one begins where and when another ends; without
poses, those whose drives differ only by the date in their names, if one begins when another ends. An episode
of its own is drawn by its id, as are all simulated ones. Ingest finds the pieces within a batch, augment those in
several batches.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sim2edge.frames.continuity import MAX_GAP_S, Moment, continues

DATED = re.compile(r"\d{4}[_-]?\d{2}[_-]?\d{2}[_T-]?\d{2}[_-]?\d{2}[_-]?\d{2}")
"""Date and time in a name: no two drives have the same."""


MAX_DATED_GAP_S = 10.0
"""Longest pause, or overlap, between pieces without poses that a recorder named by their dates, seconds."""


@dataclass(frozen=True)
class Piece:
    """What is known of an episode."""

    episode_id: str
    drive: str | None = None
    """The declared drive; None: not known to be a piece of one."""
    first: Moment | None = None
    """None, as the last: the time of recording is not known."""
    last: Moment | None = None


def find_drives(pieces: Sequence[Piece], links: Iterable[tuple[int, int]] = ()) -> Mapping[str, str]:
    """Return the key of each episode's drive: that of its earliest piece, so that later pieces move no earlier one.

    `links` are the numbers of pieces that belong together for another reason.
    """
    sets = _Sets(len(pieces))
    declared: dict[str, int] = {}
    for number, piece in enumerate(pieces):
        if piece.drive is not None:
            sets.join(declared.setdefault(piece.drive, number), number)
    for one, other in links:
        sets.join(one, other)
    _join_continued(pieces, sets)
    groups: dict[int, list[Piece]] = {}
    for number, piece in enumerate(pieces):
        groups.setdefault(sets.root(number), []).append(piece)
    keys: dict[str, str] = {}
    for members in groups.values():
        earliest = min(members, key=lambda each: (each.first.time_s if each.first else float("inf"), each.episode_id))
        keys |= dict.fromkeys((each.episode_id for each in members), earliest.drive or earliest.episode_id)
    return keys


def _join_continued(pieces: Sequence[Piece], sets: "_Sets") -> None:
    widest = max(MAX_GAP_S, MAX_DATED_GAP_S)
    starts = sorted((piece.first.time_s, number) for number, piece in enumerate(pieces) if piece.first)
    times = [time for time, _ in starts]
    for number, piece in enumerate(pieces):
        if piece.last is None:
            continue
        low = bisect_left(times, piece.last.time_s - widest)
        for _, other in starts[low : bisect_right(times, piece.last.time_s + widest)]:
            first = pieces[other].first
            if other == number or first is None:
                continue
            if continues(piece.last, first) or _split_by_date(piece, pieces[other]):
                sets.join(number, other)


def _split_by_date(piece: Piece, other: Piece) -> bool:
    """Return whether two pieces, one after the other, can be told by their names only: `rosbag record --split`."""
    if piece.drive is None or other.drive is None or not DATED.search(piece.drive):
        return False
    if any(each and each.x_m is not None for each in (piece.last, other.first)):
        return False
    return DATED.sub("", piece.drive) == DATED.sub("", other.drive) and piece.drive <= other.drive


class _Sets:
    """Disjoint sets of numbers."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        self._parents[self.root(other)] = self.root(one)
