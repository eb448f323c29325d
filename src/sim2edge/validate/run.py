"""The validate stage: run model and champion over the test split, measure, judge, write the verdict."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sim2edge.cores import available_cores
from sim2edge.errors import BadInput
from sim2edge.recipes import load_network
from sim2edge.recipes.perception import Detections
from sim2edge.recipes.perception_frames import DatasetTable, Frames, read_frames
from sim2edge.recipes.perception_inference import detect
from sim2edge.recipes.perception_metrics import SCORE_FLOOR, coco_results
from sim2edge.stage import Artifact, Job, Outcome
from sim2edge.validate.config import ValidateConfig
from sim2edge.validate.metrics import Evaluation, evaluate
from sim2edge.validate.report import write_report
from sim2edge.validate.rules import check, refusal

SUMMARY = ("floor_accuracy", "map_50", "map_50_95", "distance_error_m", "frames")


def run(job: Job[ValidateConfig]) -> Outcome:
    """Judge the model and leave `verdict.json` with its tables and pictures.

    Raises:
        BadInput: bad data in the dataset, or a model of other classes or image size.
    """
    torch.set_num_threads(job.config.threads or available_cores())
    dataset = job.input("dataset")
    table = DatasetTable.read(dataset.path("dataset.json"))
    frames = read_frames(dataset.path("test.parquet"), table)
    candidates = [job.input("model"), *job.inputs["champion"]]
    evaluations = []
    for done, model in enumerate(candidates):
        job.progress.update(done, len(candidates), model=model.manifest.reference)
        detections, threshold = examine(model, frames, table, job.config.batch_size)
        evaluations.append(evaluate(frames, detections, table, threshold))
        if done == 0:
            results = coco_results(detections, table.height, table.width)
            (job.output / "detections.json").write_text(json.dumps(results), encoding="utf-8")
    job.progress.update(len(candidates), len(candidates))
    return conclude(job, evaluations, table)


def examine(model: Artifact, frames: Frames, table: DatasetTable, batch_size: int) -> tuple[list[Detections], float]:
    """What a model detects in the frames, down to a low score, and its working threshold (0..1).

    Raises:
        BadInput: the model was made for other classes, floors or another image size, or is damaged.
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
            raise BadInput(f"{reference}: model.json: {name} is {meta.get(name)}, but the dataset's is {value}")
    arguments = meta["postprocess"]
    network = load_network(model.folder)
    return detect(network, frames, batch_size, **{**arguments, "score_threshold": SCORE_FLOOR}), float(
        arguments["score_threshold"]
    )


def read_meta(path: Path) -> dict[str, Any]:
    """The content of a `model.json`.

    Raises:
        BadInput: it is not JSON, or says nothing of post-processing.
    """
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        float(meta["postprocess"]["score_threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path.name}: not a model's description: {error}") from error
    return meta


def conclude(job: Job[ValidateConfig], evaluations: list[Evaluation], table: DatasetTable) -> Outcome:
    """Apply the rules and write the verdict."""
    metrics = evaluations[0].metrics
    champion = evaluations[1].metrics if len(evaluations) > 1 else None
    rules = check(metrics, champion, job.config)
    refused = refusal(rules)
    references = [artifact.manifest.reference for artifact in job.inputs["champion"]]
    verdict = {
        "passed": refused is None,
        "rules": [asdict(rule) for rule in rules],
        "metrics": metrics,
        "champion": references[0] if references else None,
        "champion_metrics": champion,
    }
    write_json(job.output / "verdict.json", verdict)
    write_report(evaluations[0], table, job.output)
    return Outcome({"passed": refused is None, **{name: metrics[name] for name in SUMMARY}}, refused=refused)


def write_json(path: Path, content: Any) -> None:
    """Write JSON a person can read; NaN is an error."""
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
