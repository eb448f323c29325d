"""Measure the real training loop against the bare training step on in-memory tensors: same network and batch size.

The loop is an epoch as the stage runs it: drawing and mirroring batches, the step with its checks, progress lines,
validation on a few frames, and the checkpoint, written and put on a bus in memory. The bare step is forward, loss,
backward, optimiser; one is run after each step of the loop, so that other load on the machine affects both.
Validation of a full split is shown for information.
"""

import contextlib
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from obstore.store import MemoryStore

from benchmarks.results import Result
from benchmarks.timing import take_turns, time_once
from benchmarks.workplace import BATCH, Workplace
from sim2edge.bookkeeping import BusCheckpoints
from sim2edge.bus import Bus
from sim2edge.export.judged import spread
from sim2edge.progress import JsonProgress
from sim2edge.recipes.perception import cell_geometry, grid_shapes
from sim2edge.recipes.perception_frames import DatasetTable, Frames, read_frames
from sim2edge.stage import Job
from sim2edge.train.config import TrainConfig
from sim2edge.train.data import Batch, Split, draw, make_split
from sim2edge.train.loop import Trainer, judge, make_optimizer
from sim2edge.train.losses import perception_losses
from sim2edge.train.run import build_network, train_epoch

STEPS = 24
"""Steps of an epoch; a real one has more, so that the cost of its end weighs less."""

BATCHES = 8
"""Different batches that the bare step cycles through, few enough to fit in memory easily."""

ROUNDS = 3
MINIMUM = 0.9
FEW = 8
MANY_EPOCHS = 10_000


def measure(place: Workplace) -> Iterator[Result]:
    """Yield images/s of the loop against the bare step, and frames/s of validation."""
    dataset = place.fetch("augment")
    table = DatasetTable.read(dataset.path("dataset.json"))
    config = TrainConfig(epochs=MANY_EPOCHS, patience=MANY_EPOCHS, device="cpu")
    validation = read_frames(dataset.path("validation.parquet"), table)
    split = repeat(make_split(read_frames(dataset.path("train.parquet"), table)), STEPS * config.batch_size)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    trainer = Trainer(build_network(config, table), config, split, spread(validation, FEW), table)
    progress = StepByStep(BareStep(config, table, split))
    job = make_job(place, config, progress)
    turns = [progress.time_epoch(job, trainer) for _ in range(1 + ROUNDS)][1:]
    rate = {name: len(split) / statistics.median(turn[name] for turn in turns) for name in ("loop", "bare")}
    size = f"{table.width}x{table.height}"
    note = f"batches of {config.batch_size}, {STEPS} an epoch, {size}, {torch.get_num_threads()} threads"
    yield Result("train.loop", rate["loop"], "images/s", "bare step in memory", rate["bare"], least=MINIMUM, note=note)
    yield measure_validation(trainer, validation)


def repeat(split: Split, size: int) -> Split:
    """Return the first `size` frames of a split repeated over and over."""
    rows = torch.arange(size) % len(split)
    changed = {name: value[rows] for name, value in vars(split).items() if name != "mirror"}
    return replace(split, **changed)


def make_job(place: Workplace, config: TrainConfig, progress: JsonProgress) -> Job[TrainConfig]:
    """Return a job whose checkpoints go to a bus in memory."""
    reference = f"model/{BATCH}/{'0' * 16}"
    return Job(
        config=config,
        partition=BATCH,
        reference=reference,
        inputs={},
        output=place.new_folder("output"),
        scratch=place.new_folder("scratch"),
        measurements=place.new_folder("measurements"),
        progress=progress,
        checkpoints=BusCheckpoints(Bus(MemoryStore()), reference),
    )


class BareStep:
    """Bare training steps on batches prepared beforehand."""

    def __init__(self, config: TrainConfig, table: DatasetTable, split: Split) -> None:
        self._network = build_network(config, table).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = make_optimizer(self._network, config)
        self._cells = torch.tensor(cell_geometry(grid_shapes(table.height, table.width)))
        self._weights = torch.tensor(table.class_weights)
        self._batches: Sequence[Batch] = [
            draw(split, rows) for rows in torch.arange(BATCHES * config.batch_size).reshape(BATCHES, -1)
        ]
        self._network.train()

    def run(self, number: int) -> None:
        """Run one step, on batch `number` modulo `BATCHES`."""
        batch = self._batches[number % BATCHES]
        floor, obstacles = self._network(batch.images)
        loss = perception_losses(floor, obstacles, batch, self._cells, self._weights).total
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


class StepByStep(JsonProgress):
    """The stage's progress as JSON lines, with a bare step after each reported step."""

    def __init__(self, bare: BareStep) -> None:
        super().__init__("train")
        self._bare = bare
        self._bare_s = 0.0

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """See `sim2edge.stage.Progress`."""
        super().update(done, total, **metrics)
        self._bare_s += time_once(lambda: self._bare.run(done))

    def time_epoch(self, job: Job[TrainConfig], trainer: Trainer) -> dict[str, float]:
        """Return the seconds of one epoch of the stage, and of as many bare steps; discard the stage's output."""
        self._bare_s = 0.0
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            together_s = time_once(lambda: train_epoch(job, trainer))
        return {"loop": together_s - self._bare_s, "bare": self._bare_s}


def measure_validation(trainer: Trainer, validation: Frames) -> Result:
    """Measure frames/s of validating a split, against the network's forward pass alone."""
    images = torch.from_numpy(validation.images).permute(0, 3, 1, 2).float().div_(255)

    def forward() -> None:
        with torch.inference_mode():
            for part in torch.split(images, trainer.config.batch_size):
                trainer.network(part)

    contestants = {"judge": lambda: judge(trainer.network, validation, trainer.config.batch_size), "bare": forward}
    seconds = take_turns(contestants, ROUNDS)
    rate = {name: len(validation) / value for name, value in seconds.items()}
    return Result("train.validation", rate["judge"], "frames/s", "forward pass alone", rate["bare"])
