"""Run the annotate stage: a delivered folder in; the same files out as of clean."""

from pathlib import Path
from typing import Any

import cv2

from sim2edge.annotate.build import build_episodes
from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.understand import Understood, understand
from sim2edge.frames.build import write_frames
from sim2edge.frames.statistics import Statistics
from sim2edge.inbox import READY
from sim2edge.stage import Job, Outcome


def run(job: Job[AnnotateConfig]) -> Outcome:
    """Make the frames of a delivered folder.

    Raises:
        BadInput: an annotation file is wrong, or too much of the batch is.
    """
    assert job.source is not None  # noqa: S101 (the stage declares a source; for the type checker)
    (job.source / READY).unlink()  # no file of the delivery
    return Outcome(make(job, job.source, understand(job.source, job.config, job.progress)))


def make(job: Job[AnnotateConfig], folder: Path, found: Understood) -> dict[str, Any]:
    """Write the frames of a folder, and return the content of `stats.json`."""
    cv2.setNumThreads(1)  # the pictures are small
    episodes = build_episodes(job.partition, found.drives, folder, job.config)
    return write_frames(job, episodes, len(found.drives), None, Statistics((), ()))
