"""What `register` emits, says, and does when it cannot; what Airflow is asked."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset, Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
)
from airflow.sdk.execution_time.comms import ErrorResponse

from sim2edge.arrivals import Report, Survey
from sim2edge.errors import BadInput, Unavailable
from sim2edge_airflow.operators import register_operator
from sim2edge_airflow.operators.register_operator import MAX_LINES, Ledger, RegisterOperator

DELIVERY = Asset("delivery")
NOTHING = Report(registered=[], refused=[], incomplete={}, taken_over={}, left=0)


@pytest.fixture
def register(monkeypatch):
    """Runs the operator with a report, or an error, in the place of S3; what it emitted, and the lines of its log."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setattr(register_operator.Bus, "from_environment", lambda: None)

    def run(report, paused=False, survey=None, params=()):
        def answer(*_, **__):
            if isinstance(report, Exception):
                raise report
            return report

        monkeypatch.setattr(register_operator.arrivals, "register", answer)
        monkeypatch.setattr(register_operator.arrivals, "survey", lambda _bus, **_: survey or Survey())
        operator = RegisterOperator(task_id="register", outlet=DELIVERY, starts="ingest_batch")
        emitted = []
        context = Context(
            ti=SimpleNamespace(
                get_dag=lambda dag: SimpleNamespace(is_paused=paused), dag_id="watch_inbox", max_tries=0
            ),
            dag_run=SimpleNamespace(run_id="r1"),
            params=dict.fromkeys(params),
            task=operator,
            outlet_events={DELIVERY: SimpleNamespace(add_partitions=emitted.extend)},
            inlet_events={DELIVERY: []},
        )
        lines = []
        monkeypatch.setattr(
            RegisterOperator,
            "log",
            SimpleNamespace(
                info=lambda text, *words: lines.append(text % words),
                warning=lambda text, *words: lines.append("WARNING " + text % words),
            ),
        )
        run.lines, run.emitted = lines, emitted
        return operator.execute(context)

    return run


def test_each_batch_is_a_partition_and_a_line(register):
    report = Report(["a", "b"], ["inbox/'X': not a batch id: ignored"], {}, {"b": "r0"}, 3)
    assert register(report) == ["a", "b"]
    assert register.emitted == ["a", "b"]
    assert register.lines == [
        "registered a",
        "registered b, which r0 had claimed and lost",
        "WARNING refused inbox/'X': not a batch id: ignored",
        "3 more batches are complete: the next run registers them",
    ]


def test_nothing_new_is_skipped_and_emits_nothing(register):
    with pytest.raises(AirflowSkipException, match="no new batch"):
        register(NOTHING)
    assert register.emitted == []


def test_an_incomplete_batch_is_named_and_one_that_stays_so_is_warned_of(register):
    now = datetime.now(UTC)
    late = {"fresh": now - timedelta(minutes=5), "stuck": now - timedelta(hours=3)}
    with pytest.raises(AirflowSkipException):
        register(Report([], [], late, {}, 0))
    assert register.lines == [
        "WARNING overdue inbox/stuck: no READY.json, and nothing was written for 180 minutes",
        "incomplete inbox/fresh: no READY.json, and nothing was written for 5 minutes",
    ]


def test_strangers_cannot_fill_the_log(register):
    with pytest.raises(AirflowSkipException):
        register(Report([], [f"line {number}" for number in range(1000)], {}, {}, 0))
    assert len(register.lines) == MAX_LINES + 1
    assert register.lines[-1] == "WARNING and 950 more refused or incomplete batches"


def test_incomplete_batches_that_nobody_was_asked_of_are_counted(register):
    with pytest.raises(AirflowSkipException):
        register(Report([], [], {}, {}, 0, more_incomplete=7))
    assert register.lines == ["WARNING and 7 more refused or incomplete batches"]


def test_a_run_that_is_told_something_says_that_it_takes_nothing(register):
    with pytest.raises(AirflowFailException, match=r"conf 'batch': this DAG takes no conf"):
        register(AssertionError("not to be called"), params=["batch"])


def test_nothing_is_registered_for_a_paused_dag_which_would_never_run_it(register):
    with pytest.raises(AirflowSkipException, match="ingest_batch is paused: 1 complete batches wait for it"):
        register(AssertionError("not to be called"), paused=True, survey=Survey({"a": "0" * 64}))
    assert register.emitted == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [(BadInput("keys refused"), AirflowFailException), (Unavailable("no answer"), AirflowException)],
)
def test_what_cannot_be_helped_fails_and_what_may_pass_is_tried_again(register, error, raised):
    with pytest.raises(raised, match=str(error)) as caught:
        register(error)
    assert type(caught.value) is raised


def make_ledger(task, events, run="r9"):
    context = {
        "ti": task,
        "task": SimpleNamespace(retries=2),
        "dag_run": SimpleNamespace(run_id=run),
        "inlet_events": {DELIVERY: events},
    }
    return Ledger(context, DELIVERY, "ingest_batch")


class Broken:
    """What Airflow answers while a run that an event started is queued."""

    def after(self, since):
        raise AirflowRuntimeError(ErrorResponse())


@pytest.mark.parametrize(("run", "max_tries", "known"), [("r1", 2, set()), ("r1", 5, None), ("r0", 2, None)])
def test_a_retry_knows_that_its_run_gave_no_event_and_of_others_it_may_not_be_told(run, max_tries, known):
    for queued in (0, 1):
        task = SimpleNamespace(dag_id="watch_inbox", max_tries=max_tries, get_dr_count=lambda *_, n=queued, **__: n)
        assert make_ledger(task, Broken(), "r1").registered(run, datetime.now(UTC)) == known


class Events(list):
    def after(self, since):
        assert datetime.fromisoformat(since)
        return self


def test_the_ledger_counts_the_events_of_the_run_and_no_others():
    events = Events(
        SimpleNamespace(source_run_id=run, partition_key=key) for run, key in (("r1", "a"), ("r2", "b"), ("r1", None))
    )
    counted = []

    def count(dag_id, run_ids=None, states=()):
        if dag_id == "ingest_batch":
            return 0
        counted.append((dag_id, run_ids, states))
        return int(run_ids == ["r2"])

    task = SimpleNamespace(dag_id="watch_inbox", get_dr_count=count, max_tries=2)
    ledger = make_ledger(task, events)
    assert ledger.registered("r1", datetime.now(UTC)) == {"a"}
    assert ledger.has_ended("r1")
    assert not ledger.has_ended("r2")
    assert counted[0] == ("watch_inbox", ["r1"], ["queued", "running"])
