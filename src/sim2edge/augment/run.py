"""Run the augment stage: cleaned batches in; `train`, `validation` and `test.parquet` and `dataset.json` out.

Two passes: the first reads labels only, for splits and balance (`survey.py`); the second reads everything, a row group
at a time, so that memory does not grow with the dataset.
"""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from sim2edge.augment.balance import class_weights
from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.frames_reader import Frames, Lidar, describe_dataset, open_frames, pool_moments
from sim2edge.augment.split import SPLITS
from sim2edge.augment.survey import Survey, survey
from sim2edge.augment.transforms import mirror_order
from sim2edge.augment.variation import Variation, vary_table
from sim2edge.errors import BadInput
from sim2edge.frames.coco_file import CocoWriter
from sim2edge.frames.writer import FramesWriter
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.stage import Job, Outcome, Progress


def run(job: Job[AugmentConfig]) -> Outcome:
    """Build one dataset of all batches.

    Raises:
        BadInput: a batch is damaged, a split is empty, or a frame is invalid.
    """
    cv2.setNumThreads(1)  # the images are small: parallelise over images instead
    batches, misfits = open_frames(job.inputs["frames"])
    for line in misfits:
        job.progress.log(f"set aside {line}")
    found = survey(batches, job.config)
    lidar = next((batch.stats.lidar for batch in batches if batch.stats.lidar), None)
    variation = Variation(job.config, found.factors(job.config), find_mirror(lidar, job.config))
    size = batches[0].stats.height, batches[0].stats.width
    schema = describe_dataset(batches[0].stats, lidar)
    with ExitStack() as stack:
        writers = {}
        for split in SPLITS:
            rows = stack.enter_context(FramesWriter(job.output / f"{split}.parquet", schema, job.config.row_group_rows))
            truth = stack.enter_context(CocoWriter(job.output / f"{split}.coco.json", *size))
            writers[split] = SplitWriter(rows, truth)
        pool = stack.enter_context(ThreadPoolExecutor(job.config.workers))
        write_splits(batches, found, variation, writers, pool, job.progress)
    dataset = describe(batches, lidar, found, writers, job.config) | ({"set_aside": list(misfits)} if misfits else {})
    (job.output / "dataset.json").write_text(json.dumps(dataset, indent=1, allow_nan=False) + "\n")
    return Outcome(dataset)


def find_mirror(lidar: Lidar | None, config: AugmentConfig) -> np.ndarray:
    """Return the order of beams in a mirrored scan; empty without a LiDAR.

    Raises:
        BadInput: frames are to be mirrored, but the beams of one side have no counterparts on the other.
    """
    if lidar is None:
        return np.arange(0)
    mirror = mirror_order(lidar.beams, lidar.start_rad, lidar.step_rad)
    if mirror is not None:
        return mirror
    if config.flip_probability:
        raise BadInput(
            f"a scan from {lidar.start_rad:g} rad in {lidar.beams} steps of {lidar.step_rad:g} rad cannot be mirrored: "
            "set flip_probability=0"
        )
    return np.arange(lidar.beams)


class SplitWriter:
    """Writes one split, also as COCO; counts its frames, classes and floors."""

    def __init__(self, rows: FramesWriter, truth: CocoWriter) -> None:
        self.frames = 0
        self.classes: Counter[str] = Counter()
        self.floors: Counter[str] = Counter()
        self._rows = rows
        self._truth = truth

    def write(self, table: pa.Table) -> None:
        """Add rows; without an `augmentation` column they are originals."""
        if "augmentation" not in table.column_names:
            table = table.append_column("augmentation", pa.array([""] * len(table), pa.string()))
        self.frames += len(table)
        self.classes.update(table["boxes"].combine_chunks().flatten().field("class").to_pylist())
        self.floors.update(table["floor"].to_pylist())
        self._truth.write(table)
        self._rows.write(table)


def write_splits(
    batches: Sequence[Frames],
    found: Survey,
    variation: Variation,
    writers: dict[str, SplitWriter],
    pool: ThreadPoolExecutor,
    progress: Progress,
) -> None:
    """Copy every frame to its split, and add augmented copies of training frames after their originals."""
    done = 0
    for batch in batches:
        for table in batch.tables():
            splits = np.array([found.split[episode_id] for episode_id in table["episode_id"].to_pylist()])
            for split, writer in writers.items():
                rows = table.filter(pa.array(splits == split))
                writer.write(rows)
                if split == "train" and variation.config.copies:
                    writer.write(vary_table(rows, variation, pool))
            done += len(table)
            progress.update(done, found.total, train=writers["train"].frames)


def describe(
    batches: Sequence[Frames],
    lidar: Lidar | None,
    found: Survey,
    writers: dict[str, SplitWriter],
    config: AugmentConfig,
) -> dict[str, Any]:
    """Return the content of `dataset.json`.

    Counts of classes and floors are those of train.parquet, copies included.
    """
    stats = batches[0].stats
    mean, std = pool_moments([batch.stats for batch in batches])
    train = writers["train"]
    counts = {name: train.classes[name] for name in CLASSES}
    return {
        "classes": list(CLASSES),
        "floors": list(FLOORS),
        "height": stats.height,
        "width": stats.width,
        "lidar_beams": lidar.beams if lidar else None,
        "lidar_start_rad": lidar.start_rad if lidar else None,
        "lidar_step_rad": lidar.step_rad if lidar else None,
        "image_mean": mean,
        "image_std": std,
        "splits": {
            split: {
                "frames": writers[split].frames,
                "originals": found.frames[split],
                "episodes": found.episodes(split),
                "drives": found.drives(split),
            }
            for split in SPLITS
        },
        "class_counts": counts,
        "class_weights": class_weights(counts, config.class_weight_power),
        "floor_counts": {name: train.floors[name] for name in FLOORS},
        "frames_artifacts": [batch.reference for batch in batches],
    }
