"""Process the logs of a delivery: read and check each, write its episode, and decide whether bad logs refuse the batch.

One bad log refuses the batch, unless `skip_bad`; either way all are read, so that all errors are reported at once.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sim2edge.episodes.moment import episode_id
from sim2edge.episodes.result import EpisodeResult
from sim2edge.errors import BadInput
from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.drives import Origin, name_drives, origin_of
from sim2edge.ingest.log_files import LogFiles, group_logs
from sim2edge.ingest.report import LogReport, Report, report_log, report_refused
from sim2edge.ingest.twins import fingerprint_of
from sim2edge.ingest.understand import floor_at, understand
from sim2edge.ingest.write_episode import declare_origin, write_episode
from sim2edge.manifest import File
from sim2edge.repeats import Fingerprint, Known
from sim2edge.stage import Progress

OTHERS_NAMED = 3


@dataclass
class Batch:
    """The results of the logs processed so far."""

    results: list[EpisodeResult] = field(default_factory=list)
    logs: list[LogReport] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    known: Known = field(default_factory=Known)


def go_through(
    batch: str, folder: Path, sources: Sequence[File], config: IngestConfig, progress: Progress, output: Path | None
) -> Batch:
    """Read every log of `folder`, and write the episodes below `output`, if given.

    An episode has the index of its log, so that leaving out a log renumbers no other.

    Raises:
        BadInput: a log is bad and `skip_bad` is off, or all are bad.
    """
    found = Batch()
    logs = group_logs(sources)
    for index, log in enumerate(logs):
        identity = episode_id(batch, index)
        try:
            _take(found, identity, log, folder, config, output)
        except BadLog as error:
            found.logs.append(report_refused(log.source, str(error)))
            if output is not None:
                shutil.rmtree(output / identity, ignore_errors=True)
        done = [log for log in found.logs if log.refused is None]
        refused = len(found.logs) - len(done)
        progress.update(index + 1, len(logs), ticks=sum(log.ticks for log in done), refused=refused)
    _declare_drives(found, config, output)
    refuse_bad(Report(batch=batch, logs=tuple(found.logs)), config)
    return found


def _declare_drives(found: Batch, config: IngestConfig, output: Path | None) -> None:
    """Tell the episodes and the report which logs are pieces of one drive."""
    names = name_drives(found.origins, config)
    drives = {origin.episode_id: name for origin, name in zip(found.origins, names, strict=True)}
    found.logs = [log.model_copy(update={"drive": drives.get(log.episode_id or "")}) for log in found.logs]
    if output is None:
        return
    for origin in found.origins:
        declare_origin(output / origin.episode_id, drives[origin.episode_id], origin.recorded_from_s)


def _take(found: Batch, identity: str, log: LogFiles, folder: Path, config: IngestConfig, output: Path | None) -> None:
    understood = understand(folder / log.path, config)
    fingerprint = fingerprint_of(log.source, understood)
    if repeated := found.known.find(fingerprint):
        raise BadLog(f"{repeated}: deliver each log once")
    if output is not None:
        found.results.append(write_episode(output / identity, identity, log.source, understood, config))
    found.known.add(fingerprint, log.source.path)
    found.fingerprints.append(fingerprint)
    found.origins.append(origin_of(identity, log.source.path, understood))
    found.logs.append(report_log(log.source, identity, understood, floor_at(understood, 0, config)))


def refuse_bad(report: Report, config: IngestConfig) -> None:
    """Refuse a batch with bad logs; with `skip_bad` only if all are bad.

    Raises:
        BadInput: names the first bad log with its reason, and the others.
    """
    refused = report.refused
    if not refused or (config.skip_bad and len(refused) < len(report.logs)):
        return
    first, others = refused[0], [log.file for log in refused[1:]]
    more = ", ".join(others[:OTHERS_NAMED]) + (", ..." if len(others) > OTHERS_NAMED else "")
    also = f"; {len(others)} more of {len(report.logs)} logs are bad: {more}" if others else ""
    hint = "" if config.skip_bad or len(refused) == len(report.logs) else " (skip_bad=true ingests the others)"
    raise BadInput(f"{first.file}: {first.refused}{also}{hint}")
