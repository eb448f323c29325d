"""Make the files of a frames artifact from episodes: check the values, quarantine, write, count, report.

    outcome = write_frames(job, episodes, total, scan, statistics)

The frames are checked a block at a time and written at once, so memory does not grow with the batch.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from sim2edge.errors import BadInput
from sim2edge.frames.checks import find_bad_rows
from sim2edge.frames.columns import frames_schema
from sim2edge.frames.config import FramesConfig
from sim2edge.frames.episode import Episode, Quarantined, Scan, count_reasons
from sim2edge.frames.file_metadata import describe
from sim2edge.frames.report import write_report
from sim2edge.frames.statistics import Statistics
from sim2edge.frames.writer import FramesWriter
from sim2edge.stage import Job, Progress

C = TypeVar("C", bound=FramesConfig)

CHECK_ROWS = 2048
"""Rows whose values are checked at a time: a check has a fixed cost, spread over many rows."""


def write_frames(
    job: Job[C], found: Iterable[Episode], total: int, scan: Scan | None, statistics: Statistics
) -> dict[str, Any]:
    """Write `frames.parquet`, `stats.json`, `quarantine.csv` and `report.html` into the job's output.

    Args:
        job: the run of the stage.
        found: the episodes, in order; not processed before they are read.
        total: their number.
        scan: the geometry of their scans; None: none of them has one.
        statistics: what was left out before; everything found here is added.

    Returns:
        the content of `stats.json`.

    Raises:
        BadInput: too much is bad, or nothing is left.
    """
    config = job.config
    schema = describe(frames_schema(), config.height, config.width, scan)
    with FramesWriter(job.output / "frames.parquet", schema, config.row_group_rows) as writer:
        for table in check_values(follow(found, total, statistics, job.progress), statistics, config):
            statistics.add_frames(table)
            writer.write(table)
    refuse_poor_batch(statistics, total + len(statistics.refused), config, job.partition)
    stats = statistics.to_json(config.height, config.width, scan)
    (job.output / "stats.json").write_text(json.dumps(stats, indent=1, allow_nan=False) + "\n")
    quarantined = sorted(
        statistics.quarantined, key=lambda item: (item.episode_id, -1 if item.frame is None else item.frame)
    )
    write_quarantine(job.output / "quarantine.csv", quarantined)
    write_report(job.output, job.partition, stats, quarantined, config)
    return stats


def follow(episodes: Iterable[Episode], total: int, statistics: Statistics, progress: Progress) -> Iterator[Episode]:
    """Yield the episodes unchanged while counting them and reporting progress."""
    for done, episode in enumerate(episodes, 1):
        statistics.add_episode(episode)
        progress.update(done, total, frames=statistics.frames_seen, quarantined=len(statistics.quarantined))
        yield episode


def check_values(episodes: Iterable[Episode], statistics: Statistics, config: FramesConfig) -> Iterator[pa.Table]:
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


def check_block(tables: Sequence[pa.Table], statistics: Statistics, config: FramesConfig) -> pa.Table:
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


def stop_if_strict(items: Sequence[Quarantined], config: FramesConfig) -> None:
    """Raise BadInput for the first defect if the config is strict."""
    if config.strict and items:
        item = items[0]
        where = item.episode_id if item.frame is None else f"{item.episode_id}: frame {item.frame}"
        raise BadInput(f"{where}: {item.reason} (strict=true)")


def refuse_poor_batch(statistics: Statistics, episodes: int, config: FramesConfig, batch: str) -> None:
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
