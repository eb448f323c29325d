"""The DAGs under Airflow's own scheduler, API server and executor, with a real S3 server; the stages are stand-ins.

    .venvs/airflow/bin/python -m pytest -m slow tests/dags/test_scheduler.py

It takes some minutes: a worker that was killed is only missed after `[scheduler] task_instance_heartbeat_timeout`.
"""

import json
import os
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sim2edge.bus import Bus
from sim2edge.demo.airflow_client import AirflowClient
from sim2edge.stack.client import Stack
from sim2edge.stack.ports import free_ports
from sim2edge.stack.settings import StackSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FAKE_STAGE = Path(__file__).parents[1] / "plugins" / "fake_stage.py"
DAGS = ("sim_capture", "data_cleaning", "retrain", "train_model", "release_model")


class Airflow:
    """A running stack, as a user and a saboteur see it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        login = stack.logins()["airflow"]
        self.client = AirflowClient(login.url, login.user, login.password)
        self.secret = stack.logins()["s3"].password
        self.folder = folder
        self.airflow_home = Path(stack.home) / "airflow"

    def behave(self, **how: str) -> None:
        (self.folder / "behaviours.json").write_text(json.dumps(how))

    def trigger(self, dag: str, partition: str, **conf: Any) -> str:
        return self.client.trigger(dag, partition, conf)

    def run(self, dag: str, partition: str) -> str:
        """The newest run of a DAG for a batch, once there is one."""
        return wait_for(lambda: [run["dag_run_id"] for run in self.client.runs(dag, partition)][:1], 60)[0]

    def task(self, dag: str, run: str, task: str) -> dict[str, Any]:
        return self.client.tasks(dag, run)[task]

    def ended(self, dag: str, run: str, task: str, seconds: float = 60) -> dict[str, Any]:
        """The task instance, once it has ended for good."""

        def look() -> dict[str, Any] | None:
            found = self.task(dag, run, task)
            return found if found["state"] in ("success", "failed", "skipped", "upstream_failed") else None

        return wait_for(look, seconds)

    def state_of_run(self, dag: str, partition: str, run: str) -> str:
        def look() -> str | None:
            (state,) = [each["state"] for each in self.client.runs(dag, partition) if each["dag_run_id"] == run]
            return state if state in ("success", "failed") else None

        return wait_for(look, 60)

    def log(self, dag: str, run: str, task: str, attempt: int = 1) -> str:
        return "\n".join(self.client.log(dag, run, task, attempt))

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.client._call(method, f"/api/v2/{path}", body)

    def hanging_stage(self) -> list[int]:
        """The processes of a stage that hangs, once it does."""
        path = self.folder / "pids.json"
        pids: list[int] = wait_for(lambda: json.loads(path.read_text()) if path.exists() else None, 60)["pids"]
        path.unlink()
        return pids


def wait_for(look: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.3)
    return found


def are_gone(pids: list[int]) -> bool:
    return not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("scheduler")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_STAGE} "$@"\n')
    python.chmod(0o755)
    os.environ.update(FAKE_STAGE=str(folder / "behaviours.json"), FAKE_PIDS=str(folder / "pids.json"))
    ports = free_ports(2)
    settings = StackSettings(
        home=folder / "stack",
        s3_port=ports[0],
        airflow_port=ports[1],
        airflow_python=Path(sys.executable),
        stage_python=python,
        only=("s3", "airflow"),
        preset="demo",
    )
    stack = Stack(settings)
    stack.start(attached=True)
    try:
        os.environ.update(stack.environment())
        airflow = Airflow(stack, folder)
        airflow.behave()
        wait_for(lambda: {dag["dag_id"] for dag in airflow.call("GET", "dags")["dags"]}.issuperset(DAGS), 60)
        yield airflow
    finally:
        stack.stop()


def test_one_trigger_takes_a_batch_through_all_dags_with_its_settings(airflow):
    overrides = ["clean.only_successful=false"]
    airflow.trigger("sim_capture", "b1", preset="default", overrides=overrides)
    rollout = airflow.ended("release_model", airflow.run("release_model", "b1"), "push", 120)
    assert rollout["state"] == "success"
    events = {event["name"]: event for event in airflow.call("GET", "assets/events?limit=100")["asset_events"]}
    kinds = {"episodes", "frames", "dataset", "model", "verdict", "release", "rollout"}
    assert {name for name, event in events.items() if event["partition_key"] == "b1"} == {*kinds, "training"}
    for kind in kinds:
        assert events[kind]["extra"]["reference"].startswith(f"{kind}/b1/")
    for kind in (*kinds, "training"):
        extra = events[kind]["extra"]
        assert (extra["preset"], extra["overrides"]) == ("default", overrides)
    frames = Bus.from_environment().open(events["frames"]["extra"]["reference"])
    assert frames.config["only_successful"] is False


def test_the_second_time_every_stage_is_a_cache_hit_and_training_has_to_be_asked_for_by_hand(airflow):
    before = {run["dag_run_id"] for run in airflow.client.runs("release_model", "b1")}
    cleaned = {run["dag_run_id"] for run in airflow.client.runs("data_cleaning", "b1")}
    settings = {"preset": "default", "overrides": ["clean.only_successful=false"]}
    airflow.trigger("sim_capture", "b1", **settings)
    again = wait_for(
        lambda: {run["dag_run_id"] for run in airflow.client.runs("data_cleaning", "b1")} - cleaned, 120
    ).pop()
    assert airflow.ended("data_cleaning", again, "request_training")["state"] == "success"
    assert airflow.client.result("data_cleaning", again, "request_training") is None
    airflow.trigger("train_model", "b1", **settings)
    new = wait_for(
        lambda: {run["dag_run_id"] for run in airflow.client.runs("release_model", "b1")} - before, 120
    ).pop()
    airflow.ended("release_model", new, "push")
    for dag, task in (("sim_capture", "capture"), ("train_model", "train"), ("release_model", "push")):
        run = airflow.run(dag, "b1")
        assert airflow.task(dag, run, task)["rendered_fields"]["outcome"] == "cache hit: saved 12.5 s, 0.0 MB"
        assert "saved 12.5 s" in airflow.log(dag, run, task)


def test_the_link_of_a_task_opens_the_page_of_its_artifact(airflow):
    run = airflow.run("sim_capture", "b1")
    path = f"dags/sim_capture/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances/capture/links"
    link = airflow.call("GET", path)["extra_links"]["Artifact"]
    assert httpx.get(link).status_code == 401
    page = httpx.get(link, headers={"Authorization": f"Bearer {airflow.client._token}"}).text
    assert airflow.client.result("sim_capture", run, "capture") in page
    assert "deprecated" not in airflow.log("sim_capture", run, "capture")


def test_an_override_of_a_run_by_hand_reruns_its_stage_and_what_is_below(airflow):
    run = airflow.trigger("train_model", "b1", preset="default", overrides=["train.epochs=2"])
    airflow.ended("train_model", run, "validate")
    outcomes = {
        task: airflow.task("train_model", run, task)["rendered_fields"]["outcome"] for task in ("augment", "train")
    }
    assert outcomes == {"augment": "cache hit: saved 12.5 s, 0.0 MB", "train": "made"}


def test_a_refused_model_is_skipped_not_failed_and_starts_nothing(airflow):
    airflow.behave(validate="refuse")
    run = airflow.trigger("train_model", "b6", overrides=["train.epochs=1"])
    assert airflow.ended("train_model", run, "validate")["state"] == "skipped"
    assert airflow.state_of_run("train_model", "b6", run) == "success"
    assert "REFUSED verdict/b1/" in airflow.log("train_model", run, "validate")
    path = f"dags/train_model/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances/validate/xcomEntries/refused"
    assert "floor_accuracy" in str(airflow.call("GET", path)["value"])
    airflow.behave()
    time.sleep(3)
    assert airflow.client.runs("release_model", "b6") == []


def test_bad_input_fails_at_once_and_a_crash_is_tried_again(airflow):
    run = airflow.trigger("sim_capture", "b2", overrides=["capture.nonsense=1"])
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("failed", 1)
    airflow.behave(capture="crash")
    run = airflow.trigger("sim_capture", "b2")
    wait_for(lambda: airflow.task("sim_capture", run, "capture")["state"] == "up_for_retry", 60)
    airflow.behave()
    ended = airflow.ended("sim_capture", run, "capture")
    assert (ended["state"], ended["try_number"]) == ("success", 2)


def test_no_secret_is_shown_even_when_a_stage_prints_it(airflow):
    airflow.behave(capture="tell secrets")
    run = airflow.trigger("sim_capture", "b3")
    airflow.ended("sim_capture", run, "capture")
    airflow.behave()
    assert "key is ***" in airflow.log("sim_capture", run, "capture")
    logs = [path.read_text(errors="replace") for path in (airflow.airflow_home / "logs").rglob("*.log")]
    assert not [log for log in logs if airflow.secret in log]
    assert airflow.secret not in json.dumps(airflow.task("sim_capture", run, "capture"))


def test_a_task_that_is_marked_failed_takes_its_stage_with_it(airflow):
    airflow.behave(capture="hang")
    run = airflow.trigger("sim_capture", "b4")
    pids = airflow.hanging_stage()
    path = f"dags/sim_capture/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances/capture"
    airflow.call("PATCH", path, {"new_state": "failed"})
    wait_for(lambda: are_gone(pids), 60)
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
    wait_for(lambda: are_gone([*pids, guard.pid, task.pid]), 30)
    ended = airflow.ended("sim_capture", run, "capture", 240)
    assert (ended["state"], ended["try_number"]) == ("success", 2)


def test_a_backfill_makes_a_batch_a_day(airflow):
    body = {"dag_id": "sim_capture", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"}
    airflow.call("POST", "backfills", {**body, "dag_run_conf": {"preset": "demo"}, "max_active_runs": 2})
    for day in ("2026-01-01", "2026-01-02"):
        assert airflow.ended("data_cleaning", airflow.run("data_cleaning", day), "clean", 120)["state"] == "success"
