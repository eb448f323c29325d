"""Backfills as people start them, under Airflow's own scheduler on PostgreSQL; the stages are stand-ins.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_backfills.py
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from airflow_stack import TASK_ENDED, RunningAirflow, quote, running_airflow, wait_for
from benchmarks.postgres_stack import postgres_program

from sim2edge.bus import Bus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not postgres_program("postgres"), reason="PostgreSQL is not installed"),
]

UNDER_TEST = {"sim_capture": "capture", "data_cleaning": "clean"}
"""The DAGs that are not paused, each with its stage."""
OWN = {"AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25"}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    folder = tmp_path_factory.mktemp("backfills")
    with running_airflow(folder, OWN, postgres=True, unpaused=UNDER_TEST) as airflow:
        yield airflow


def tasks(airflow: RunningAirflow, dag: str, batch: str = "") -> list[dict[str, Any]]:
    """The instances of a DAG's stage in all its runs, or in those for one batch: each with its batch, oldest first."""
    query = f"limit=100&task_id={UNDER_TEST[dag]}"
    found = airflow.call("GET", f"dags/{dag}/dagRuns/~/taskInstances?{query}")["task_instances"]
    batches = {run["dag_run_id"]: run["partition_key"] for run in airflow.runs(dag)}
    named = [{**task, "batch": batches[task["dag_run_id"]]} for task in found if task["dag_run_id"] in batches]
    mine = [task for task in named if batch in ("", task["batch"])]
    return sorted(mine, key=lambda task: task["start_date"] or "not yet")


def cleaned(airflow: RunningAirflow, *batches: str, times: int = 1) -> None:
    """Wait until each batch was cleaned so often."""

    def all_are() -> bool:
        done = [task["batch"] for task in tasks(airflow, "data_cleaning") if task["state"] in TASK_ENDED]
        return all(done.count(batch) >= times for batch in batches)

    wait_for(all_are, f"data_cleaning of {', '.join(batches)}")


def settled(airflow: RunningAirflow) -> None:
    """Wait until no run is left to do."""

    def is_idle() -> bool:
        states = [run["state"] for dag in UNDER_TEST for run in airflow.runs(dag)]
        return not set(states) & {"queued", "running"}

    wait_for(is_idle, "the end of all runs")


def pools(airflow, dag):
    return {(task["pool"], task["priority_weight"]) for task in tasks(airflow, dag)}


def test_a_dry_run_says_which_batches_it_would_make_and_makes_none(airflow):
    days = ["2026-01-01", "2026-01-02", "2026-01-03"]
    found = airflow.backfill(days[0], days[-1], "backfills/dry_run", dag_run_conf={"preset": "demo"})
    assert [each["partition_key"] for each in found["backfills"]] == days
    words = ["--dag-id", "sim_capture", "--from-date", days[0], "--to-date", days[-1], "--dry-run"]
    said = airflow.stack.airflow("backfill", "create", *words).stdout
    assert all(day in said for day in days)
    assert airflow.runs("sim_capture") == []


def test_by_the_command_line_with_settings_that_reach_every_stage(airflow):
    conf = json.dumps({"preset": "default", "overrides": ["clean.only_successful=false"]})
    words = ["--dag-id", "sim_capture", "--from-date", "2026-01-01", "--to-date", "2026-01-03", "--dag-run-conf", conf]
    assert airflow.stack.airflow("backfill", "create", *words).returncode == 0
    days = ["2026-01-01", "2026-01-02", "2026-01-03"]
    cleaned(airflow, *days)
    settled(airflow)
    for day in days:
        (task,) = tasks(airflow, "data_cleaning", day)
        reference = airflow.client.result("data_cleaning", task["dag_run_id"], "clean")
        assert reference.startswith(f"frames/{day}/")
        assert Bus.from_environment().open(reference).config["only_successful"] is False
    assert pools(airflow, "sim_capture") == {("backfill", -2)}
    assert pools(airflow, "data_cleaning") == {("backfill", -1)}


def test_the_pages_show_its_batches_and_runs(airflow):
    (run,) = [each for each in airflow.runs("data_cleaning") if each["partition_key"] == "2026-01-02"]
    pages = {
        "flywheel": ("2026-01-02", "2026-01-03"),
        "flywheel?state=failed": ("0 batches",),
        "batches/2026-01-02": ("data_cleaning", "sim_capture"),
        f"runs/data_cleaning/{quote(run['dag_run_id'])}": ("frames/2026-01-02/",),
    }
    for path, words in pages.items():
        airflow.page(path, *words)


def test_what_is_there_is_left_redone_or_mended_as_the_reprocess_behaviour_says(airflow):
    dates = ("2026-01-02", "2026-01-05")
    airflow.behave(capture="bad input")
    airflow.backfill("2026-01-04", "2026-01-04")
    settled(airflow)
    airflow.behave()

    def planned(behaviour):
        found = airflow.backfill(*dates, "backfills/dry_run", reprocess_behavior=behaviour)
        return [each["partition_key"] for each in found["backfills"]]

    assert planned("none") == ["2026-01-05"]
    assert planned("failed") == ["2026-01-04", "2026-01-05"]
    assert planned("completed") == ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"]
    airflow.backfill(*dates, reprocess_behavior="failed")
    cleaned(airflow, "2026-01-04", "2026-01-05")
    settled(airflow)
    assert [task["state"] for task in tasks(airflow, "sim_capture", "2026-01-04")] == ["failed", "success"]
    assert len(tasks(airflow, "sim_capture", "2026-01-02")) == 1


def test_again_with_another_setting_only_what_it_touches_is_made(airflow):
    conf = {"preset": "default", "overrides": ["clean.width=64"]}
    airflow.backfill("2026-01-01", "2026-01-03", reprocess_behavior="completed", dag_run_conf=conf)
    cleaned(airflow, "2026-01-01", "2026-01-02", "2026-01-03", times=2)
    settled(airflow)
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        newest = {dag: tasks(airflow, dag, day)[-1]["dag_run_id"] for dag in UNDER_TEST}
        again = [airflow.outcome(dag, run, UNDER_TEST[dag]) for dag, run in newest.items()]
        assert again == ["cached: saved 12.5 s, 0.0 MB", "made"]


def test_a_task_shows_what_it_saved_to_pages_too(airflow):
    _, task = tasks(airflow, "sim_capture", "2026-01-01")
    run = quote(task["dag_run_id"])
    path = f"dags/sim_capture/dagRuns/{run}/taskInstances/capture/xcomEntries/outcome"
    reference = airflow.client.result("sim_capture", task["dag_run_id"], "capture")
    assert airflow.call("GET", path)["value"] == {
        "cached": True,
        "saved_s": 12.5,
        "saved_bytes": 9,
        "reference": reference,
    }


def test_a_live_batch_goes_through_while_a_backfill_is_under_way(airflow, capsys):
    airflow.behave(capture="slow", clean="slow")
    airflow.finish_backfills()
    began = time.monotonic()
    airflow.backfill("2026-02-01", "2026-02-12")
    cleaned(airflow, "2026-02-01")
    a_day, began = time.monotonic() - began, time.monotonic()
    airflow.trigger("sim_capture", "live-1")
    cleaned(airflow, "live-1")
    took = time.monotonic() - began
    behind = [task for task in tasks(airflow, "data_cleaning") if task["batch"].startswith("2026-02")]
    done = [task for task in behind if task["state"] == "success"]
    airflow.behave()
    with capsys.disabled():
        print(f"\na live batch of two stages of 4 s: {took:.1f} s; {len(done)} of 12 days of the backfill were done")
    live = [*tasks(airflow, "sim_capture", "live-1"), *tasks(airflow, "data_cleaning", "live-1")]
    assert {task["pool"] for task in live} == {"capture"}
    assert min(task["priority_weight"] for task in live) > 0
    assert len(done) < 6
    assert took < 6 * a_day, "the other eleven days, one after the other, are not waited for"
    settled(airflow)
    assert pools(airflow, "sim_capture") == {("backfill", -2), ("capture", 1)}


def test_a_cleared_or_retried_task_of_a_backfill_stays_behind(airflow):
    airflow.behave(clean="crash")
    airflow.backfill("2026-03-10", "2026-03-10")
    run = airflow.run("data_cleaning", "2026-03-10")

    airflow.log("data_cleaning", run, "clean", "not a number")
    airflow.behave()
    airflow.run_ended("data_cleaning", run)
    retried = airflow.task("data_cleaning", run, "clean")
    airflow.clear("data_cleaning", run, "clean")
    wait_for(lambda: airflow.task("data_cleaning", run, "clean")["try_number"] > retried["try_number"], "another try")
    cleared = airflow.ended("data_cleaning", run, "clean")
    for task in (retried, cleared):
        assert (task["state"], task["pool"], task["priority_weight"]) == ("success", "backfill", -1)
    assert retried["try_number"] > 1
    assert airflow.outcome("data_cleaning", run, "clean") == "cached: saved 12.5 s, 0.0 MB"
    settled(airflow)


def test_a_pool_that_somebody_removed_holds_nothing_up(airflow):
    airflow.ask("DELETE", "api/v2/pools/backfill").raise_for_status()
    pool = {"pool": "capture", "include_deferred": False}
    airflow.call("PATCH", "pools/capture", {**pool, "slots": 1})  # fewer than a stage wants
    airflow.backfill("2026-03-01", "2026-03-01")
    airflow.trigger("sim_capture", "live-2")
    cleaned(airflow, "2026-03-01", "live-2")
    airflow.call("PATCH", "pools/capture", {**pool, "slots": 2})
    settled(airflow)


LONG = "x" * 10_240
NAMES = ["../../refs", "%2e%2e%2frefs", "<script>alert(1)</script>", "Ümlaut-\u202eevil", "a/b", "a b", LONG]
RULE = "expected 1 to 63 of a-z"


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_a_name_that_no_batch_may_have_is_refused_where_it_is_given(airflow, name):
    answer = airflow.ask("POST", "api/v2/dags/sim_capture/dagRuns", {"logical_date": None, "partition_key": name})
    assert answer.status_code == 422
    assert RULE in answer.json()["detail"] or "at most 250 characters" in answer.json()["detail"]
    assert len(answer.text) < 300


@pytest.mark.parametrize("name", NAMES[:-1], ids=lambda name: ascii(name)[:20])
def test_so_does_a_dag_downstream(airflow, name):
    body = {"logical_date": None, "partition_key": name, "conf": {}}
    answer = airflow.ask("POST", "api/v2/dags/data_cleaning/dagRuns", body)
    assert answer.status_code == 422
    assert RULE in answer.json()["detail"]
    assert not airflow.client.runs("data_cleaning", name)


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"preset": 7}, "conf 'preset': expected the name of a file"),
        ({"overrides": "clean.width=64"}, "conf 'overrides': expected a list"),
        ({"overrides": [7]}, "conf 'overrides': expected a list"),
        ({"overrides": ["clean.width"]}, "override 'width': expected key=value"),
        ({"overrides": {"clean": {"width": 64}}}, "conf 'overrides': expected a list"),
        ({"preset": "../secrets"}, "preset '../secrets' is not one of"),
        ({"preset": "<b>demo</b>"}, "preset '<b>demo</b>' is not one of"),
        ({"overrides": ["cleaning.width=64"]}, "override 'cleaning.width=64': expected stage.key=value"),
        ({"overrides": ["capture.nonsense=1"]}, "capture.nonsense: unknown key"),
        ({"overrides": ["capture.episodes=many"]}, "capture.episodes: "),
        ({"overrides": ["capture.episodes=" + LONG]}, "capture.episodes: "),
        (
            {"presets": "demo"},
            "conf 'presets' is not one of: batch, episode_seconds, episodes, overrides, preset, replace",
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_settings_that_make_no_sense_start_nothing(airflow, conf, said):
    trigger = {"logical_date": None, "partition_key": "bad", "conf": conf}
    backfill = {"dag_id": "sim_capture", "from_date": "2026-04-01T00:00:00Z", "to_date": "2026-04-02T00:00:00Z"}
    for path, body in (
        ("dags/sim_capture/dagRuns", trigger),
        ("backfills", {**backfill, "dag_run_conf": conf}),
        ("backfills/dry_run", {**backfill, "dag_run_conf": conf}),
    ):
        answer = airflow.ask("POST", f"api/v2/{path}", body)
        assert answer.status_code == 422, (path, answer.text)
        assert said in answer.json()["detail"]
    assert not [run for run in airflow.runs("sim_capture") if run["partition_key"] in ("bad", "2026-04-01")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dag_id": "data_cleaning"}, "non-periodic schedule"),
        ({"dag_id": "../sim_capture"}, "dag"),
        ({"from_date": "2026-04-09T00:00:00Z"}, "must not be after"),
        ({"from_date": "yesterday"}, "from_date"),
        ({"reprocess_behavior": "sometimes"}, "reprocess_behavior"),
        ({"max_active_runs": "many"}, "max_active_runs"),
        ({"dag_run_conf": "preset=demo"}, "dag_run_conf"),
    ],
)
def test_a_backfill_that_makes_no_sense_is_refused(airflow, change, said):
    airflow.finish_backfills()  # Airflow refuses a second one before it looks at the dates
    body = {"dag_id": "sim_capture", "from_date": "2026-04-01T00:00:00Z", "to_date": "2026-04-02T00:00:00Z"}
    answer = airflow.ask("POST", "api/v2/backfills", {**body, **change})
    assert 400 <= answer.status_code < 500, answer.text
    assert said in answer.text
    assert not [run for run in airflow.runs("sim_capture") if run["partition_key"].startswith("2026-04")]
