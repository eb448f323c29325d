"""Run the annotate stage: a delivered folder in; the same files out as of clean."""

from pathlib import Path
from typing import Any

import cv2

from sim2edge.annotate.build import build_episodes
from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.twins import fingerprints_of, refuse_known
from sim2edge.annotate.understand import Understood, understand
from sim2edge.frames.build import write_frames
from sim2edge.frames.statistics import Statistics
from sim2edge.inbox import READY
from sim2edge.other_batches import FILE, OTHERS, load_others
from sim2edge.repeats import Fingerprints
from sim2edge.stage import Job, Outcome


def run(job: Job[AnnotateConfig]) -> Outcome:
    """Make the frames of a delivered folder.

    Raises:
        BadInput: an annotation file is wrong, too much of the batch is, or pictures are in another batch.
    """
    assert job.source is not None  # noqa: S101 (the stage declares a source; for the type checker)
    others = load_others(job.source)
    for name in (READY, OTHERS):
        (job.source / name).unlink()  # no file of the delivery
    found = understand(job.source, job.config, job.progress)
    prints = Fingerprints(logs=fingerprints_of(found, job.source))
    refuse_known(prints.logs, others)
    (job.output / FILE).write_text(prints.model_dump_json() + "\n", encoding="utf-8")
    return Outcome(make(job, job.source, found))


def make(job: Job[AnnotateConfig], folder: Path, found: Understood) -> dict[str, Any]:
    """Write the frames of a folder, and return the content of `stats.json`."""
    cv2.setNumThreads(1)  # the pictures are small
    episodes = build_episodes(job.partition, found.drives, folder, job.config)
    return write_frames(job, episodes, len(found.drives), None, Statistics((), ()))
