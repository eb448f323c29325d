"""Convert a foreign log to the ticks of an episode: all checks that may refuse a log, before anything is written.

episode = understand(path, config)      # raises BadLog
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sim2edge.ingest.align import CLOCK, Aligned, Doubts, align
from sim2edge.ingest.config import IngestConfig, Role
from sim2edge.ingest.decodable import drop_undecodable
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.place import ADD_STAMPS, Clock, Placed, place
from sim2edge.ingest.sensors import check_sensors
from sim2edge.ingest.source_log import SourceLog, Stream, read_source

MAX_UNSURE = 0.25
"""Largest share of ticks that are dropped because it is not certain which command was in force."""


@dataclass(frozen=True)
class Understood:
    """A log that can become an episode."""

    log: SourceLog
    placed: Placed
    ticks: Aligned
    """Indices are the numbers of messages in the log's streams."""
    duration_s: float
    """From the first image to the last."""
    notes: tuple[str, ...] = ()
    """What an operator should know."""

    @property
    def clock(self) -> Clock:
        """The source of the log's times."""
        return self.placed.clock


def understand(path: Path, config: IngestConfig) -> Understood:
    """Read a log and choose the messages of its ticks.

    Raises:
        BadLog: it cannot become an episode.
    """
    log = read_source(path, config)
    placed, ticks = choose_ticks(log.streams, config)
    ticks, looks = drop_undecodable(log, ticks)
    _check_left(ticks, config)
    notes = *placed.notes, *check_sensors(log, ticks, looks)
    images = placed.times["image"]
    episode = Understood(log, placed, ticks, float(images[-1] - images[0]) / 1e9, notes)
    _check_floors(episode, config)
    return episode


def choose_ticks(streams: Mapping[Role, Stream], config: IngestConfig) -> tuple[Placed, Aligned]:
    """Return the times of a log's messages, and its ticks with the numbers of their messages in the streams.

    Raises:
        BadLog: the clocks cannot be trusted, or no tick is left.
    """
    placed = place(streams, config.max_gap_s * 1e9)
    doubts = None
    if "command" in placed.sure and placed.clock.map is not None:
        doubts = Doubts(placed.sure["command"], placed.clock.map.unsure_stretches)
    ticks = align(placed.times, config.tolerance_s * 1e9, config.hold_s * 1e9, doubts)
    ticks.chosen = {role: placed.numbers[role][found] for role, found in ticks.chosen.items()}
    unsure, total = ticks.dropped[CLOCK], len(ticks) + ticks.dropped.total()
    if unsure > MAX_UNSURE * total:
        raise BadLog(
            f"{streams['command'].topic}: no stamps, and in {unsure} of {total} ticks the log time runs unevenly "
            f"against the stamps of {placed.clock.reference}, so that the command in force is not certain: {ADD_STAMPS}"
        )
    _check_left(ticks, config)
    return placed, ticks


def _check_left(ticks: Aligned, config: IngestConfig) -> None:
    if not len(ticks):
        lacking = ", ".join(f"{role} {count}" for role, count in ticks.dropped.items())
        raise BadLog(f"no tick is left: of {ticks.dropped.total()} lack within {config.tolerance_s:g} s: {lacking}")


def _check_floors(episode: Understood, config: IngestConfig) -> None:
    if not episode.log.labelled or config.floor:
        return
    labels = episode.log.streams["labels"]
    for number in episode.ticks.chosen["labels"]:
        if not labels.values[number].floor:
            raise BadLog(f"{labels.topic}: message {number}: floor: missing: name it with floor=<name>")


def floor_at(episode: Understood, tick: int, config: IngestConfig) -> str:
    """Return the floor at a tick: that of the labels, else of the config; empty if neither names one."""
    role: Role = "labels"
    if role not in episode.ticks.chosen:
        return config.floor
    number = int(episode.ticks.chosen[role][tick])
    return episode.log.streams[role].values[number].floor or config.floor
