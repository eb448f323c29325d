"""The tasks that emit dropped events again, on a bus in memory and with Airflow's records as they read them."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from sim2edge.tombstone import Event as Decision
from sim2edge.withdrawal import record
from sim2edge_airflow.assets import EPISODES
from sim2edge_airflow.operators import reconcile_operators
from sim2edge_airflow.operators.reconcile_operators import FindDropped

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)


class Events(list):
    """The events of an asset as a task reads them."""

    def after(self, _):
        return self


@pytest.fixture
def look(bucket, monkeypatch):
    """Runs the task on events of batches; returns the batches whose events it would emit again."""
    monkeypatch.setattr(reconcile_operators, "connect_bus", lambda: bucket)

    def run(*batches, paused=False, queued=0, store=None, **extras):
        events = Events(
            SimpleNamespace(id=n, partition_key=b, timestamp=HOUR_AGO, extra=extras.get(b), created_dagruns=[])
            for n, b in enumerate(batches)
        )
        instance = SimpleNamespace(
            get_dag=lambda _: SimpleNamespace(is_paused=paused), get_dr_count=lambda *_, **__: queued
        )
        kept = {} if store is None else store
        states = defaultdict(lambda: SimpleNamespace(get=kept.get, set=kept.__setitem__))
        task = FindDropped(
            task_id="find_data_cleaning", asset=EPISODES, starts="data_cleaning", makes="frames", newest_only=False
        )
        context = Context(ti=instance, asset_state_store=states, inlet_events=defaultdict(lambda: events))
        return [each["batch"] for each in task.execute(context)]

    return run


def test_dropped_events_of_all_batches_are_returned(look):
    assert look("a", "b") == ["a", "b"]


def test_a_withdrawn_batch_is_left_alone(look, bucket):
    record(bucket, "b", Decision(action="withdraw", reason="bad labels", by="ana", at=datetime.now(UTC)))
    assert look("a", "b") == ["a"]
    with pytest.raises(AirflowSkipException, match="every event"):
        look("b")


def test_what_exists_already_is_not_made_again(look, bucket):
    frames = next(iter(bucket.artifacts("frames", "night-0003")))
    (episodes,) = bucket.open(frames).inputs["episodes"]
    with pytest.raises(AirflowSkipException, match="every event"):
        look("night-0003", **{"night-0003": {"reference": episodes}})
    assert look("night-0003", **{"night-0003": {"reference": "episodes/night-0003/0123456789abcdef"}}) == ["night-0003"]


@pytest.mark.parametrize("how", [{"paused": True}, {"queued": 1}])
def test_while_the_dag_is_paused_or_its_runs_are_queued_nothing_is_settled(look, how):
    store = {}
    with pytest.raises(AirflowSkipException):
        look("a", store=store, **how)
    assert store == {}
    assert look("a", store=store) == ["a"]
    assert store[reconcile_operators.SETTLED] <= HOUR_AGO.isoformat(), "it is read again until it has started its run"
