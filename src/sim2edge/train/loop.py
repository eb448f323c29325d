"""Train the network: AdamW, warm-up and cosine, early stopping, a checkpoint every epoch.

    trainer = Trainer(network, config, train, validation_frames, table)
    trainer.resume(checkpoint)          # if one exists
    while not trainer.finished:
        row = trainer.run_epoch()

A trainer's whole state is one dictionary of tensors and plain values (`state`, `resume`), so that a killed run goes on
from its last full epoch and ends with the weights it would have had.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sim2edge.errors import BadInput
from sim2edge.recipes.perception import cell_geometry, grid_shapes
from sim2edge.recipes.perception_frames import DatasetTable, Frames
from sim2edge.recipes.perception_inference import detect
from sim2edge.recipes.perception_metrics import SCORE_FLOOR, floor_accuracy, mean_average_precision
from sim2edge.train.cnn_model import PerceptionNet
from sim2edge.train.config import TrainConfig
from sim2edge.train.data import Batch, Split, Variation, shuffled_batches
from sim2edge.train.losses import perception_losses

Report = Callable[[int, float], None]
"""Called after every step: steps done in this epoch, loss."""

Row = dict[str, float | None]
"""Figures of one epoch by name; None: the validation split leaves it undefined."""

MAX_GRADIENT = 10.0
"""Norm beyond which a gradient is clipped: a rare bad batch must not derail the weights."""


class Diverged(BadInput):
    """The loss is infinite or not a number; the message names epoch and step."""


class Trainer:
    """Trains a network on one split and evaluates it on another."""

    def __init__(
        self, network: PerceptionNet, config: TrainConfig, train: Split, validation: Frames, table: DatasetTable
    ) -> None:
        self.config = config
        self.device = find_device(config.device)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train = train.to(self.device)
        self.validation = validation
        self.history: list[Row] = []
        self.speeds: list[dict[str, float]] = []
        """Speed of each epoch: not in the history, because it differs between runs."""
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self._cells = torch.tensor(cell_geometry(grid_shapes(table.height, table.width))).to(self.device)
        self._class_weights = torch.tensor(table.class_weights, device=self.device)
        self._generator = torch.Generator().manual_seed(config.seed)
        self.steps = batches_in(len(train), config.batch_size)
        self._optimizer = make_optimizer(self.network, config)
        warmup, total = config.warmup_epochs * self.steps, config.epochs * self.steps
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_factor(step, warmup, total)
        )

    @property
    def rows(self) -> list[Row]:
        """The history joined with the speeds."""
        return [{**row, **speed} for row, speed in zip(self.history, self.speeds, strict=True)]

    @property
    def epoch(self) -> int:
        """Number of full epochs done."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the score has not risen for `patience` epochs."""
        return self.epoch >= self.config.epochs or self.epoch - self.best_epoch >= self.config.patience

    def run_epoch(self, report: Report) -> Row:
        """Train and evaluate one epoch, and return its row of the history.

        Raises:
            Diverged: the loss became infinite or not a number.
        """
        start = time.perf_counter()
        variation = Variation(self.config.flip, self.config.recolour)
        batches = shuffled_batches(self.train, self.config.batch_size, variation, self._generator)
        sums, seen = self._learn(batches, report)
        seconds = time.perf_counter() - start
        row: Row = {
            "epoch": float(self.epoch + 1),
            "learning_rate": float(self._schedule.get_last_lr()[0]),
            **{f"train_{name}_loss": float(value) / max(1, seen) for name, value in sums.items()},
            **judge(self.network, self.validation, self.config.batch_size),
        }
        self.history.append(row)
        self.speeds.append({"train_seconds": seconds, "train_frames_per_second": len(self.train) / seconds})
        if not self.best_epoch or _score(row) > _score(self.history[self.best_epoch - 1]):
            self.best_epoch = self.epoch
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        return row

    def _learn(self, batches: Iterable[Batch], report: Report) -> tuple[dict[str, float], int]:
        self.network.train()
        sums: dict[str, float] = {}
        for done, batch in enumerate(batches, start=1):
            parts = self.step(batch)
            if not math.isfinite(parts["total"]):
                raise Diverged(
                    f"the loss is {parts['total']} in epoch {self.epoch + 1}, step {done}: lower learning_rate"
                )
            sums = {name: sums.get(name, 0.0) + value for name, value in parts.items()}
            report(done, parts["total"])
        return sums, self.steps

    def step(self, batch: Batch) -> dict[str, float]:
        """Take one step of the optimiser and return the parts of the loss before it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.amp and self.device.type == "cuda"):
            floor, obstacles = self.network(batch.images)
        losses = perception_losses(floor, obstacles, batch, self._cells, self._class_weights)
        total = losses.total
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT)
        self._optimizer.step()
        self._schedule.step()
        names = ("total", *vars(losses))
        values = torch.stack([total, *vars(losses).values()]).detach().tolist()
        return dict(zip(names, values, strict=True))

    def state(self) -> dict[str, Any]:
        """Return the state that determines the rest of the training."""
        return {
            "weights": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "generator": self._generator.get_state(),
            "history": copy.deepcopy(self.history),
            "speeds": copy.deepcopy(self.speeds),
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            BadInput: it does not fit this network.
        """
        try:
            self.network.load_state_dict(state["weights"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
            self._generator.set_state(state["generator"])
            self.history, self.speeds = list(state["history"]), list(state["speeds"])
            self.best, self.best_epoch = dict(state["best"]), state["best_epoch"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise BadInput(f"checkpoint: does not fit this network: {str(error).splitlines()[0]}") from error


def _score(row: Row) -> float:
    return row["validation_score"] or 0.0


def find_device(name: str) -> torch.device:
    """Return the device named `cpu` or `cuda`.

    Raises:
        BadInput: a GPU is requested and none is usable.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("train.device: cuda is requested, but no GPU is usable")
    return torch.device(name)


def batches_in(frames: int, size: int) -> int:
    """Return the number of batches of one pass: a last batch of a single frame is left out."""
    return max(1, frames // size + (frames % size > 1))


def learning_rate_factor(step: int, warmup: float, total: int) -> float:
    """Return the learning rate at `step` as a share of its peak.

    It rises linearly over `warmup` steps, then falls in a cosine to 0 at `total`.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, total - warmup))))


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return an AdamW that decays the weights of convolutions and of the floor head, not biases and batch norms."""
    parameters = [value for value in network.parameters() if value.requires_grad]
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def judge(network: nn.Module, frames: Frames, batch_size: int) -> Row:
    """Return the network's metrics on frames; `validation_score` is the mean of floor accuracy and mAP@50.

    Without a true box in the frames mAP is None, and the score is the floor accuracy alone.
    """
    detections = detect(network, frames, batch_size, score_threshold=SCORE_FLOOR)
    accuracy = floor_accuracy(frames, detections)
    at_50, at_50_95, _ = mean_average_precision(frames, detections, classes=int(frames.classes.max(initial=0)) + 1)
    score = accuracy if at_50 is None else (accuracy + at_50) / 2
    values = {"floor_accuracy": accuracy, "map_50": at_50, "map_50_95": at_50_95, "score": score}
    return {f"validation_{name}": value for name, value in values.items()}
