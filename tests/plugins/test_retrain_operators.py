"""What the tasks around a retraining do, on a bus in memory; the scheduler's part is tests/dags/test_retraining.py."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

from sim2edge import retrain
from sim2edge.retrain import make_request, open_requests, submit
from sim2edge.retrain_decision import Policy
from sim2edge.tombstone import Event as Decision
from sim2edge.withdrawal import record
from sim2edge_airflow.operators import retrain_operators
from sim2edge_airflow.operators.retrain_operators import Decide, GiveBack, RequestTraining, StartTraining

FRAMES = "frames/b1/0123456789abcdef"
AT_ONCE = Policy(debounce_s=0)


class Event:
    """What a task says of an asset."""

    def __init__(self):
        self.partitions, self.extra = [], {}

    def add_partitions(self, key):
        self.partitions.append(key)


def context(runs=None, run=1, paused=False, **params):
    """The `run`-th run of a task's DAG with these params; `runs`: DAG to how many of its runs are going on."""
    moment = datetime(2026, 5, 4, 12, run, tzinfo=UTC)
    going_on = dict(runs or {})
    return {
        "dag_run": SimpleNamespace(
            dag_id="data_cleaning",
            run_id=f"r{run}",
            run_after=moment,
            triggering_user_name="eva",
            partition_key="b1",
            run_type="asset_triggered",
        ),
        "params": params,
        "ti": SimpleNamespace(
            get_dr_count=lambda dag_id, states: going_on.get(dag_id, 0),
            get_dag=lambda dag_id: SimpleNamespace(is_paused=paused and dag_id == "train_model"),
        ),
        "triggering_asset_events": {},
        "outlet_events": {Asset("training"): Event()},
    }


@pytest.fixture
def frames(bus, monkeypatch):
    """A batch that is clean, on the bus that the tasks see."""
    monkeypatch.setattr(retrain_operators.Bus, "from_environment", staticmethod(lambda: bus))
    monkeypatch.setattr(bus, "open", lambda reference: SimpleNamespace(summary={"frames": 563}))
    bus.move_ref("refs/frames/b1", FRAMES)
    return bus


def request_training(overrides=(), pipeline=None):
    task = RequestTraining(task_id="request_training", frames=FRAMES, pipeline=pipeline)
    return task.execute(context(preset="demo", overrides=list(overrides)))


def start(run=2, paused=False):
    told = context(run=run, paused=paused)
    task = StartTraining(task_id="start", outlets=[Asset("training")])
    return task.execute(told), told["outlet_events"][Asset("training")]


def look(policy=AT_ONCE, runs=None, paused=False, **params):
    told = context(runs, paused=paused, **{"kind": "manual", **params})
    return Decide(task_id="decide", policy=policy).poke(told)


def test_new_frames_ask_once_and_frames_that_were_learned_ask_for_nothing(frames):
    submitted = request_training()
    assert request_training() == submitted
    (request,) = open_requests(frames, datetime.now(UTC)).requests
    assert (request.id, request.batch, request.frames, request.preset) == (submitted, "b1", 563, "demo")
    assert request.reason == "batch b1: 563 frames"
    start()
    assert request_training() is None
    assert list(frames.list(retrain.OPEN)) == []


def test_other_settings_ask_again_and_so_do_the_first_ones_after_them(frames, tmp_path):
    ids = []
    for overrides in ([], ["augment.copies=3"], []):
        ids.append(request_training(overrides))
        start(len(ids))
    assert None not in ids
    assert len(set(ids)) == 3
    assert request_training(["clean.width=96"]) is None, "the frames say what clean did"
    pipeline = tmp_path / "train_model.yml"
    pipeline.write_text("stages: {train: {timeout_minutes: 9, overrides: [epochs=3]}}")
    assert request_training(pipeline=pipeline), "the deployment trains otherwise now"
    pipeline.write_text("stages: {train: {timeout_minutes: -9}}")
    with pytest.raises(AirflowFailException, match=r"train_model\.yml: stages\.train\.timeout_minutes"):
        request_training(pipeline=pipeline)


def test_a_wrong_override_fails_with_the_field(frames):
    with pytest.raises(AirflowFailException, match=r"augment\.nonsense: unknown key"):
        request_training(["augment.nonsense=1"])
    assert list(frames.list(retrain.OPEN)) == []


def test_a_training_starts_with_what_it_joins(frames):
    request_training()
    retrain.submit(frames, make_request("drift", "the lamps are new", {"day": "1"}, by="monitor"))
    training, event = start()
    assert event.partitions == ["b1"]
    assert event.extra["training"] == training
    assert event.extra["preset"] == "demo"
    assert [reason.partition(" (")[0] for reason in event.extra["reasons"]] == [
        "data: batch b1: 563 frames",
        "drift: the lamps are new",
    ]
    assert len(event.extra["requests"]) == 2


def test_a_second_try_starts_the_same_training_whatever_was_asked_meanwhile(frames):
    request_training()
    first, event = start()
    retrain.submit(frames, make_request("drift", "later", {"day": "2"}, by="monitor"))
    assert start()[0] == first
    assert start()[1].extra == event.extra
    assert len(open_requests(frames, datetime.now(UTC)).requests) == 1


def test_nothing_to_join_is_skipped(frames):
    with pytest.raises(AirflowSkipException):
        start()


def test_it_rests_waits_and_trains(frames):
    with pytest.raises(AirflowSkipException, match="no open requests"):
        look()
    request_training()
    with pytest.raises(AirflowSkipException, match="1 of 5 new batches"):
        look(Policy(new_batches=5))
    assert look() is True


def test_while_trainings_are_paused_requests_wait_and_none_is_lost(frames):
    request_training()
    with pytest.raises(AirflowSkipException, match="train_model is paused: 1 requests are pending"):
        look(paused=True)
    with pytest.raises(AirflowException, match="train_model is paused: unpause it, then clear this task") as caught:
        start(paused=True)
    assert not isinstance(caught.value, AirflowFailException), "it is tried again"
    assert len(open_requests(frames, datetime.now(UTC)).requests) == 1
    assert list(frames.list(retrain.TRAININGS)) == []
    assert look() is True
    assert start()[1].partitions == ["b1"]


def test_what_takes_long_is_waited_for_without_a_worker(frames, monkeypatch):
    monkeypatch.setattr(retrain_operators, "IN_PLACE_S", 0)
    request_training()
    told = context({"train_model": 1})
    told["ti"].get_first_reschedule_date = lambda _: None
    with pytest.raises(AirflowRescheduleException) as caught:
        Decide(task_id="decide", policy=AT_ONCE).execute(told)
    wait = caught.value.reschedule_date - datetime.now(UTC)
    assert timedelta(seconds=3) < wait < timedelta(seconds=21)


def test_a_run_that_waits_makes_way_for_the_next_which_sees_the_same(frames, monkeypatch):
    monkeypatch.setattr(retrain_operators, "IN_PLACE_S", 0)
    request_training()
    decide = Decide(task_id="decide", policy=AT_ONCE)
    monkeypatch.setattr(Decide, "dag_id", "retrain")
    with pytest.raises(AirflowSkipException, match="the next run takes over: a training is running"):
        decide.poke(context({"train_model": 1, "retrain": 1}))
    assert decide.poke(context({"retrain": 1})) is True
    assert decide.poke(context({"train_model": 1})) is False


def test_a_backfill_is_waited_for_until_no_run_turns_up_for_a_while(frames, monkeypatch):
    monkeypatch.setattr(retrain_operators, "IN_PLACE_S", 0)
    monkeypatch.setattr(retrain_operators, "CERTAIN_S", 0.3)
    monkeypatch.setattr(retrain_operators, "CERTAIN_STEP_S", 0.05)
    evidence, by = {"frames": FRAMES}, "data_cleaning"
    retrain.submit(frames, make_request("data", "new", evidence, by=by, batch="b1", frames=1, backfill=True))
    runs = iter([0, 0, 0, 0, 0, 0, 1, *[0] * 50])  # the run after the last turns up at the second look
    told = context()
    told["ti"].get_dr_count = lambda dag_id, states: 0 if dag_id == "train_model" else next(runs)
    decide = Decide(task_id="decide", policy=AT_ONCE)
    assert decide.poke(told) is False
    assert decide.poke(told) is True


def test_a_person_asks_by_the_params_of_the_run(frames):
    assert look(reason="new labels", now=True, overrides=["train.epochs=3"]) is True
    (request,) = open_requests(frames, datetime.now(UTC)).requests
    assert (request.kind, request.reason, request.by, request.now) == ("manual", "new labels", "eva", True)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"reason": "new\nlabels"}, r"reason: .*one line"),
        ({"reasn": "new labels"}, "conf 'reasn' is not one of: kind, now, overrides, preset, reason"),
        ({"reason": "dark", "kind": "drift", "now": True}, "now: only a request of kind manual"),
        ({"reason": "new labels", "overrides": ["train.nonsense=1"]}, r"train\.nonsense: unknown key"),
        ({"reason": "new labels", "preset": "missing"}, "preset 'missing' is not one of"),
        ({"now": True}, "conf 'now' without a reason"),
        ({"overrides": ["train.epochs=3"]}, "conf 'overrides' without a reason"),
        ({"kind": "drift", "reason": ""}, "conf 'kind' without a reason"),
    ],
)
def test_what_a_person_says_wrong_fails_the_run_and_asks_for_nothing(frames, params, problem):
    with pytest.raises(AirflowFailException, match=problem):
        look(**params)
    assert list(frames.list(retrain.OPEN)) == []


def test_a_run_that_nobody_told_anything_asks_for_nothing(frames):
    defaults = {name: param.value for name, param in retrain_operators.PARAMS.items()}
    with pytest.raises(AirflowSkipException, match="no open requests"):
        look(**defaults)


def test_what_no_training_can_have_is_left_alone_and_hinders_nobody(frames):
    hostile = make_request("drift", "x", {"d": 1}, by="m", overrides=["train.nonsense=1"])
    retrain.submit(frames, hostile)
    frames.put(f"{retrain.OPEN}/..%2f..%2fetc.json", b"{}")
    with pytest.raises(AirflowSkipException, match="no open requests"):
        look()
    request_training()
    assert look() is True
    assert len(start()[1].extra["requests"]) == 1
    assert len(list(frames.list(retrain.OPEN))) == 2


def test_frames_that_a_task_marked_as_success_has_not_left_are_one_line(frames):
    task = RequestTraining(task_id="request_training", frames=None)
    with pytest.raises(AirflowFailException, match="frames: the task upstream has left no artifact"):
        task.execute(context(preset="demo"))


def give_back(states, extra):
    told = context()
    told["ti"].get_task_states = lambda dag_id, run_ids: {run_ids[0]: states}
    told["triggering_asset_events"] = {Asset("training"): [SimpleNamespace(extra=extra)]}
    return GiveBack(task_id="give_back").execute(told)


def test_a_training_that_failed_gives_its_requests_back_and_one_that_did_not_keeps_them(frames):
    request_training()
    training, _ = start()
    for states, extra, says in (
        ({"augment": "success", "validate": "skipped"}, {"training": training}, "no task has failed"),
        ({"augment": "failed"}, {}, "the run has no requests to give back"),
    ):
        with pytest.raises(AirflowSkipException, match=says):
            give_back(states, extra)
        assert list(frames.list(retrain.OPEN)) == []
    again = give_back({"augment": "failed", "train": "upstream_failed"}, {"training": training})
    assert retrain.pending(frames) == set(again)
    assert len(again) == 1


# Withdrawn batches


def withdraw(bus, batch):
    event = Decision(action="withdraw", reason="shifted labels", by="ana", at=datetime(2026, 5, 4, tzinfo=UTC))
    record(bus, batch, event)


def test_no_training_is_requested_for_a_withdrawn_batch(frames):
    withdraw(frames, "b1")
    with pytest.raises(AirflowFailException, match=rf"^{FRAMES}: has withdrawn batch 'b1', withdrawn on .* by ana"):
        request_training()
    assert list(frames.list(retrain.OPEN)) == []


def test_a_training_learns_from_no_withdrawn_batch_and_drops_the_request_for_it(frames, capsys):
    other = "frames/b0/0123456789abcdef"
    frames.move_ref("refs/frames/b0", other)
    request_training()
    submit(frames, make_request("manual", "without it", {"n": 1}, by="ana"))
    withdraw(frames, "b1")
    training, event = start()
    found = retrain.find_training(frames, training)
    assert (found.frames, found.batch, event.partitions) == ((other,), "b0", ["b0"])
    assert [request.kind for request in found.requests] == ["manual"]
    said = capsys.readouterr().out
    assert "Dropped: request" in said
    assert "batch 'b1' was withdrawn on 2026-05-04 by ana: shifted labels" in said
    assert list(frames.list(retrain.OPEN)) == []


def test_with_every_batch_withdrawn_there_is_nothing_to_train_on(frames):
    submit(frames, make_request("manual", "please", {"n": 1}, by="ana"))
    withdraw(frames, "b1")
    with pytest.raises(AirflowSkipException, match="no frames to learn from"):
        look()
