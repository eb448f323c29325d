"""Run the ingest stage: a batch of the inbox in, episodes and `ingest_report.json` out."""

import tempfile
from collections import Counter
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.episodes.table import summarise, write_table
from sim2edge.inbox import READY, parse_ready
from sim2edge.ingest.config import IngestConfig
from sim2edge.manifest import Manifest
from sim2edge.stage import Job, Outcome, Progress

REPORT = "ingest_report.json"


def run(job: Job[IngestConfig]) -> Outcome:
    """Build an episode of every delivered log.

    Raises:
        BadInput: a log is bad (with `skip_bad`: all are bad), or is in another batch.
    """
    from sim2edge.ingest.batch import go_through
    from sim2edge.ingest.report import Report
    from sim2edge.other_batches import FILE, load_others, refuse_repeated
    from sim2edge.repeats import Fingerprints

    assert job.source is not None  # noqa: S101 (the stage declares a source; for the type checker)
    ready = parse_ready((job.source / READY).read_bytes(), job.partition)
    sources = sorted(ready.files, key=lambda file: file.path)
    found = go_through(job.partition, job.source, sources, job.config, job.progress, job.output)
    refuse_repeated(found.fingerprints, load_others(job.source))
    write_table(job.output / "aggregated_results.csv", found.results)
    report = Report(batch=job.partition, logs=tuple(found.logs))
    (job.output / REPORT).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    prints = Fingerprints(logs=tuple(found.fingerprints))
    (job.output / FILE).write_text(prints.model_dump_json() + "\n", encoding="utf-8")
    boxes = sum((Counter(log.boxes) for log in found.logs), Counter[str]())
    dropped = sum((Counter(log.dropped) for log in found.logs), Counter[str]())
    counts = {
        "logs": len(found.logs),
        "refused": {log.file: log.refused for log in report.refused},
        "labelled": sum(log.labelled for log in found.logs),
        "ticks_dropped": dict(dropped),
    }
    return Outcome(
        summarise(found.results, {"boxes": boxes, "rooms_rejected": Counter(), "checks": Counter()}) | counts
    )


def log_report(bus: Bus, manifest: Manifest, progress: Progress) -> None:
    """Log the report on each log: after the commit, and again at every cache hit."""
    from sim2edge.ingest.report import Report, table

    with tempfile.TemporaryDirectory() as folder:
        data = bus.fetch(manifest, Path(folder), [REPORT]).path(REPORT).read_bytes()
    for line in table(Report.model_validate_json(data)):
        progress.log(line)
