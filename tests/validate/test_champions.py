"""Who a challenger is compared with, over a history of promotions: planning, the rules and the post-commit hook."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from perception_data import Diary

from sim2edge.errors import BadInput
from sim2edge.manifest import Cost, Manifest
from sim2edge.registry import ACCEPTED_REF, CHAMPION_REF, accept, choose_champion, crown
from sim2edge.tombstone import Event
from sim2edge.validate.config import Floors, ValidateConfig
from sim2edge.validate.metrics import Evaluation
from sim2edge.validate.rules import check, holders, refusal
from sim2edge.validate.support import Supports
from sim2edge.withdrawal import record

START = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = np.zeros((0, 0), np.int64)
CONFIG = ValidateConfig(floors=Floors(floor_accuracy=0, map_50=0), tolerance=0.02, distance_tolerance_m=0.1)


def commit(bus, reference, inputs=None, summary=None, refused=None, age=0):
    """Commit an artifact without files, `age` minutes after the start."""
    kind, partition, identity = reference.split("/")
    at = START + timedelta(minutes=age)
    return bus.commit(
        Manifest(
            kind=kind, partition=partition, id=identity, stage="test", version=1, config={}, config_hash="",
            inputs=inputs or {}, attempt="attempt", files=[], summary=summary or {}, refused=refused, environment={},
            started=at, finished=at, cost=Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0),
        )
    )  # fmt: skip


def choose(bus, model, **given):
    """The references of a validation of `model` as planning resolves them, without the dataset."""
    return choose_champion(bus, {"model": [model], "champion": [], "best": [], "trained_on": [], **given})


class History:
    """Models whose figures on the test split are known, judged one after another."""

    def __init__(self, bus) -> None:
        self.bus = bus
        self.scores: dict[str, float] = {}
        self.verdicts = 0

    def judge(
        self, map_50: float, batch: str = "batch-1", model: str | None = None, release: bool = True, **given
    ) -> tuple[str, Manifest]:
        """Plan, compare, commit and settle the verdict on a model, a new one with this score, or a known one.

        If it was accepted, it is released.
        """
        if model is None:
            model = f"model/{batch}/{len(self.scores):016x}"
            self.scores[model] = map_50
            commit(self.bus, model)
        inputs = choose(self.bus, model, **given)
        references = {each: measured(self.scores[each]) for each in (*inputs["champion"], *inputs["best"])}
        refused = refusal(check(measured(self.scores[model]), references, Supports({}, {}), 20, CONFIG))
        best = holders({model: measured(self.scores[model]), **references})
        self.verdicts += 1
        manifest = commit(
            self.bus, f"verdict/{batch}/{self.verdicts:016x}", inputs, {"best": best}, refused, age=self.verdicts
        )
        accept(self.bus, manifest, Diary())
        accepted = self.bus.read_ref(ACCEPTED_REF)
        if release and accepted and accepted.target == model:
            crown(self.bus, commit(self.bus, f"release/{batch}/{self.verdicts:016x}", {"model": [model]}), Diary())
        return model, manifest

    @property
    def champion(self) -> str:
        return self.bus.read_ref(CHAMPION_REF).target


def measured(map_50):
    fixed = {"floor_accuracy": 0.9, "map_50_95": 0.3, "distance_error_m": 0.2, "finite_outputs": 1.0}
    return Evaluation({**fixed, "map_50": map_50}, None, NOTHING, NOTHING, {})


@pytest.fixture
def history(bus):
    return History(bus)


def test_ten_promotions_each_worse_by_just_under_the_tolerance_lose_one_tolerance_at_most(history):
    for step in range(11):
        history.judge(0.5 - 0.019 * step)
    assert 0.5 - history.scores[history.champion] <= CONFIG.tolerance
    assert history.scores[history.champion] == 0.5 - 0.019


def test_the_best_so_far_stays_the_mark_when_it_is_no_longer_champion(history):
    first, _ = history.judge(0.5)
    second, verdict = history.judge(0.49)
    assert history.champion == second
    assert verdict.summary["best"]["map_50"] == first
    third, refused = history.judge(0.475)
    assert refused.inputs == {"model": [third], "champion": [second], "best": [first], "trained_on": []}
    assert refused.refused.startswith(f"map_50 against the best ({first}): -0.025 (limit -0.02")
    fourth, verdict = history.judge(0.6)
    assert verdict.summary["best"]["map_50"] == fourth, "a better one sets the mark anew"
    assert first not in history.judge(0.585)[1].inputs["best"]


def test_a_model_that_was_accepted_and_not_released_is_no_mark(history):
    first, _ = history.judge(0.5)
    second, _ = history.judge(0.9, release=False)
    assert history.champion == first
    assert history.bus.read_ref(ACCEPTED_REF).target == second
    third, verdict = history.judge(0.51)
    assert (verdict.refused, verdict.inputs["champion"]) == (None, [first])
    assert history.champion == third


def test_after_a_roll_back_the_model_that_is_released_again_is_the_mark(history):
    first, verdict = history.judge(0.5)
    second, _ = history.judge(0.9)
    assert history.champion == second
    crown(history.bus, commit(history.bus, "release/batch-1/" + "e" * 16, {"model": [first]}), Diary())
    assert history.champion == first
    assert choose(history.bus, first) == verdict.inputs
    assert choose(history.bus, "model/batch-1/" + "c" * 16)["champion"] == [first]


def test_judging_the_champion_again_is_the_same_run(history):
    history.judge(0.5)
    history.judge(0.49)
    third, verdict = history.judge(0.495)
    assert choose(history.bus, third) == verdict.inputs
    _, weak = history.judge(0, model=third, champion=["model/batch-1/" + "0" * 16])
    assert weak.refused is None
    assert choose(history.bus, third) == verdict.inputs, "a comparison with somebody else changes nothing"


def test_the_first_champion_judged_again_is_the_same_run(history):
    first, verdict = history.judge(0.5)
    assert choose(history.bus, first) == verdict.inputs
    assert verdict.inputs["champion"] == verdict.inputs["best"] == []


def test_what_is_given_is_kept(history):
    first, _ = history.judge(0.5)
    second, _ = history.judge(0.49)
    challenger = "model/batch-1/" + "c" * 16
    assert choose(history.bus, challenger, champion=[second])["best"] == [first]
    assert choose(history.bus, challenger, champion=[first])["best"] == [second]
    assert choose(history.bus, challenger, best=[second])["best"] == [second]


def test_a_model_that_was_not_compared_with_the_best_passes_but_is_no_champion(history):
    history.judge(0.5)
    second, _ = history.judge(0.49)
    _, verdict = history.judge(0.475, best=[second])
    assert verdict.refused is None
    assert history.champion == second


def test_a_champion_set_by_hand_is_found_with_its_own_mark(history):
    first, _ = history.judge(0.5)
    second, _ = history.judge(0.49, batch="batch-2")
    history.judge(0.6, batch="batch-3")
    history.bus.move_ref(CHAMPION_REF, second)
    assert choose(history.bus, "model/batch-4/" + "c" * 16)["best"] == [first]


def test_models_that_are_gone_are_left_out_and_block_nobody(history):
    first, _ = history.judge(0.5)
    second, _ = history.judge(0.49)
    history.bus.delete([f"{first}/manifest.json"])
    assert choose(history.bus, "model/batch-1/" + "c" * 16)["best"] == []
    history.bus.delete([f"{second}/manifest.json"])
    assert choose(history.bus, "model/batch-1/" + "c" * 16)["champion"] == []
    third, verdict = history.judge(0.3)
    assert verdict.refused is None
    assert history.champion == third


def test_a_champion_without_a_verdict_has_no_mark(bus):
    model, other = "model/batch-1/" + "1" * 16, "model/batch-1/" + "2" * 16
    commit(bus, model)
    bus.move_ref(CHAMPION_REF, model)
    assert choose(bus, other)["champion"] == [model]
    assert choose(bus, other)["best"] == []


def test_a_model_is_not_compared_with_itself(bus):
    model = "model/batch-1/" + "1" * 16
    with pytest.raises(BadInput, match=f"input 'champion' is the model itself, {model}: name another, or none"):
        choose(bus, model, champion=[model])


def test_what_a_model_was_trained_on_is_its_own_dataset_while_that_is_there(bus):
    model, dataset = "model/batch-1/" + "1" * 16, "dataset/batch-1/" + "d" * 16
    commit(bus, model, inputs={"dataset": [dataset]})
    assert choose(bus, model)["trained_on"] == []
    commit(bus, dataset)
    assert choose(bus, model)["trained_on"] == [dataset]
    assert choose(bus, model, trained_on=["x"])["trained_on"] == ["x"]


# Withdrawn batches


def add_lineage(history, batch):
    """Commit frames of a batch and a dataset of them; return the references."""
    number = len(history.scores) + 100
    frames, dataset = f"frames/{batch}/{number:016x}", f"dataset/{batch}/{number:016x}"
    commit(history.bus, frames)
    commit(history.bus, dataset, {"frames": [frames]})
    return dataset


def judge_on(history, map_50, batch, **given):
    """Judge a new model that learned from a batch."""
    dataset = add_lineage(history, batch)
    model = f"model/{batch}/{len(history.scores):016x}"
    history.scores[model] = map_50
    commit(history.bus, model, {"dataset": [dataset]})
    return history.judge(map_50, batch, model, **given)


def withdraw(bus, batch):
    record(bus, batch, Event(action="withdraw", reason="shifted labels", by="ana", at=START))


def test_a_champion_that_learned_from_a_withdrawn_batch_is_no_standard_for_the_next(history):
    first, _ = judge_on(history, 0.5, "batch-1")
    second, _ = judge_on(history, 0.9, "batch-2")
    assert history.champion == second
    withdraw(history.bus, "batch-2")
    third, verdict = judge_on(history, 0.45, "batch-3")
    assert verdict.inputs["champion"] == []
    assert second not in verdict.inputs["best"]
    assert history.champion == third
    assert first != third


def test_a_verdict_whose_batch_was_withdrawn_while_it_was_made_promotes_nothing(history):
    first, _ = judge_on(history, 0.5, "batch-1")
    withdraw(history.bus, "batch-2")
    with pytest.raises(BadInput, match=r"^verdict/batch-2/.*: has withdrawn batch 'batch-2', withdrawn on .* by ana"):
        judge_on(history, 0.9, "batch-2")
    assert history.champion == first


def test_a_batch_that_is_withdrawn_while_its_model_is_promoted_fails_the_run_that_promotes(history, monkeypatch):
    first, _ = judge_on(history, 0.5, "batch-1")
    move = type(history.bus).move_ref

    def withdrawn_just_before(bus, name, target, expected=True):
        withdraw(bus, "batch-2")
        move(bus, name, target, expected)

    monkeypatch.setattr(type(history.bus), "move_ref", withdrawn_just_before)
    with pytest.raises(BadInput, match="has withdrawn batch 'batch-2'"):
        judge_on(history, 0.9, "batch-2")
    monkeypatch.undo()
    assert choose(history.bus, first)["champion"] == [], "whoever is champion then, nobody is compared with it"
