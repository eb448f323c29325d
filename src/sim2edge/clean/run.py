"""Run the clean stage: episodes in; `frames.parquet`, `quarantine.csv`, `stats.json` and `report.html` out.

Worker processes read the episodes; their frames come back in order, are checked a block at a time and written at
once, so memory does not grow with the batch.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from sim2edge.clean.config import CleanConfig
from sim2edge.clean.data_processor import Episode, Quarantined, Task, process_episode
from sim2edge.clean.episodes import choose_episodes, count_reasons, find_scan
from sim2edge.clean.report import write_report
from sim2edge.clean.schema import find_bad_rows
from sim2edge.clean.statistics import Statistics
from sim2edge.clean.tables import MEASURED
from sim2edge.clean.workers import in_order
from sim2edge.errors import BadInput
from sim2edge.frames import frames_schema
from sim2edge.stage import Job, Outcome, Progress

BYTES_A_PROCESS = 64 << 20
"""Size of logs that justifies one more process: starting one costs about as much as reading a part of them."""

CHECK_ROWS = 2048
"""Rows whose values are checked at a time: a check has a fixed cost, spread over many rows."""


def run(job: Job[CleanConfig]) -> Outcome:
    """Clean the frames of one batch.

    Raises:
        BadInput: no episode is usable, or too much of the batch is bad.
    """
    config, folder = job.config, job.input("episodes").folder
    choice = choose_episodes(folder, config, job.partition)
    stop_if_strict(choice.refused, config)
    scan = find_scan(folder, choice.wanted, config, job.partition)
    tasks = [Task(folder / name, name, config, scan, absent) for name, absent in choice.wanted.items()]
    processes = min(config.workers, 1 + sum(task.log.stat().st_size for task in tasks) // BYTES_A_PROCESS)
    statistics = Statistics(choice.failed, choice.refused)
    with FramesWriter(job.output / "frames.parquet", config.row_group_rows) as writer:
        episodes = follow(in_order(process_episode, tasks, processes), len(tasks), statistics, job.progress)
        for table in check_values(episodes, statistics, config):
            statistics.add_frames(table)
            writer.write(table)
    refuse_poor_batch(statistics, len(choice.wanted) + len(choice.refused), config, job.partition)
    stats = statistics.to_json(config.height, config.width, scan)
    (job.output / "stats.json").write_text(json.dumps(stats, indent=1, allow_nan=False) + "\n")
    quarantined = sorted(
        statistics.quarantined, key=lambda item: (item.episode_id, -1 if item.frame is None else item.frame)
    )
    write_quarantine(job.output / "quarantine.csv", quarantined)
    write_report(job.output, job.partition, stats, quarantined, config)
    return Outcome(stats)


def follow(episodes: Iterable[Episode], total: int, statistics: Statistics, progress: Progress) -> Iterator[Episode]:
    """Yield the episodes unchanged while counting them and reporting progress."""
    for done, episode in enumerate(episodes, 1):
        statistics.add_episode(episode)
        progress.update(done, total, frames=statistics.frames_seen, quarantined=len(statistics.quarantined))
        yield episode


def check_values(episodes: Iterable[Episode], statistics: Statistics, config: CleanConfig) -> Iterator[pa.Table]:
    """Yield the frames with valid values, a block at a time, and quarantine the others."""
    pending: list[pa.Table] = []
    for episode in episodes:
        stop_if_strict(episode.quarantined, config)
        if episode.frames is not None:
            pending.append(episode.frames)
        if sum(map(len, pending)) >= CHECK_ROWS:
            yield check_block(pending, statistics, config)
            pending = []
    if pending:
        yield check_block(pending, statistics, config)


def check_block(tables: Sequence[pa.Table], statistics: Statistics, config: CleanConfig) -> pa.Table:
    """Check the values of several episodes' frames; quarantine the bad rows and return the rest."""
    block = pa.concat_tables(tables).combine_chunks()
    bad = find_bad_rows(block, config.min_contrast)
    if not bad:
        return block
    names, frames = block["episode_id"], block["frame"]
    items = [Quarantined(names[row].as_py(), frames[row].as_py(), reason) for row, reason in sorted(bad.items())]
    stop_if_strict(items, config)
    statistics.quarantined += items
    return block.filter(pa.array([row not in bad for row in range(len(block))]))


def stop_if_strict(items: Sequence[Quarantined], config: CleanConfig) -> None:
    """Raise BadInput for the first defect if the config is strict."""
    if config.strict and items:
        item = items[0]
        where = item.episode_id if item.frame is None else f"{item.episode_id}: frame {item.frame}"
        raise BadInput(f"{where}: {item.reason} (strict=true)")


def refuse_poor_batch(statistics: Statistics, episodes: int, config: CleanConfig, batch: str) -> None:
    """Refuse a batch without any frame left, or with too large a share of bad episodes or frames.

    Raises:
        BadInput: names the share and the reasons.
    """
    bad = [item for item in statistics.quarantined if item not in statistics.failed]
    whole = [item for item in bad if item.frame is None]
    single = [item for item in bad if item.frame is not None]
    for noun, items, total in (("episodes", whole, episodes), ("frames", single, statistics.frames_seen)):
        if total and len(items) / total > config.max_quarantined_fraction:
            limit = f"max_quarantined_fraction={config.max_quarantined_fraction:g}"
            first = f"{items[0].episode_id}: {items[0].reason}"
            raise BadInput(
                f"{batch}: {len(items)} of {total} {noun} are bad, over {limit} ({count_reasons(items)}); first {first}"
            )
    if not statistics.frames:
        raise BadInput(f"{batch}: no frame is left of {statistics.frames_seen} ({count_reasons(bad)})")


def write_quarantine(path: Path, items: Sequence[Quarantined]) -> None:
    """Write `quarantine.csv`; an empty frame stands for the whole episode."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("episode_id", "frame", "reason"))
        rows.writerows((item.episode_id, "" if item.frame is None else item.frame, item.reason) for item in items)


class FramesWriter:
    """Writes `frames.parquet` in row groups of equal size, regardless of the sizes of the given tables."""

    def __init__(self, path: Path, rows: int) -> None:
        self._schema = frames_schema()
        self._rows = rows
        self._pending: pa.Table = self._schema.empty_table()
        few_values = ["episode_id", "floor", "boxes.list.element.class"]
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=few_values)

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows of a table that has at least the columns of `frames_schema`."""
        self._pending = pa.concat_tables([self._pending, table.drop_columns(list(MEASURED)).cast(self._schema)])
        full = len(self._pending) // self._rows * self._rows
        if full:
            self._writer.write_table(self._pending.slice(0, full), row_group_size=self._rows)
            self._pending = self._pending.slice(full)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and len(self._pending):
            self._writer.write_table(self._pending, row_group_size=self._rows)
        self._writer.close()
