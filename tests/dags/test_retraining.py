"""Retraining under Airflow's own scheduler, with a real S3 server; the stages are stand-ins. In order, on one stack.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_retraining.py
"""

import contextlib
import json
import os
import re
import shutil
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sim2edge.bus import Bus
from sim2edge.demo.airflow_client import AirflowClient
from sim2edge.errors import Unavailable
from sim2edge.retrain import OPEN, ask, make_request, served_by
from sim2edge.stack.client import Stack
from sim2edge.stack.ports import free_ports
from sim2edge.stack.settings import StackSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CHECKOUT = Path(__file__).parents[2]
FAKE_STAGE = CHECKOUT / "tests" / "plugins" / "fake_stage.py"
DAGS = {"sim_capture", "data_cleaning", "retrain", "train_model", "release_model"}
COOLDOWN_S = 45
ENDED = ("success", "failed", "skipped", "upstream_failed")


class Airflow:
    """A running stack, as a user sees it."""

    def __init__(self, stack: Stack, behaviours: Path) -> None:
        login = stack.logins()["airflow"]
        self.client = AirflowClient(login.url, login.user, login.password)
        self._behaviours = behaviours

    def behave(self, **how: str) -> None:
        self._behaviours.write_text(json.dumps(how))

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.client._call(method, f"/api/v2/{path}", body)

    def trigger(self, dag: str, partition: str | None = None, **conf: Any) -> str:
        body = {"logical_date": None, "partition_key": partition, "conf": conf}
        return self.call("POST", f"dags/{dag}/dagRuns", body)["dag_run_id"]

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first."""
        return self.call("GET", f"dags/{dag}/dagRuns?order_by=run_after&limit=100")["dag_runs"]

    def new_run(self, dag: str, known: list[dict[str, Any]], seconds: float = 60) -> dict[str, Any]:
        """The first run of a DAG that was not there before."""
        return wait_for(lambda: self.runs(dag)[len(known) :], seconds)[0]

    def ended(self, dag: str, run: str, task: str, seconds: float = 60) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.client.tasks(dag, run)[task]
            return found if found["state"] in ENDED else None

        return wait_for(look, seconds)

    def answer(self, run: str, option: str) -> dict[str, Any]:
        """Answer `approve` of a run of `release_model`, once it asks; returns what it asked.

        Airflow asks again when it was answered before its scheduler had seen the task end its first half.
        """
        path = f"dags/release_model/dagRuns/{quote(run)}/taskInstances/approve/-1/hitlDetails"

        def state() -> str:
            return self.client.tasks("release_model", run)["approve"]["state"]

        def answered() -> bool:
            with contextlib.suppress(Unavailable):  # it was answered already
                self.call("PATCH", path, {"chosen_options": [option], "params_input": {}})
            time.sleep(3)
            return state() in ENDED

        wait_for(lambda: state() == "awaiting_input", 60)
        asked = self.call("GET", path)
        wait_for(answered, 120)
        return asked

    def log(self, dag: str, run: str, task: str) -> str:
        return "\n".join(self.client.log(dag, run, task, 1))

    def decided(self) -> str:
        """What every look of every run of `retrain` said."""
        runs = [run["dag_run_id"] for run in self.runs("retrain")]
        tries = {run: self.client.tasks("retrain", run)["decide"]["try_number"] for run in runs}
        return "\n".join(line for run in runs if tries[run] for line in self.looks(run, tries[run]))

    def looks(self, run: str, tries: int) -> list[str]:
        return [line for attempt in range(1, tries + 1) for line in self.client.log("retrain", run, "decide", attempt)]


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def wait_for(look: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.3)
    return found


def start(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["run_after"])


def make_root(folder: Path) -> Path:
    """A checkout whose deployment has a cool-down, and wants releases approved."""
    folder.mkdir()
    for name in ("plugins", "conf", "containers", "requirements.txt"):
        (folder / name).symlink_to(CHECKOUT / name)
    shutil.copytree(CHECKOUT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    recipe = folder / "dags" / "train_model.yml"
    recipe.write_text(change(recipe, r"cooldown_minutes: 0 ", f"cooldown_minutes: {COOLDOWN_S / 60} "))
    (folder / "airflow.cfg").write_text(
        change(CHECKOUT / "airflow.cfg", "release_approval = false", "release_approval = true")
    )
    return folder


def change(path: Path, old: str, new: str) -> str:
    text, count = re.subn(old, new, path.read_text())
    assert count == 1, old
    return text


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("retraining")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_STAGE} "$@"\n')
    python.chmod(0o755)
    before = dict(os.environ)
    os.environ.update(FAKE_STAGE=str(folder / "behaviours.json"), FAKE_PIDS=str(folder / "pids.json"))
    ports = free_ports(2)
    settings = StackSettings(
        home=folder / "stack",
        root=make_root(folder / "root"),
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
        airflow = Airflow(stack, folder / "behaviours.json")
        airflow.behave()
        wait_for(lambda: {dag["dag_id"] for dag in airflow.call("GET", "dags")["dags"]} >= DAGS, 60)
        yield airflow
    finally:
        stack.stop()
        os.environ.clear()
        os.environ.update(before)


def test_new_data_starts_a_training_and_an_approved_release_goes_out(airflow):
    airflow.trigger("sim_capture", "b1", overrides=["train.epochs=2"])
    training = airflow.new_run("train_model", [], 90)
    assert training["partition_key"] == "b1"
    assert "data: batch b1: 0 frames (data_cleaning)" in wait_for(lambda: airflow.runs("train_model")[0]["note"], 30)
    release = airflow.new_run("release_model", [])["dag_run_id"]
    asked = airflow.answer(release, "Approve")
    assert "**Release** `release/b1/" in asked["body"]
    assert "**Verdict** accepted `verdict/b1/" in asked["body"]
    assert airflow.ended("release_model", release, "push")["state"] == "success"


def test_ten_requests_at_once_are_one_training_after_the_cool_down_with_all_reasons(airflow):
    known, released = airflow.runs("train_model"), airflow.runs("release_model")
    bus = Bus.from_environment()
    kinds = ["drift", "degradation", "manual"]
    requests = [make_request(kinds[n % 3], f"reason number {n}", {"n": n}, by=f"asker {n}") for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda request: ask(bus, request), requests))
    training = airflow.new_run("train_model", known, 120)
    assert (start(training) - start(known[0])).total_seconds() > COOLDOWN_S - 2
    assert "wait: cool-down: 0." in airflow.decided()
    note = wait_for(lambda: airflow.runs("train_model")[1]["note"], 30)
    assert all(f"{kinds[n % 3]}: reason number {n} (asker {n})" in note for n in range(10))
    assert len({served_by(bus, request.id) for request in requests}) == 1
    assert list(bus.list(OPEN)) == []

    release = airflow.new_run("release_model", released, 90)["dag_run_id"]
    airflow.answer(release, "Reject")
    assert airflow.ended("release_model", release, "push")["state"] == "skipped"
    wait_for(lambda: airflow.runs("release_model")[1]["state"] == "success", 30)
    assert len(airflow.runs("train_model")) == 2


def test_a_person_asks_in_the_ui_and_does_not_wait_and_a_refused_model_starts_nothing(airflow):
    airflow.behave(validate="refuse")
    known, released = airflow.runs("train_model"), airflow.runs("release_model")
    airflow.trigger("retrain", reason="this one waits for the cool-down")
    airflow.trigger("retrain", reason="look at the new loss", now=True, overrides=["train.epochs=3"])
    trained = airflow.new_run("train_model", known)
    assert (start(trained) - start(known[1])).total_seconds() < COOLDOWN_S, "no wait"
    training = trained["dag_run_id"]
    assert airflow.ended("train_model", training, "validate", 90)["state"] == "skipped"
    note = airflow.runs("train_model")[-1]["note"]
    assert "manual: look at the new loss (admin)" in note
    assert "manual: this one waits for the cool-down (admin)" in note
    assert "validate of batch b1, preset demo" in airflow.log("train_model", training, "validate")
    airflow.behave()
    time.sleep(3)
    assert len(airflow.runs("release_model")) == len(released)


@pytest.mark.parametrize(
    ("conf", "field"),
    [
        ({"reason": "x" * 301}, "reason"),
        ({"reason": 7}, "reason"),
        ({"kind": "data"}, "kind"),
        ({"reason": "r", "now": "yes"}, "now"),
        ({"reason": "r", "overrides": ["<b>"]}, "overrides"),
    ],
)
def test_params_of_wrong_types_are_refused(airflow, conf, field):
    answer = airflow.client._call  # the API says no before there is a run
    with pytest.raises(Exception, match=f"(?s)40[0-9].*{field}"):
        answer("POST", "/api/v2/dags/retrain/dagRuns", {"logical_date": None, "conf": conf})


def test_a_hostile_reason_fails_with_one_line_and_the_next_run_is_well(airflow):
    run = airflow.trigger("retrain", reason="two\nlines")
    assert airflow.ended("retrain", run, "decide")["state"] == "failed"
    assert "request: reason: Value error, expected one line" in airflow.log("retrain", run, "decide")
    assert airflow.ended("retrain", airflow.trigger("retrain"), "decide")["state"] == "skipped"


def test_a_backfill_is_one_training_at_its_end_and_none_the_second_time(airflow):
    known = airflow.runs("train_model")
    body = {"dag_id": "sim_capture", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-04T00:00:00Z"}
    conf = {"overrides": ["train.epochs=4"]}
    airflow.call("POST", "backfills", {**body, "dag_run_conf": conf})
    training = airflow.new_run("train_model", known, 150)
    note = wait_for(lambda: airflow.runs("train_model")[-1]["note"], 30)
    assert all(f"data: batch 2026-01-0{day}: 0 frames" in note for day in range(1, 5))
    assert training["partition_key"] == "b1", "the newest by name"
    airflow.ended("train_model", training["dag_run_id"], "validate", 90)
    cleaned = len(airflow.runs("data_cleaning"))
    airflow.call("POST", "backfills", {**body, "dag_run_conf": conf, "reprocess_behavior": "completed"})
    wait_for(lambda: [run["state"] for run in airflow.runs("data_cleaning")[cleaned:]] == ["success"] * 4, 120)
    last = airflow.runs("data_cleaning")[-1]["dag_run_id"]
    assert "Asks for nothing: training " in airflow.log("data_cleaning", last, "request_training")
    assert list(Bus.from_environment().list(OPEN)) == []
    assert len(airflow.runs("train_model")) == len(known) + 1
