"""Retraining under Airflow's own scheduler, with a real S3 server; the stages are stand-ins. In order, on one stack.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_retraining.py
"""

import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_stack import RunningAirflow, quote, running_airflow, wait_for

from sim2edge.bus import Bus
from sim2edge.errors import Unavailable
from sim2edge.private_files import write_private
from sim2edge.retrain import OPEN, fulfilled_by, last_training, make_request, submit
from sim2edge.stack.settings import CHECKOUT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DAGS = ("sim_capture", "data_cleaning", "retrain", "train_model", "release_model")
OWN = {"AIRFLOW__SIM2EDGE__POOL_BACKFILL": "8"}
LONG_MIN = 60.0
"""A cool-down that no test waits for."""


def answer(airflow: RunningAirflow, run: str, option: str) -> dict[str, Any]:
    """Answer `approve` of a run of `release_model` the moment it asks, as a script would; returns what it asked."""
    path = f"dags/release_model/dagRuns/{quote(run)}/taskInstances/approve/-1/hitlDetails"
    asked = wait_for(lambda: airflow.call("GET", path), f"the question of {run}")
    airflow.call("PATCH", path, {"chosen_options": [option], "params_input": {}})
    ended = airflow.ended("release_model", run, "approve")
    assert ended["try_number"] == 1, "the answer was void, and it asked again"
    return dict(asked)


def note(airflow: RunningAirflow, run: dict[str, Any]) -> str:
    """The note of a run of `train_model`, once it has one."""
    path = f"dags/train_model/dagRuns/{quote(run['dag_run_id'])}"
    return str(wait_for(lambda: airflow.call("GET", path)["note"], "a note"))


def decided(airflow: RunningAirflow) -> str:
    """What every look of every run of `retrain` said."""
    runs = [run["dag_run_id"] for run in airflow.runs("retrain")]
    tries = [(run, airflow.task("retrain", run, "decide")["try_number"]) for run in runs]
    looks = [(run, attempt) for run, last in tries for attempt in range(1, last + 1)]
    return "\n".join(line for run, attempt in looks for line in airflow.client.log("retrain", run, "decide", attempt))


def make_root(folder: Path) -> Path:
    """A checkout whose deployment wants releases approved."""
    folder.mkdir()
    for name in ("plugins", "conf", "containers", "requirements.txt"):
        (folder / name).symlink_to(CHECKOUT / name)
    shutil.copytree(CHECKOUT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    change(
        folder / "airflow.cfg", CHECKOUT / "airflow.cfg", r"(?m)^\[sim2edge\]$", "[sim2edge]\nrelease_approval = true"
    )
    return folder


def cool_down(airflow: RunningAirflow, minutes: float) -> None:
    """Set the deployment's cool-down; the next task reads it."""
    pipeline = airflow.folder / "root" / "dags" / "train_model.yml"
    change(pipeline, pipeline, "cooldown_minutes: [0-9.]+", f"cooldown_minutes: {minutes:.6f}")


def change(path: Path, before: Path, old: str, new: str) -> None:
    text, count = re.subn(old, new, before.read_text())
    assert count == 1, old
    write_private(path, text)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    folder = tmp_path_factory.mktemp("retraining")
    with running_airflow(folder, OWN, unpaused=DAGS, root=make_root(folder / "root")) as airflow:
        yield airflow


def test_new_data_starts_a_training_and_an_approved_release_goes_out(airflow):
    airflow.trigger("sim_capture", "b1", overrides=["augment.copies=2"])
    training = airflow.new_run("train_model", [])
    assert training["partition_key"] == "b1"
    assert "data: batch b1: 0 frames (data_cleaning)" in note(airflow, training)
    release = airflow.new_run("release_model", [])["dag_run_id"]
    asked = answer(airflow, release, "Approve")
    assert "**Release** `release/b1/" in asked["body"]
    assert "**Verdict** accepted `verdict/b1/" in asked["body"]
    assert airflow.ended("release_model", release, "push")["state"] == "success"


def test_ten_requests_at_once_are_one_training_after_the_cool_down_with_all_reasons(airflow):
    cool_down(airflow, LONG_MIN)
    known, released = airflow.runs("train_model"), airflow.runs("release_model")
    bus = Bus.from_environment()
    kinds = ["drift", "degradation", "manual"]
    requests = [make_request(kinds[n % 3], f"reason number {n}", {"n": n}, by=f"asker {n}") for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda request: submit(bus, request), requests))
    wait_for(lambda: "wait: cool-down: " in decided(airflow), "a look that finds the cool-down")
    assert len(airflow.runs("train_model")) == len(known)
    over = datetime.now(UTC) + timedelta(seconds=10)
    cool_down(airflow, (over - last_training(bus).started).total_seconds() / 60)
    training = airflow.new_run("train_model", known)
    assert datetime.fromisoformat(training["run_after"]) > over
    said = note(airflow, training)
    assert all(f"{kinds[n % 3]}: reason number {n} (asker {n})" in said for n in range(10))
    assert len({fulfilled_by(bus, request.id) for request in requests}) == 1
    assert list(bus.list(OPEN)) == []

    release = airflow.new_run("release_model", released)["dag_run_id"]
    answer(airflow, release, "Reject")
    assert airflow.ended("release_model", release, "push")["state"] == "skipped"
    assert airflow.run_ended("release_model", release)["state"] == "success"
    assert len(airflow.runs("train_model")) == 2


def test_a_person_asks_in_the_ui_and_does_not_wait_and_a_refused_model_starts_nothing(airflow):
    cool_down(airflow, LONG_MIN)
    airflow.behave(validate="refuse")
    known, released = airflow.runs("train_model"), airflow.runs("release_model")
    airflow.trigger("retrain", reason="this one waits for the cool-down")
    airflow.trigger("retrain", reason="look at the new loss", now=True, overrides=["train.epochs=3"])
    trained = airflow.new_run("train_model", known)
    training = trained["dag_run_id"]
    assert airflow.ended("train_model", training, "validate")["state"] == "skipped"
    said = note(airflow, trained)
    assert "manual: look at the new loss (admin)" in said
    assert "manual: this one waits for the cool-down (admin)" in said
    airflow.log("train_model", training, "validate", "validate of batch b1, preset demo")
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
        ({"reason": "r", "overrides": ["<b>"]}, "override"),
    ],
)
def test_params_of_wrong_types_are_refused(airflow, conf, field):
    with pytest.raises(Unavailable, match=f"(?s)4[0-9]{{2}}.*{field}"):
        airflow.trigger("retrain", **conf)


def test_a_hostile_reason_fails_with_one_line_and_the_next_run_is_well(airflow):
    run = airflow.trigger("retrain", reason="two\nlines")
    assert airflow.ended("retrain", run, "decide")["state"] == "failed"
    airflow.log("retrain", run, "decide", "request: reason: expected one line")
    assert airflow.ended("retrain", airflow.trigger("retrain"), "decide")["state"] == "skipped"


def test_a_backfill_is_one_training_at_its_end_and_none_the_second_time(airflow):
    cool_down(airflow, 0)
    known = airflow.runs("train_model")
    conf = {"overrides": ["augment.copies=4"]}
    airflow.backfill("2026-01-01", "2026-01-04", dag_run_conf=conf)
    training = airflow.new_run("train_model", known)
    said = note(airflow, training)
    assert all(f"data: batch 2026-01-0{day}: 0 frames" in said for day in range(1, 5))
    assert training["partition_key"] == "b1", "the newest by name"
    airflow.ended("train_model", training["dag_run_id"], "validate")
    cleaned = len(airflow.runs("data_cleaning"))
    airflow.backfill("2026-01-01", "2026-01-04", dag_run_conf=conf, reprocess_behavior="completed")
    wait_for(lambda: [run["state"] for run in airflow.runs("data_cleaning")[cleaned:]] == ["success"] * 4, "four runs")
    last = airflow.runs("data_cleaning")[-1]["dag_run_id"]
    airflow.log("data_cleaning", last, "request_training", "No request: training ")
    assert list(Bus.from_environment().list(OPEN)) == []
    assert len(airflow.runs("train_model")) == len(known) + 1


def test_a_training_that_fails_gives_its_requests_back_and_they_join_the_next(airflow):
    cool_down(airflow, 0)
    airflow.behave(train="bad input")
    bus, known = Bus.from_environment(), airflow.runs("train_model")
    airflow.trigger("retrain", reason="this one fails", now=True, overrides=["train.epochs=7"])
    failed = airflow.new_run("train_model", known)
    assert airflow.run_ended("train_model", failed["dag_run_id"])["state"] == "failed"
    (again,) = wait_for(lambda: list(bus.list(OPEN)), "the request to be open again")
    airflow.behave()
    time.sleep(5)
    assert len(airflow.runs("train_model")) == len(known) + 1, "it starts no training by itself"
    airflow.trigger("retrain", reason="now it is mended", now=True)
    trained = airflow.new_run("train_model", [*known, failed])
    assert "manual: this one fails (admin)" in note(airflow, trained)
    assert airflow.run_ended("train_model", trained["dag_run_id"])["state"] == "success"
    assert again not in bus.list(OPEN)
