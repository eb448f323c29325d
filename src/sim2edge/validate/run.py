"""Run the validate stage: evaluate the model and the best ones so far on the test split, judge, write the verdict."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from sim2edge.errors import BadInput
from sim2edge.frames.coco_file import CocoWriter
from sim2edge.recipes import load_network
from sim2edge.recipes.perception import Detections, Integers
from sim2edge.recipes.perception_frames import DatasetTable, Frames, read_frames
from sim2edge.recipes.perception_inference import detect
from sim2edge.recipes.perception_metrics import SCORE_FLOOR, Doubles, coco_results, round_results
from sim2edge.stage import Artifact, Job, Outcome
from sim2edge.validate.bootstrap import draw_weights
from sim2edge.validate.config import ValidateConfig
from sim2edge.validate.metrics import Evaluation, evaluate
from sim2edge.validate.mlflow_tracking import track_verdict
from sim2edge.validate.report import write_report, write_rules
from sim2edge.validate.rules import check, holders, refusal
from sim2edge.validate.support import Supports, count_support

SUMMARY = ("floor_accuracy", "map_50", "map_50_95", "distance_error_m", "frames")
DIGITS = 6
"""Decimals of every figure in a verdict: further ones may differ between processors."""


class Mismatch(BadInput):
    """A model has other classes, floors or another image size than the dataset."""


class Examination:
    """The test split, and the evaluation of models on it."""

    def __init__(self, job: Job[ValidateConfig]) -> None:
        dataset = job.input("dataset")
        self._job = job
        self.table = DatasetTable.read(dataset.path("dataset.json"))
        self.frames = read_frames(dataset.path("test.parquet"), self.table)
        self.episodes = read_episodes(dataset.path("test.parquet"))
        self.episode_count = int(self.episodes.max()) + 1
        (trained_on,) = job.inputs["trained_on"] or [dataset]
        self.supports = count_support(self.frames, self.episodes, self.table, trained_on.path("dataset.json"))
        self._weights = self._draw()

    def _draw(self) -> Doubles | None:
        """Return the weights of the resamples; None when there are too few episodes for an interval."""
        enough = self.episode_count >= max(2, self._job.config.min_episodes)
        return draw_weights(self.episodes, self._job.config.resamples) if enough else None

    def measure(self, model: Artifact, keep: Path | None = None) -> Evaluation:
        """Evaluate a model, and write its detections to the file `keep`.

        Raises:
            Mismatch: it has other classes, floors or another image size than the dataset.
            BadInput: it is damaged.
        """
        detections, threshold = examine(model, self.frames, self.table, self._job.config.batch_size)
        if keep:
            results = round_results(coco_results(detections, self.table.height, self.table.width))
            keep.write_text(json.dumps(results), encoding="utf-8")
        return evaluate(self.frames, detections, self.table, threshold, self._weights)


def run(job: Job[ValidateConfig]) -> Outcome:
    """Judge the model and write `verdict.json` with its tables and pictures.

    Raises:
        BadInput: bad data in the dataset, a model of other classes or image size, or a floor for an unknown class.
    """
    torch.set_num_threads(1)  # more threads sum in another order, and an artifact has to be reproducible
    examination = Examination(job)
    model = job.input("model")
    others = [*job.inputs["champion"], *job.inputs["best"]]
    evaluation = examination.measure(model, keep=job.output / "detections.json")
    write_truth(job.input("dataset").path("test.parquet"), examination.table, job.output / "truth.json")
    references, not_compared = {}, {}
    for done, other in enumerate(others, start=1):
        name = other.manifest.reference
        job.progress.update(done, len(others) + 1, model=name)
        try:
            references[name] = examination.measure(other)
        except Mismatch as mismatch:
            job.progress.log(f"not compared with {mismatch}")
            not_compared[name] = str(mismatch)
    job.progress.update(len(others) + 1, len(others) + 1)
    return conclude(job, examination, evaluation, references, not_compared)


def write_truth(path: Path, table: DatasetTable, target: Path) -> None:
    """Write the labels of a split as a COCO annotation file, beside the detections in the same images."""
    file = pq.ParquetFile(path)
    names = [name for name in file.schema_arrow.names if name not in ("image", "lidar")]
    with CocoWriter(target, table.height, table.width, table.classes) as writer:
        for group in range(file.num_row_groups):
            writer.write(file.read_row_group(group, names))


def read_episodes(path: Path) -> Integers:
    """Return the index [N] of the episode of each row of a split, in the order of the episodes' names."""
    names = pq.read_table(path, columns=["episode_id"])["episode_id"].to_pylist()
    numbers: Integers = np.unique(names, return_inverse=True)[1]
    return numbers


def examine(model: Artifact, frames: Frames, table: DatasetTable, batch_size: int) -> tuple[list[Detections], float]:
    """Return a model's detections in the frames, down to a low score, and its working threshold (0..1).

    Raises:
        Mismatch: the model has other classes, floors or another image size than the dataset.
        BadInput: it is damaged.
    """
    meta = read_meta(model.path("model.json"))
    expected = {
        "classes": list(table.classes),
        "floors": list(table.floors),
        "height": table.height,
        "width": table.width,
    }
    for name, value in expected.items():
        if meta.get(name) != value:
            reference = model.manifest.reference
            raise Mismatch(f"{reference}: model.json: {name} is {meta.get(name)}, but the dataset's is {value}")
    arguments = meta["postprocess"]
    network = load_network(model.folder)
    return detect(network, frames, batch_size, **{**arguments, "score_threshold": SCORE_FLOOR}), float(
        arguments["score_threshold"]
    )


def read_meta(path: Path) -> dict[str, Any]:
    """Return the content of a `model.json`.

    Raises:
        BadInput: it is not JSON, or lacks the score threshold of post-processing.
    """
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(meta["postprocess"]["score_threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path.name}: not a model's description: {error}") from error
    return meta


def conclude(
    job: Job[ValidateConfig],
    examination: Examination,
    model: Evaluation,
    references: Mapping[str, Evaluation],
    not_compared: Mapping[str, str],
) -> Outcome:
    """Apply the rules, log each result, and write the verdict."""
    config, supports = job.config, examination.supports
    rules = check(model, references, supports, examination.episode_count, config)
    for rule in rules:
        job.progress.log(f"{rule.state}: {rule}")
    failed = refusal(rules)
    refused = failed and f"{failed}{unjudged_words(supports, config)}"
    champion = next((artifact.manifest.reference for artifact in job.inputs["champion"]), None)
    best = holders({job.input("model").manifest.reference: model, **references})
    verdict = {
        "passed": refused is None,
        "rules": [rule.to_json() for rule in rules],
        "not_judged": supports.not_judged(config),
        "metrics": model.metrics,
        "champion": champion,
        "champion_metrics": references[champion].metrics if champion and champion in references else None,
        "best": best,
        "not_compared": dict(not_compared),
    }
    write_json(job.output / "verdict.json", tidy(verdict))
    write_report(model, examination.table, job.output)
    write_rules(rules, job.output / "rules.csv")
    track_verdict(job, tidy(model.metrics), refused)
    figures = {name: model.metrics[name] for name in SUMMARY}
    summary = {"passed": refused is None, **figures, "best": best, "not_judged": verdict["not_judged"]}
    return Outcome(tidy(summary), refused=refused)


def unjudged_words(supports: Supports, config: ValidateConfig) -> str:
    """Return the end of a refusal that names the classes and floors not judged; empty if there are none."""
    names = [name for names in supports.not_judged(config).values() for name in names]
    return f"; not judged: {', '.join(names)}" if names else ""


def tidy(value: Any) -> Any:
    """Round every figure in a JSON value; replace NaN and infinity by null."""
    if isinstance(value, dict):
        return {key: tidy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON; refuse NaN.

    Raises:
        ValueError: a number is not finite.
    """
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
