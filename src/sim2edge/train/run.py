"""Run the train stage: read the dataset, train the recipe, write the model.

A killed run resumes after its last full epoch: checkpoints are stored under the artifact's id, which is a hash of
config and dataset.
"""

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sim2edge import config as configs
from sim2edge.recipes.perception import signature
from sim2edge.recipes.perception_frames import DatasetTable, Frames, read_frames
from sim2edge.recipes.perception_inference import detect
from sim2edge.recipes.perception_metrics import SCORE_FLOOR, best_threshold
from sim2edge.stage import Job, Outcome, Progress
from sim2edge.train.cnn_model import NetworkShape, PerceptionNet, save_model
from sim2edge.train.config import TrainConfig
from sim2edge.train.curves import draw_curves
from sim2edge.train.data import make_split
from sim2edge.train.loop import Trainer
from sim2edge.train.mlflow_tracking import Tracker

CHECKPOINT = "checkpoint.pt"
NO_BOX = "validation.parquet has no box: mAP is unknown, and the best epoch is that of the best floor accuracy"


def run(job: Job[TrainConfig]) -> Outcome:
    """Train and write `model.pt`, `model.json`, `history.json` and `curves.png`; measured: `speed.json`.

    Raises:
        BadInput: bad data in the dataset, or diverged training.
    """
    torch.set_num_threads(job.config.threads)
    dataset = job.input("dataset")
    table = DatasetTable.read(dataset.path("dataset.json"))
    train = read_frames(dataset.path("train.parquet"), table)
    validation = read_frames(dataset.path("validation.parquet"), table)
    trainer = Trainer(build_network(job.config, table), job.config, make_split(train), validation, table)
    resume(job, trainer)
    if not len(validation.boxes):
        job.progress.log(f"WARNING: {NO_BOX}")
    tracker = Tracker(job, {"train_frames": len(train), "validation_frames": len(validation)})
    tracker.track(trainer.rows)
    while not trainer.finished:
        train_epoch(job, trainer)
        tracker.track(trainer.rows)
    metrics = finish(job, trainer, table, validation)
    tracker.finish(trainer.rows, metrics)
    counts = {"epochs": trainer.epoch, "best_epoch": trainer.best_epoch, "frames": len(train)}
    return Outcome({**counts, **metrics, **tracker.where})


def build_network(config: TrainConfig, table: DatasetTable) -> PerceptionNet:
    """Return an untrained network for a dataset; the same seed produces the same weights."""
    torch.manual_seed(config.seed)
    shape = NetworkShape(
        height=table.height,
        width=table.width,
        width_multiplier=config.width_multiplier,
        floors=len(table.floors),
        classes=len(table.classes),
        image_mean=table.image_mean,
        image_std=table.image_std,
    )
    return PerceptionNet(shape)


def train_epoch(job: Job[TrainConfig], trainer: Trainer) -> None:
    """Train one epoch, report its progress and save a checkpoint."""
    before, total = trainer.epoch * trainer.steps, job.config.epochs * trainer.steps

    def report(done: int, loss: float) -> None:
        job.progress.update(before + done, total, epoch=f"{trainer.epoch + 1}/{job.config.epochs}", loss=loss)

    row = trainer.run_epoch(report)
    job.progress.log(
        f"epoch {trainer.epoch}",
        loss=_rounded(row["train_total_loss"]),
        floor_accuracy=_rounded(row["validation_floor_accuracy"]),
        map_50=_rounded(row["validation_map_50"]),
        frames_per_second=round(trainer.speeds[-1]["train_frames_per_second"]),
    )
    path = job.scratch / CHECKPOINT
    torch.save({"trainer": trainer.state(), **describe_run(job.config)}, path)
    job.checkpoints.save(path)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def resume(job: Job[TrainConfig], trainer: Trainer) -> None:
    """Resume from the checkpoint of a killed run, if one exists."""
    path = job.checkpoints.restore(CHECKPOINT, job.scratch)
    if path is None:
        return
    content = torch.load(path, map_location="cpu", weights_only=True)
    warn_of_differences(content, describe_run(job.config), job.progress)
    trainer.resume(content["trainer"])
    job.progress.log(f"resumed after epoch {trainer.epoch}", best_epoch=trainer.best_epoch)


def describe_run(config: TrainConfig) -> dict[str, Any]:
    """Return the origin of a checkpoint: config, its hash, package versions."""
    return describe_config(config) | {"versions": {name: version(name) for name in ("sim2edge", "torch", "numpy")}}


def describe_config(config: TrainConfig) -> dict[str, Any]:
    """Return the config of a model and its hash; the versions are in its manifest."""
    resolved = configs.resolve(config)
    return {"config": resolved, "config_hash": configs.digest(resolved)}


def warn_of_differences(then: dict[str, Any], now: dict[str, Any], progress: Progress) -> None:
    """Log every config field and version in which a checkpoint differs from this run."""
    for part in ("config", "versions"):
        old, new = then.get(part, {}), now[part]
        differing = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        if differing:
            changes = {name: f"{old.get(name)} -> {new.get(name)}" for name in differing}
            progress.log(f"WARNING: the checkpoint was made with other {part}: {', '.join(differing)}", **changes)


def finish(job: Job[TrainConfig], trainer: Trainer, table: DatasetTable, validation: Frames) -> dict[str, float | None]:
    """Write the best epoch's network with its metadata, and return its validation metrics."""
    network = trainer.network
    network.load_state_dict(trainer.best)
    network.to("cpu").eval()
    found = detect(network, validation, job.config.batch_size, score_threshold=SCORE_FLOOR)
    threshold = best_threshold(validation, found)
    best = trainer.history[trainer.best_epoch - 1]
    metrics = {name: best[f"validation_{name}"] for name in ("floor_accuracy", "map_50", "map_50_95")}
    meta = {
        "recipe": job.config.recipe,
        "network": asdict(network.shape),
        "classes": list(table.classes),
        "floors": list(table.floors),
        "height": table.height,
        "width": table.width,
        "image_mean": list(table.image_mean),
        "image_std": list(table.image_std),
        "postprocess": signature(table.height, table.width, threshold),
        "metrics": metrics,
        **describe_config(job.config),
    }
    save_model(network, meta, job.output / "model.pt")
    write_json(job.output / "model.json", meta)
    write_json(job.output / "history.json", trainer.history)
    write_json(job.measurements / "speed.json", trainer.speeds)
    draw_curves(trainer.history, job.output / "curves.png")
    return metrics


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON; refuse NaN.

    Raises:
        ValueError: a number is not finite.
    """
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
