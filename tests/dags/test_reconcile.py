"""What pauses lose is started, once: under Airflow's own scheduler, with a real S3 server; the stages are stand-ins.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_reconcile.py
RECONCILE_BATCHES=200 ...                       the same for longer; RECONCILE_SEED repeats one
"""

import collections
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from airflow_stack import RUN_ENDED, RunningAirflow, running_airflow, wait_for

from sim2edge.bus import Bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

DAGS = ("sim_capture", "data_cleaning")
CONSUMERS = ("data_cleaning", "ingest_batch", "release_model", "train_model")
OWN = {
    "AIRFLOW__SIM2EDGE__RECONCILE_AFTER_MINUTES": "0.1",
    "AIRFLOW__SIM2EDGE__POOL_CAPTURE": "8",
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "600",
}
BATCHES = int(os.environ.get("RECONCILE_BATCHES", "30"))
SEED = int(os.environ.get("RECONCILE_SEED", str(time.time_ns() % 10_000)))
PAUSED_S = 4.0
"""Largest time between two pauses."""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    with running_airflow(tmp_path_factory.mktemp("reconcile"), OWN, unpaused=DAGS) as airflow:
        yield airflow


def pause(airflow: RunningAirflow, dag: str, paused: bool = True) -> None:
    airflow.call("PATCH", f"dags/{dag}", {"is_paused": paused})


def reconcile(airflow: RunningAirflow) -> dict[str, str]:
    """Run the DAG by hand; task to state: *success* if it started something.

    It is paused otherwise. Airflow creates a run of the schedule, too, if five minutes began meanwhile: it counts.
    """
    before = {run["dag_run_id"] for run in ended_runs(airflow)}
    pause(airflow, "reconcile", False)
    airflow.run_ended("reconcile", airflow.trigger("reconcile"))
    wait_for(lambda: is_paused_at_rest(airflow), "the schedule's run to end")
    since = [run["dag_run_id"] for run in ended_runs(airflow) if run["dag_run_id"] not in before]
    tasks = [airflow.client.tasks("reconcile", run) for run in since]
    states = {dag: {each[f"start_{dag}"]["state"] for each in tasks} for dag in CONSUMERS}
    return {dag: "success" if "success" in found else "/".join(sorted(found)) for dag, found in states.items()}


def is_paused_at_rest(airflow: RunningAirflow) -> bool:
    """Pause the DAG unless a run is under way: while it is paused, that would not end."""
    pause(airflow, "reconcile")
    at_rest = all(run["state"] in RUN_ENDED for run in newest_runs(airflow))
    if not at_rest:
        pause(airflow, "reconcile", False)
    return at_rest


def newest_runs(airflow: RunningAirflow) -> list[dict[str, object]]:
    return list(airflow.call("GET", "dags/reconcile/dagRuns?limit=20&order_by=-run_after")["dag_runs"])


def ended_runs(airflow: RunningAirflow) -> list[dict[str, object]]:
    return [run for run in newest_runs(airflow) if run["state"] in RUN_ENDED]


def cleaned(airflow: RunningAirflow, batch: str) -> list[str]:
    return [run["state"] for run in airflow.client.runs("data_cleaning", batch)]


def test_a_batch_captured_while_cleaning_was_paused_is_cleaned_afterwards_with_its_settings(airflow):
    pause(airflow, "data_cleaning")
    run = airflow.trigger("sim_capture", "lost", preset="default", overrides=["clean.only_successful=false"])
    airflow.run_ended("sim_capture", run)
    assert reconcile(airflow)["data_cleaning"] == "skipped"
    pause(airflow, "data_cleaning", False)
    time.sleep(7)
    assert cleaned(airflow, "lost") == []
    assert reconcile(airflow) == dict.fromkeys(CONSUMERS, "skipped") | {"data_cleaning": "success"}
    run = airflow.run("data_cleaning", "lost")
    assert airflow.run_ended("data_cleaning", run)["state"] == "success"
    frames = Bus.from_environment().open(airflow.client.result("data_cleaning", run, "clean"))
    assert frames.config["only_successful"] is False


def test_it_is_started_once(airflow):
    assert reconcile(airflow) == dict.fromkeys(CONSUMERS, "skipped")
    assert cleaned(airflow, "lost") == ["success"]


def test_a_batch_that_was_cleaned_by_hand_meanwhile_is_left_alone(airflow):
    pause(airflow, "data_cleaning")
    airflow.run_ended("sim_capture", airflow.trigger("sim_capture", "by-hand"))
    pause(airflow, "data_cleaning", False)
    airflow.run_ended("data_cleaning", airflow.trigger("data_cleaning", "by-hand"))
    time.sleep(7)
    assert reconcile(airflow)["data_cleaning"] == "skipped"
    assert len(cleaned(airflow, "by-hand")) == 1


def test_a_run_that_failed_is_not_started_again(airflow):
    airflow.behave(clean="bad input")
    airflow.run_ended("sim_capture", airflow.trigger("sim_capture", "bad"))
    run = airflow.run("data_cleaning", "bad")
    assert airflow.run_ended("data_cleaning", run)["state"] == "failed"
    airflow.behave()
    time.sleep(7)
    assert reconcile(airflow)["data_cleaning"] == "skipped"
    assert cleaned(airflow, "bad") == ["failed"]


def sim2edge(airflow: RunningAirflow, *words: str, code: int = 0) -> str:
    """The command line, on this Airflow; what it printed."""
    named = {"SIM2EDGE_AIRFLOW_URL": airflow.url, "SIM2EDGE_AIRFLOW_TOKEN": airflow.client._token}
    command = [sys.executable, "-m", "sim2edge", *words]
    ended = subprocess.run(command, env=os.environ | named, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_the_system_is_held_for_maintenance_and_goes_on_with_what_it_missed(airflow):
    assert sim2edge(airflow, "hold") == "not on hold\n"
    airflow.behave(capture="slow")
    run = airflow.trigger("sim_capture", "held")
    airflow.comes_to("sim_capture", run, "capture", "running")
    said = sim2edge(airflow, "hold", "--reason", "new disks", "--wait")
    assert "by " in said
    assert ": new disks (" in said
    assert "1 tasks are still running" in said
    assert airflow.task("sim_capture", run, "capture")["state"] == "success", "what ran has come to its end"
    active = {dag for dag, paused in airflow.client.dags("sim2edge").items() if not paused}
    assert active <= {"refresh_fleet", "reap_containers"}
    assert "`sim2edge resume` ends it" in sim2edge(airflow, "hold", "--reason", "once more", code=2)
    airflow.page("flywheel", "new disks")
    assert cleaned(airflow, "held") == []
    sim2edge(airflow, "resume")
    assert {dag for dag, paused in airflow.client.dags("sim2edge").items() if not paused} == set(DAGS)
    airflow.behave()
    time.sleep(7)
    assert reconcile(airflow)["data_cleaning"] == "success"
    assert airflow.run_ended("data_cleaning", airflow.run("data_cleaning", "held"))["state"] == "success"
    assert "not on hold" in sim2edge(airflow, "resume", code=2)


def test_random_pauses_lose_nothing_and_start_nothing_twice(airflow):
    print(f"RECONCILE_SEED={SEED}")
    rng, names = random.Random(SEED), [f"r-{number:03d}" for number in range(BATCHES)]
    waiting = list(names)
    while waiting or not all(run["state"] in RUN_ENDED for run in captures(airflow)):
        for name in waiting[:3]:
            airflow.trigger("sim_capture", name)
        del waiting[:3]
        pause(airflow, rng.choice(DAGS), rng.random() < 0.5)
        if rng.random() < 0.2:
            reconcile(airflow)
        time.sleep(rng.uniform(0, PAUSED_S))
        if not waiting:
            pause(airflow, "sim_capture", False)
    pause(airflow, "data_cleaning", False)

    def all_cleaned() -> bool:
        reconcile(airflow)
        states = [set(cleaned(airflow, name)) for name in names]
        assert {"failed"} not in states, "a run that failed is not started again"
        return all(found == {"success"} for found in states)

    wait_for(all_cleaned, "every batch to be cleaned", 1800)
    time.sleep(7)
    reconcile(airflow)
    runs = [run for name in names for run in airflow.client.runs("data_cleaning", name)]
    assert collections.Counter(run["partition_key"] for run in runs) == dict.fromkeys(names, 1)
    again = [event for event in airflow.client.events("reconcile") if event["partition_key"] in names]
    print(f"{len(names)} batches, {len(again)} or more events emitted again")
    assert again


def captures(airflow: RunningAirflow) -> list[dict[str, object]]:
    return [run for run in airflow.runs("sim_capture") if str(run["partition_key"]).startswith("r-")]
