"""Convert a foreign log to the ticks of an episode: all checks that may refuse a log, before anything is written.

episode = understand(path, config)      # raises BadLog
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim2edge.ingest.align import Aligned, Clock, align, check_clock, choose_clock
from sim2edge.ingest.config import IngestConfig, Role
from sim2edge.ingest.decodable import drop_undecodable
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.sensors import check_sensors
from sim2edge.ingest.source_log import SourceLog, read_source

STEADY = ("image", "scan", "pose")
"""Roles that are sent continuously; commands and labels may pause."""


@dataclass(frozen=True)
class Understood:
    """A log that can become an episode."""

    log: SourceLog
    clock: Clock
    ticks: Aligned
    """Indices are the numbers of messages in the log's streams."""
    duration_s: float
    """From the first image to the last."""
    notes: tuple[str, ...] = ()
    """What an operator should know."""


def understand(path: Path, config: IngestConfig) -> Understood:
    """Read a log and choose the messages of its ticks.

    Raises:
        BadLog: it cannot become an episode.
    """
    log = read_source(path, config)
    clock = choose_clock(log.streams)
    times, numbers = {}, {}
    for role, stream in log.streams.items():
        numbers[role] = np.array(stream.usable, dtype=np.int64)
        every = clock.times_of(stream)
        check_clock(stream.topic, every, clock, config.max_gap_s * 1e9 if role in STEADY else None)
        times[role] = every[numbers[role]]
    ticks = align(times, config.tolerance_s * 1e9, config.hold_s * 1e9)
    ticks.chosen = {role: numbers[role][found] for role, found in ticks.chosen.items()}
    ticks, looks = drop_undecodable(log, ticks)
    if not len(ticks):
        lacking = ", ".join(f"{role} {count}" for role, count in ticks.dropped.items())
        raise BadLog(f"no tick is left: of {ticks.dropped.total()} lack within {config.tolerance_s:g} s: {lacking}")
    notes = check_sensors(log, ticks, looks)
    episode = Understood(log, clock, ticks, float(times["image"][-1] - times["image"][0]) / 1e9, notes)
    _check_floors(episode, config)
    return episode


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
