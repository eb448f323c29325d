"""The DAGs under Airflow's own scheduler, API server and executor, with a real S3 server; the stages are stand-ins.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_scheduler.py
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from airflow_stack import RunningAirflow, quote, running_airflow, wait_for

from sim2edge.bus import Bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DAGS = ("sim_capture", "data_cleaning", "retrain", "train_model", "release_model")
OWN = {
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    with running_airflow(tmp_path_factory.mktemp("scheduler"), OWN, unpaused=DAGS) as airflow:
        yield airflow


def are_gone(pids: list[int]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return all(psutil.Process(pid).status() == "zombie" for pid in pids if psutil.pid_exists(pid))
    return False


def test_one_trigger_takes_a_batch_through_all_dags_with_its_settings(airflow):
    overrides = ["clean.only_successful=false"]
    airflow.trigger("sim_capture", "b1", preset="default", overrides=overrides)
    rollout = airflow.ended("release_model", airflow.run("release_model", "b1"), "push")
    assert rollout["state"] == "success"
    events = {event["name"]: event for event in airflow.call("GET", "assets/events?limit=100")["asset_events"]}
    kinds = {"episodes", "frames", "dataset", "model", "verdict", "release", "rollout"}
    assert {name for name, event in events.items() if event["partition_key"] == "b1"} == {*kinds, "training"}
    for kind in kinds:
        assert events[kind]["extra"]["reference"].startswith(f"{kind}/b1/")
    for kind in ("episodes", "frames"):
        extra = events[kind]["extra"]
        assert (extra["preset"], extra["overrides"]) == ("default", overrides)
    assert events["training"]["extra"]["preset"] == "default"
    assert (events["release"]["extra"]["preset"], events["release"]["extra"]["overrides"]) == ("demo", [])
    frames = Bus.from_environment().open(events["frames"]["extra"]["reference"])
    assert frames.config["only_successful"] is False


def test_the_second_time_every_stage_is_a_cache_hit_and_training_has_to_be_asked_for_by_hand(airflow):
    released, cleaned = airflow.runs("release_model"), airflow.runs("data_cleaning")
    settings = {"preset": "default", "overrides": ["clean.only_successful=false"]}
    airflow.trigger("sim_capture", "b1", **settings)
    again = airflow.new_run("data_cleaning", cleaned)["dag_run_id"]
    assert airflow.ended("data_cleaning", again, "request_training")["state"] == "success"
    assert airflow.client.result("data_cleaning", again, "request_training") is None
    airflow.trigger("train_model", "b1", preset="default")
    new = airflow.new_run("release_model", released)["dag_run_id"]
    airflow.ended("release_model", new, "push")
    for dag, task in (("sim_capture", "capture"), ("train_model", "train"), ("release_model", "push")):
        run = airflow.run(dag, "b1")
        assert airflow.outcome(dag, run, task) == "cached: saved 12.5 s, 0.0 MB"
        airflow.log(dag, run, task, "saved 12.5 s")


def test_the_link_of_a_task_opens_the_page_of_its_artifact(airflow):
    run = airflow.run("sim_capture", "b1")
    path = f"dags/sim_capture/dagRuns/{quote(run)}/taskInstances/capture/links"
    link = airflow.call("GET", path)["extra_links"]["Artifact"]
    assert httpx.get(link).status_code == 401
    assert link.startswith(f"{airflow.url}/sim2edge/")
    airflow.page(link.removeprefix(f"{airflow.url}/sim2edge/"), airflow.client.result("sim_capture", run, "capture"))
    assert "deprecated" not in airflow.log("sim_capture", run, "capture")


def test_an_override_of_a_run_by_hand_reruns_its_stage_and_what_is_below(airflow):
    run = airflow.trigger("train_model", "b1", preset="default", overrides=["train.epochs=2"])
    airflow.ended("train_model", run, "validate")
    outcomes = {task: airflow.outcome("train_model", run, task) for task in ("augment", "train")}
    assert outcomes == {"augment": "cached: saved 12.5 s, 0.0 MB", "train": "made"}


def test_a_refused_model_is_skipped_not_failed_and_starts_nothing(airflow):
    airflow.behave(validate="refuse")
    run = airflow.trigger("train_model", "b6", overrides=["train.epochs=1"])
    assert airflow.ended("train_model", run, "validate")["state"] == "skipped"
    assert airflow.run_ended("train_model", run)["state"] == "success"
    airflow.log("train_model", run, "validate", "REFUSED verdict/b1/")
    path = f"dags/train_model/dagRuns/{quote(run)}/taskInstances/validate/xcomEntries/refused"
    assert "floor_accuracy" in str(airflow.call("GET", path)["value"])
    airflow.behave()
    time.sleep(3)
    assert airflow.client.runs("release_model", "b6") == []


def test_bad_input_fails_at_once_and_a_crash_is_tried_again(airflow):
    airflow.behave(capture="bad input")
    run = airflow.trigger("sim_capture", "b2")
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("failed", 1)
    airflow.behave(capture="crash")
    run = airflow.trigger("sim_capture", "b2")
    airflow.log("sim_capture", run, "capture", "not a number")
    airflow.behave()
    ended = airflow.ended("sim_capture", run, "capture")
    assert ended["state"] == "success"
    assert ended["try_number"] > 1


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("ahead", "was planned, but this run makes"),
        ("other presets", "config field 'width' is 77"),
        ("commit nothing", "ended with exit code 0, but frames/"),
    ],
)
def test_a_stage_that_does_not_make_what_was_planned_is_red_and_nothing_follows(airflow, behaviour, says):
    batch = f"b7-{behaviour.replace(' ', '-')}"
    airflow.behave(clean=behaviour)
    airflow.trigger("sim_capture", batch)
    run = airflow.run("data_cleaning", batch)
    ended = airflow.ended("data_cleaning", run, "clean")
    assert (ended["state"], ended["try_number"]) == ("failed", 1)
    airflow.log("data_cleaning", run, "clean", says)
    assert airflow.ended("data_cleaning", run, "request_training")["state"] == "upstream_failed"
    airflow.behave()
    events = airflow.call("GET", "assets/events?limit=100")["asset_events"]
    assert {event["name"] for event in events if event["partition_key"] == batch} == {"episodes"}


def test_no_secret_is_shown_even_when_a_stage_prints_it(airflow):
    airflow.behave(capture="tell secrets")
    run = airflow.trigger("sim_capture", "b3")
    airflow.ended("sim_capture", run, "capture")
    airflow.behave()
    airflow.log("sim_capture", run, "capture", "key is ***")
    secret = airflow.stack.logins()["s3"].password
    logs = [path.read_text(errors="replace") for path in (airflow.home / "airflow" / "logs").rglob("*.log")]
    assert not [log for log in logs if secret in log]
    assert secret not in json.dumps(airflow.task("sim_capture", run, "capture"))


def test_the_log_of_a_running_task_is_shown_and_no_server_is_missed_and_marking_it_failed_takes_its_stage_with_it(
    airflow,
):
    airflow.behave(capture="hang")
    run = airflow.trigger("sim_capture", "b4")
    pids = airflow.hanging_stage()
    assert "Could not read" not in airflow.log("sim_capture", run, "capture", "episodes/b4/")
    airflow.mark_failed("sim_capture", run, "capture")
    wait_for(lambda: are_gone(pids), "the end of the stage")
    airflow.behave()


@pytest.mark.parametrize("victim", ["task", "worker"])
def test_a_killed_task_or_worker_leaves_nothing_and_the_retry_finishes(airflow, victim):
    airflow.behave(capture="hang")
    run = airflow.trigger("sim_capture", f"b5-{victim}")
    pids = airflow.hanging_stage()
    guard = psutil.Process(pids[0]).parent()
    task = guard.parent()
    worker = task.parent()
    airflow.behave()
    (task if victim == "task" else worker).kill()
    wait_for(lambda: are_gone([*pids, guard.pid, task.pid]), "the end of the stage")
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("success", 2)


def test_a_database_that_is_locked_while_a_task_ends_fails_no_task(airflow):
    """SQLite has one writer at a time. Airflow fails a task whose events it cannot write, once the lock is free."""
    run = airflow.trigger("sim_capture", "b6")
    path = airflow.home / "airflow" / "airflow.db"
    with contextlib.closing(sqlite3.connect(path, 30, isolation_level=None)) as other:
        result = "SELECT 1 FROM xcom WHERE run_id = ? AND key = 'return_value'"
        while not other.execute(result, (run,)).fetchone():  # the last thing written before the task's end
            time.sleep(0.005)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(7)
        other.execute("ROLLBACK")
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("success", 1)
    assert airflow.ended("data_cleaning", airflow.run("data_cleaning", "b6"), "clean")["state"] == "success"


def test_a_backfill_makes_a_batch_a_day(airflow):
    airflow.backfill("2026-01-01", "2026-01-02", dag_run_conf={"preset": "demo"}, max_active_runs=2)
    for day in ("2026-01-01", "2026-01-02"):
        assert airflow.ended("data_cleaning", airflow.run("data_cleaning", day), "clean")["state"] == "success"
