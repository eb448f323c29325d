"""What is confirmed on a page happens: runs of the real scheduler, with the S3 roles of their DAGs.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_actions_scheduler.py
"""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from airflow_stack import RunningAirflow, quote, running_airflow, wait_for

from sim2edge.bus import Bus
from sim2edge.errors import Erased
from sim2edge.hold import EXCEPT
from sim2edge.tombstone import tombstone_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TOKEN = re.compile(r'name="token" value="([^"]+)"')
WHY = "labels are shifted"
BATCH = "farm-1"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    with running_airflow(tmp_path_factory.mktemp("actions")) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def bus(airflow) -> Bus:
    """The bucket, with the admin's keys."""
    return Bus.from_environment()


def act(airflow: RunningAirflow, action: str, *, to_type: str = "") -> str:
    """Confirm an action on its page once it may be done; the path of the page that it leads to."""
    form = wait_for(lambda: TOKEN.search(airflow.page(f"actions/{action}")), f"the form of {action}")
    answer = httpx.post(
        f"{airflow.url}/sim2edge/actions/{action.partition('?')[0]}",
        data={"token": form[1], "reason": WHY, "typed": to_type},
        headers={"Authorization": f"Bearer {airflow.client._token}", "Origin": airflow.url},
        timeout=60,
    )
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def run_of(path: str) -> tuple[str, str]:
    """DAG and run of a run's page."""
    _, _, _, dag, run = path.split("/")
    return dag, httpx.URL(f"http://x/{run}").path.removeprefix("/")


def does(airflow: RunningAirflow, action: str, task: str, *, to_type: str = "") -> str:
    """Confirm an action whose run has one task; the run, once it has succeeded."""
    dag, run = run_of(act(airflow, action, to_type=to_type))
    assert airflow.ended(dag, run, task)["state"] == "success", airflow.log(dag, run, task)
    return run


@pytest.fixture(scope="module")
def release(airflow) -> str:
    """A batch that was captured from the page, and the release of the model that learned from it."""
    does(airflow, f"capture?batch={BATCH}&preset=demo", "capture")
    run = airflow.run("release_model", BATCH)
    assert airflow.ended("release_model", run, "push")["state"] == "success"
    return str(airflow.client.result("release_model", run, "export"))


def test_the_run_says_who_started_it_and_why(airflow, release):
    (run,) = airflow.client.runs("sim_capture", BATCH)
    assert (run["triggering_user_name"], run["note"]) == ("admin", f"admin: {WHY}")
    (entry,) = airflow.call("GET", f"eventLogs?event={quote('sim2edge: start sim_capture')}")["event_logs"]
    assert (entry["owner"], entry["run_id"], json.loads(entry["extra"])["reason"]) == ("admin", run["dag_run_id"], WHY)


def test_a_ring_moves_to_the_release_and_not_if_it_has_moved_meanwhile(airflow, bus, release):
    run = does(airflow, f"move-ring?ring=stable&release={release}", "push")
    rollout = bus.open(str(airflow.client.result("fleet_change", run, "push")))
    assert rollout.config["ring"] == "stable"
    assert rollout.inputs == {"release": [release]}
    conf = {"release": release, "ring": "other", "expected": rollout.reference, "reason": WHY}
    late = airflow.trigger("fleet_change", BATCH, **conf)
    assert airflow.ended("fleet_change", late, "push")["state"] == "failed"
    airflow.log("fleet_change", late, "push", "ring other has moved to nothing since")


def test_what_is_missing_is_answered_at_once(airflow, release):
    url = "api/v2/dags/{}/dagRuns"
    for dag, conf, says in (
        ("fleet_change", {"release": release, "ring": "stable"}, "conf 'reason': missing"),
        ("withdraw_batch", {"action": "withdraw"}, "conf 'reason': missing"),
        ("withdraw_batch", {"reson": "x"}, "conf 'reson' is not one of"),
    ):
        body = {"logical_date": None, "partition_key": BATCH, "conf": conf}
        answer = airflow.ask("POST", url.format(dag), body)
        assert (answer.status_code, says in answer.text) == (422, True), answer.text


def test_a_batch_is_withdrawn_lifted_and_erased_by_the_roles_of_these_dags(airflow, bus, release):
    run = does(airflow, f"withdraw?batch={BATCH}&retrain=yes", "withdraw")
    mark = json.loads(bus.get(tombstone_key(BATCH)))
    assert [(each["action"], each["by"], each["reason"]) for each in mark["events"]] == [("withdraw", "admin", WHY)]
    log = airflow.log("withdraw_batch", run, "withdraw", release)
    assert f"batch '{BATCH}' was withdrawn" in log
    assert bus.list("retrain/open") or bus.list("retrain/trainings")
    body = {"logical_date": None, "partition_key": BATCH, "conf": {}}
    refused = airflow.ask("POST", "api/v2/dags/data_cleaning/dagRuns", body)
    assert (refused.status_code, WHY in refused.text) == (409, True)

    airflow.page(f"batches/{BATCH}", "withdrawn", WHY, "Lift the withdrawal")
    does(airflow, f"lift?batch={BATCH}", "withdraw")
    assert json.loads(bus.get(tombstone_key(BATCH)))["events"][-1]["action"] == "lift"

    airflow.page(f"batches/{BATCH}", "Withdraw</a>")
    does(airflow, f"withdraw?batch={BATCH}", "withdraw")
    airflow.page(f"batches/{BATCH}", "Erase</a>")
    episodes = next(iter(bus.artifacts("episodes", BATCH)))
    run = does(airflow, f"erase?batch={BATCH}&keep_models=yes", "erase", to_type=BATCH)
    assert "objects of" in airflow.log("erase_batch", run, "erase", "erased: ")
    manifest = bus.open(episodes)
    with pytest.raises(Erased, match=WHY):
        bus.check_not_erased(episodes)
    assert not [key for key in bus.list(episodes) if not key.endswith("manifest.json")]
    assert manifest.partition == BATCH
    bus.check_not_erased(release)


def test_the_system_is_held_and_goes_on(airflow):
    assert act(airflow, "hold") == "/sim2edge/flywheel"
    paused = airflow.call("GET", "dags?limit=100&paused=true")["dags"]
    assert {dag["dag_id"] for dag in paused} == airflow.dags() - {*EXCEPT}
    airflow.page("flywheel", f"by admin: {WHY}")
    assert act(airflow, "resume") == "/sim2edge/flywheel"
    assert airflow.call("GET", "dags?limit=100&paused=true")["dags"] == []


def test_what_failed_runs_again_in_the_same_run(airflow):
    airflow.behave(capture="bad input")
    dag, run = run_of(act(airflow, "capture?batch=farm-2&preset=demo"))
    assert airflow.ended(dag, run, "capture")["state"] == "failed"
    airflow.run_ended(dag, run)
    airflow.behave()
    airflow.page(f"runs/{dag}/{quote(run)}", "Run what failed again")
    assert run_of(act(airflow, f"retry?dag={dag}&run={quote(run)}")) == (dag, run)
    wait_for(lambda: airflow.task(dag, run, "capture")["state"] == "success", "the second try")
