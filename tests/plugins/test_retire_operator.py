"""The task of the `retention` DAG: what it retires, says, and does when it may not."""

from types import SimpleNamespace

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge_airflow import connections
from sim2edge_airflow.operators import retire_operator
from sim2edge_airflow.operators.retire_operator import RetireOperator


@pytest.fixture
def world(monkeypatch):
    """A bucket with old artifacts, in the place of S3."""
    bus = Bus(MemoryStore())
    fill(bus, batches=12, trainings=6, devices=3)
    monkeypatch.setattr(retire_operator, "connect_bus_as", lambda role: bus)
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    return bus


def run(tmp_path, policy, **params):
    path = tmp_path / "retention.yml"
    path.write_text(policy)
    return RetireOperator(task_id="retire", policy=path).execute({"params": params})


MODELS = "kinds: {model: {last: 1}}"


def test_it_retires_what_the_policy_says_and_returns_the_bytes(world, tmp_path, monkeypatch):
    monkeypatch.setattr("sim2edge.retention.YOUNG", -retire_operator.datetime.resolution)
    before = {name for name in world.artifacts() if name.startswith("model/")}
    monkeypatch.setattr(RetireOperator, "dag_id", "retention")
    assert run(tmp_path, MODELS) > 0
    gone = before - set(world.artifacts())
    assert gone
    assert all(world.size(f"withdrawn/retired/{name}.json") for name in gone)
    with pytest.raises(AirflowSkipException, match="0 artifacts"):
        run(tmp_path, MODELS)


def test_a_dry_run_deletes_nothing(world, tmp_path, monkeypatch):
    monkeypatch.setattr("sim2edge.retention.YOUNG", -retire_operator.datetime.resolution)
    before = set(world.artifacts())
    with pytest.raises(AirflowSkipException, match=r"[1-9]\d* artifacts, .* would be retired"):
        run(tmp_path, MODELS, dry_run=True)
    assert set(world.artifacts()) == before


def test_a_policy_that_keeps_everything_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setattr(retire_operator, "connect_bus_as", lambda role: pytest.fail("connected"))
    with pytest.raises(AirflowSkipException, match="keeps everything"):
        run(tmp_path, "kinds: {}")


@pytest.mark.parametrize(("policy", "params"), [("kinds: {modell: {last: 1}}", {}), (MODELS, {"dryrun": True})])
def test_a_mistake_fails_for_good(world, tmp_path, policy, params):
    with pytest.raises(AirflowFailException, match=r"modell|dryrun"):
        run(tmp_path, policy, **params)


def test_it_works_with_the_keys_of_its_role_where_the_worker_has_them(tmp_path, monkeypatch):
    (tmp_path / "retention.env").write_text("AWS_ACCESS_KEY_ID=theirs\nAWS_SECRET_ACCESS_KEY=secret\n")
    monkeypatch.setenv("SIM2EDGE_CREDENTIALS", str(tmp_path))
    used = []
    monkeypatch.setattr(connections.Bus, "connect", staticmethod(lambda access: used.append(access)))
    connections.connect_bus_as("retention")
    assert used[0].credentials()["access_key_id"] == "theirs"
    assert used[0].source == "retention.env"
    monkeypatch.setattr(connections, "connect_bus", lambda: SimpleNamespace(name="the worker's"))
    assert connections.connect_bus_as("nobody").name == "the worker's"
