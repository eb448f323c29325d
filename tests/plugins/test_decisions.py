"""Decisions about batches and the fleet, on the pages and in the tasks that carry them out."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.models.dagrun import DagRun
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException
from airflow.utils.session import create_session
from obstore.store import MemoryStore
from page_visitor import WHY, send, token_of
from sqlalchemy import select
from withdrawn_world import BATCH, build

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.tombstone import Event
from sim2edge.withdrawal import read_tombstone, record
from sim2edge_airflow.operators import withdraw_operator
from sim2edge_airflow.operators.ring_operator import check
from sim2edge_airflow.operators.withdraw_operator import ERASE_PARAMS, WITHDRAW_PARAMS, WithdrawOperator
from sim2edge_airflow.pages.acting import form_guard


@pytest.fixture
def bucket():
    """A bucket in which two devices and the rings canary and stable have models of the batch."""
    return Bus(MemoryStore())


@pytest.fixture
def world(bucket):
    return build(bucket)


def runs(dag_id):
    with create_session() as session:
        return list(session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id)))


def mark(bus, action="withdraw"):
    record(bus, BATCH, Event(action=action, reason=WHY, by="ana", at=datetime.now(UTC)))


# On the pages


def test_a_withdrawal_names_what_has_the_batch_before_it_is_confirmed(person, world):
    client = person("user")
    page = client.get(f"/sim2edge/actions/withdraw?batch={BATCH}").text
    for name in (world["model-3"], world["release-4"], "Rings", "Devices that have", "nothing new is made from it"):
        assert name in page, name
    assert f"/sim2edge/artifacts/{world['model-3']}" in page
    answer = send(client, f"withdraw?batch={BATCH}&retrain=yes")
    assert answer.status_code == 303
    (run,) = runs("withdraw_batch")
    assert (run.partition_key, run.triggering_user_name) == (BATCH, "user")
    assert run.conf == {"action": "withdraw", "reason": WHY, "retrain": True}


def test_what_is_withdrawn_is_lifted_or_erased_and_not_withdrawn_again(person, world, bucket):
    mark(bucket)
    client = person("user")
    assert "Lift the withdrawal" in client.get(f"/sim2edge/batches/{BATCH}").text
    assert "by ana: the new hall" in client.get(f"/sim2edge/actions/withdraw?batch={BATCH}").text
    assert send(client, f"lift?batch={BATCH}").status_code == 303
    assert runs("withdraw_batch")[0].conf == {"action": "lift", "reason": WHY}


def test_an_erasure_needs_the_batch_typed_and_waits_for_the_fleet(person, world, bucket):
    assert "withdraw it first" in person("user").get(f"/sim2edge/actions/erase?batch={BATCH}").text
    mark(bucket)
    client = person("user")
    assert "In use: " in client.get(f"/sim2edge/actions/erase?batch={BATCH}").text
    in_use = send(client, "erase", form_guard.make_token("user", "erase", {"batch": BATCH}), typed=BATCH)
    assert in_use.status_code == 409
    action = f"erase?batch={BATCH}&keep_models=yes"
    wrong = send(client, action, typed="lab-3")
    assert (wrong.status_code, f"expected &#39;{BATCH}&#39;" in wrong.text) == (400, True)
    assert runs("erase_batch") == []
    assert send(client, action, typed=BATCH).status_code == 303
    assert runs("erase_batch")[0].conf == {"confirm": BATCH, "reason": WHY, "keep_models": True}


def test_what_was_erased_offers_nothing_more(person, world, bucket):
    mark(bucket)
    mark(bucket, "erase")
    client = person("user")
    assert "/actions/" not in client.get(f"/sim2edge/batches/{BATCH}").text
    assert "that is final" in client.get(f"/sim2edge/actions/lift?batch={BATCH}").text


def test_a_ring_goes_back_to_what_it_had(person, world, bucket):
    client = person("user")
    devices = client.get("/sim2edge/devices").text
    assert "Back to " in devices
    release, rollout = world["release-1"], bucket.read_ref("refs/rings/canary").target
    action = f"move-ring?ring=canary&release={release}&expected={rollout}"
    page = client.get(f"/sim2edge/actions/{action}").text
    assert f"{release} is signed into the update repository for ring canary, which has " in page
    assert send(client, action).status_code == 303
    (run,) = runs("fleet_change")
    assert run.conf == {"release": release, "ring": "canary", "expected": rollout, "reason": WHY}
    assert run.partition_key == release.split("/")[1]


def test_a_ring_that_has_moved_since_its_page_was_shown_is_not_moved(person, world, bucket):
    client = person("user")
    action = f"move-ring?ring=canary&release={world['release-1']}&expected={world['rollout-1']}"
    assert "has moved to" in client.get(f"/sim2edge/actions/{action}").text
    given = {"ring": "canary", "release": world["release-1"], "expected": world["rollout-1"]}
    assert send(client, "move-ring", form_guard.make_token("user", "move-ring", given)).status_code == 409
    assert runs("fleet_change") == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("move-ring?ring=Not a ring&release=release/b/0123456789abcdef", "ring"),
        ("move-ring?ring=canary&release=model/b/0123456789abcdef", "not the reference of a release"),
        ("move-ring?ring=canary&release=../../x", "x"),
        ("withdraw-release?release=release/b", "release/b"),
        ("add-device?device=Pi&ring=canary", "device: &#39;Pi&#39;"),
        ("add-device?device=a;reboot&ring=canary", "expected a-z"),
    ],
)
def test_what_is_no_ring_release_or_device_is_one_line(person, world, query, says):
    answer = person("admin").get(f"/sim2edge/actions/{query}")
    assert (answer.status_code, says in answer.text) == (400, True)


def test_a_release_is_withdrawn_from_every_ring_that_offers_it(person, world, bucket):
    client = person("user")
    now = bucket.open(bucket.read_ref("refs/rings/canary").target).inputs["release"][0]
    token = token_of(client, f"withdraw-release?release={now}")
    for _ in range(2):
        assert send(client, "withdraw-release", token).headers["location"] == "/sim2edge/devices"
    found = runs("fleet_change")
    assert "canary" in {run.conf["ring"] for run in found}
    assert len({run.conf["ring"] for run in found}) == len(found)
    assert now not in {run.conf["release"] for run in found}


def test_a_device_is_added_by_commands_and_no_key_is_shown(person, world):
    page = person("viewer").get("/sim2edge/actions/add-device?device=pi-9&ring=stable").text
    assert "sim2edge device enrol --id pi-9" in page
    assert "AWS_SECRET" not in page
    assert 'method="post"' not in page


# In the tasks


@pytest.fixture
def execute(world, bucket, monkeypatch):
    """Run the task of `withdraw_batch` or `erase_batch`: `execute("erase", confirm=BATCH)`."""
    monkeypatch.setattr(withdraw_operator, "connect_bus_as", lambda role: bucket)
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)

    def run(role, batch=BATCH, **given):
        defaults = ERASE_PARAMS if role == "erase" else WITHDRAW_PARAMS
        params = {name: param.value for name, param in defaults.items()} | {"reason": WHY} | given
        run = SimpleNamespace(partition_key=batch, triggering_user_name="ann")
        return WithdrawOperator(task_id="t", role=role).execute({"dag_run": run, "params": params})

    return run


def test_the_user_of_the_run_has_decided_it(execute, bucket):
    assert execute("withdraw")[0] == f"withdrawn: {WHY}"
    assert (read_tombstone(bucket, BATCH)[0].last.by, execute("withdraw")[0]) == ("ann", f"withdrawn: {WHY}")
    assert execute("withdraw", action="lift") == [f"lifted by ann: {WHY}"]
    assert len(read_tombstone(bucket, BATCH)[0].events) == 2


def test_it_erases_what_was_confirmed(execute, bucket, world):
    with pytest.raises(AirflowFailException, match=f"confirm: expected '{BATCH}'"):
        execute("erase", confirm="lab-3")
    with pytest.raises(AirflowFailException, match="roll-back first"):
        execute("erase", confirm=BATCH)
    assert "erased: " in execute("erase", confirm=BATCH, keep_models=True)[-1]
    assert read_tombstone(bucket, BATCH)[0].erased


@pytest.mark.parametrize(
    ("given", "says"), [({"batch": None}, "no partition key"), ({"batch": "nobody-1"}, "nothing of it")]
)
def test_a_mistake_fails_for_good(execute, given, says):
    with pytest.raises(AirflowFailException, match=says):
        execute("withdraw", **given)
    with pytest.raises(AirflowFailException, match="is not one of"):
        execute("withdraw", raeson="x")


def test_a_ring_is_checked_before_it_moves(world, bucket):
    release = world["release-1"]
    batch, now = release.split("/")[1], bucket.read_ref("refs/rings/canary").target
    right = {"release": release, "ring": "canary", "expected": now, "reason": WHY}
    check(bucket, right, batch)
    check(bucket, right | {"expected": ""}, batch)
    for wrong, says in (
        ({"reason": " "}, "reason: missing"),
        ({"release": world["model-1"]}, "is not release/"),
        ({"expected": world["rollout-1"]}, "ring canary has moved to"),
    ):
        with pytest.raises(BadInput, match=says):
            check(bucket, right | wrong, batch)
    with pytest.raises(BadInput, match="the run's partition key names it"):
        check(bucket, right, "another")
