"""The loop learns, stops early, says when it diverges, and resumes to the same weights."""

import dataclasses

import pytest
import torch

from sim2edge.config import load
from sim2edge.errors import BadInput
from sim2edge.recipes.perception_frames import read_frames
from sim2edge.train.config import TrainConfig
from sim2edge.train.data import make_split
from sim2edge.train.loop import Diverged, Trainer, batches_in, find_device, learning_rate_factor
from sim2edge.train.run import build_network


def silent(done, loss):
    pass


@pytest.fixture
def make_trainer(train_frames, table):
    def make(*overrides, frames=train_frames, table=table):
        words = ("width_multiplier=0.25", "batch_size=8", "threads=1", *overrides)
        config = load(TrainConfig, "train", overrides=words)
        return Trainer(build_network(config, table), config, make_split(frames), frames, table)

    return make


def run_epochs(trainer, count):
    for _ in range(count):
        trainer.run_epoch(silent)
    return trainer


def same_weights(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.values(), second.values(), strict=True))


def test_a_handful_of_frames_is_learned_by_heart(make_trainer, dataset_folder, table):
    handful = read_frames(dataset_folder / "validation.parquet", table)
    still = ("flip=0", "recolour=0")
    trainer = make_trainer("epochs=80", "patience=80", "learning_rate=0.01", "batch_size=10", *still, frames=handful)
    while not trainer.finished:
        trainer.run_epoch(silent)
    best = trainer.history[trainer.best_epoch - 1]
    assert best["validation_floor_accuracy"] == 1
    assert best["validation_map_50"] > 0.8


def test_the_same_seed_gives_the_same_weights(make_trainer):
    first, second = (run_epochs(make_trainer("epochs=3"), 2).network.state_dict() for _ in range(2))
    assert same_weights(first, second)
    other = run_epochs(make_trainer("epochs=3", "seed=1"), 2).network.state_dict()
    assert not same_weights(first, other)


def test_a_resumed_run_ends_with_the_same_weights(make_trainer, tmp_path):
    whole = run_epochs(make_trainer("epochs=3"), 3)
    torch.save(run_epochs(make_trainer("epochs=3"), 1).state(), tmp_path / "checkpoint.pt")
    resumed = make_trainer("epochs=3")
    resumed.resume(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    run_epochs(resumed, 2)
    assert same_weights(whole.network.state_dict(), resumed.network.state_dict())
    assert same_weights(whole.best, resumed.best)
    for before, after in zip(whole.history, resumed.history, strict=True):
        assert before["train_total_loss"] == after["train_total_loss"]


def test_a_checkpoint_of_another_network_is_refused(make_trainer):
    state = run_epochs(make_trainer("epochs=1"), 1).state()
    with pytest.raises(BadInput, match="checkpoint: does not fit this network"):
        make_trainer("width_multiplier=0.5").resume(state)
    with pytest.raises(BadInput, match="checkpoint: does not fit this network"):
        make_trainer().resume({})


def test_it_stops_when_nothing_gets_better(make_trainer):
    trainer = make_trainer("epochs=50", "patience=2", "learning_rate=1e-9")
    while not trainer.finished:
        trainer.run_epoch(silent)
    assert trainer.epoch - trainer.best_epoch == 2
    assert trainer.epoch < 10


def test_a_loss_that_is_not_a_number_says_where(make_trainer, table):
    trainer = make_trainer(table=dataclasses.replace(table, class_weights=(float("nan"),) * len(table.classes)))
    with pytest.raises(Diverged, match="the loss is nan in epoch 1, step 1: lower learning_rate") as error:
        trainer.run_epoch(silent)
    assert isinstance(error.value, BadInput)


def test_the_learning_rate_rises_then_falls_to_nothing():
    factors = [learning_rate_factor(step, warmup=10, total=100) for step in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert max(factors) == factors[10] == 1
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[100] == pytest.approx(0, abs=1e-9)


def test_a_last_batch_of_one_frame_is_left_out():
    assert [batches_in(frames, 8) for frames in (1, 8, 9, 10, 16)] == [1, 1, 1, 2, 2]


def test_a_missing_gpu_is_said():
    assert find_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match=r"train\.device: cuda is requested"):
            find_device("cuda")
