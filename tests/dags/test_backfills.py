"""Backfills as people start them, under Airflow's own scheduler on PostgreSQL; the stages are stand-ins.

.venvs/airflow/bin/python -m pytest -m slow tests/dags/test_backfills.py
"""

import json
import os
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.postgres_stack import PostgresStack, open_stack, postgres_program, wait_for
from sim2edge.bus import Bus
from sim2edge.stack.ports import free_ports
from sim2edge.stack.settings import StackSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not postgres_program("postgres"), reason="PostgreSQL is not installed"),
]

FAKE_STAGE = Path(__file__).parents[1] / "plugins" / "fake_stage.py"
DONE = ("success", "failed", "skipped", "upstream_failed")
UNDER_TEST = {"sim_capture": "capture", "data_cleaning": "clean"}
"""The DAGs that are not paused, each with its stage."""


class Airflow:
    """A running stack, as who uses it sees it."""

    def __init__(self, stack: PostgresStack, folder: Path) -> None:
        self.stack, self.folder, self.client = stack, folder, stack.client

    def behave(self, **how: str) -> None:
        (self.folder / "behaviours.json").write_text(json.dumps(how))

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.client._call(method, f"/api/v2/{path}", body)

    def ask(self, method: str, path: str, body: Any) -> httpx.Response:
        """A request whose answer may be a refusal."""
        headers = {"Authorization": f"Bearer {self.client._token}"}
        url = f"{self.stack.settings.airflow_url}/api/v2/{path}"
        return httpx.request(method, url, json=body, headers=headers, timeout=30)

    def backfill(self, first: str, last: str, path: str = "backfills", **more: Any) -> dict[str, Any]:
        dates = {"from_date": f"{first}T00:00:00Z", "to_date": f"{last}T00:00:00Z"}
        return self.call("POST", path, {"dag_id": "sim_capture", "run_backwards": False, **dates, **more})

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return self.call("GET", f"dags/{dag}/dagRuns?limit=100&order_by=-run_after")["dag_runs"]

    def tasks(self, dag: str) -> list[dict[str, Any]]:
        """The instances of a DAG's stage in all its runs, each with its run's partition."""
        query = f"limit=100&order_by=-run_after&task_id={UNDER_TEST[dag]}"
        found = self.call("GET", f"dags/{dag}/dagRuns/~/taskInstances?{query}")["task_instances"]
        batches = {run["dag_run_id"]: run["partition_key"] for run in self.runs(dag)}
        return [{**task, "batch": batches[task["dag_run_id"]]} for task in found]

    def of(self, dag: str, batch: str) -> list[dict[str, Any]]:
        """The task instances of all runs of a DAG for a batch, oldest first."""
        mine = [task for task in self.tasks(dag) if task["batch"] == batch]
        return sorted(mine, key=lambda task: task["start_date"] or "not yet")

    def cleaned(self, *batches: str, times: int = 1, seconds: float = 90) -> None:
        """Wait until each batch was cleaned so often."""

        def all_are() -> bool:
            done = [task["batch"] for task in self.tasks("data_cleaning") if task["state"] in DONE]
            return all(done.count(batch) >= times for batch in batches)

        wait_for(all_are, seconds, f"data_cleaning of {', '.join(batches)}")

    def settled(self, seconds: float = 90) -> None:
        """Wait until no backfill and no run is left to do."""

        def is_idle() -> bool:
            states = [run["state"] for dag in UNDER_TEST for run in self.runs(dag)]
            return not set(states) & {"queued", "running"} and not self.active_backfills()

        wait_for(is_idle, seconds, "the end of all runs")

    def active_backfills(self) -> list[dict[str, Any]]:
        found = self.call("GET", "backfills?dag_id=sim_capture&limit=100")["backfills"]
        return [each for each in found if not each["completed_at"]]

    def log(self, task: dict[str, Any]) -> list[str]:
        return self.client.log(task["dag_id"], task["dag_run_id"], task["task_id"], task["try_number"])


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backfills")
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
    with open_stack(settings, {"AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25"}) as stack:
        os.environ.update(stack.environment())
        airflow = Airflow(stack, folder)
        airflow.behave()
        known = wait_for_dags(airflow)
        for dag in known:
            airflow.call("PATCH", f"dags/{dag}", {"is_paused": dag not in UNDER_TEST})
        yield airflow


def wait_for_dags(airflow):
    """The ids of the DAGs, once those under test are there."""

    def known() -> set[str]:
        return {dag["dag_id"] for dag in airflow.call("GET", "dags")["dags"]}

    wait_for(lambda: known() >= set(UNDER_TEST), 60, "the DAGs")
    return known()


def wait_for_page(airflow, path, words):
    """The text of a page that shows these words, or of what it shows after half a minute."""
    url = f"{airflow.stack.settings.airflow_url}/sim2edge/{path}"
    deadline = time.monotonic() + 30
    while True:
        answer = httpx.get(url, headers={"Authorization": f"Bearer {airflow.client._token}"}, timeout=30)
        assert answer.status_code == 200, answer.text[-500:]
        if all(word in answer.text for word in words) or time.monotonic() > deadline:
            return answer.text
        time.sleep(1)


def pools_of(tasks):
    return {(task["pool"], task["priority_weight"]) for task in tasks}


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
    airflow.cleaned(*days)
    airflow.settled()
    for day in days:
        (task,) = airflow.of("data_cleaning", day)
        reference = airflow.client.result("data_cleaning", task["dag_run_id"], "clean")
        assert reference.startswith(f"frames/{day}/")
        assert Bus.from_environment().open(reference).config["only_successful"] is False
    assert pools_of(airflow.tasks("sim_capture")) == {("backfill", -2)}
    assert pools_of(airflow.tasks("data_cleaning")) == {("backfill", -1)}


def test_the_pages_show_its_batches_and_runs(airflow):
    (run,) = [each for each in airflow.runs("data_cleaning") if each["partition_key"] == "2026-01-02"]
    pages = {
        "flywheel": ("2026-01-02", "2026-01-03"),
        "flywheel?state=failed": ("0 batches",),
        "batches/2026-01-02": ("data_cleaning", "sim_capture"),
        f"runs/data_cleaning/{urllib.parse.quote(run['dag_run_id'], safe='')}": ("frames/2026-01-02/",),
    }
    for path, words in pages.items():
        found = wait_for_page(airflow, path, words)
        assert [word for word in words if word in found] == list(words), path


def test_what_is_there_is_left_redone_or_mended_as_the_reprocess_behaviour_says(airflow):
    dates = ("2026-01-02", "2026-01-05")
    airflow.behave(capture="bad input")
    airflow.backfill("2026-01-04", "2026-01-04")
    airflow.settled()
    airflow.behave()

    def planned(behaviour):
        found = airflow.backfill(*dates, "backfills/dry_run", reprocess_behavior=behaviour)
        return [each["partition_key"] for each in found["backfills"]]

    assert planned("none") == ["2026-01-05"]
    assert planned("failed") == ["2026-01-04", "2026-01-05"]
    assert planned("completed") == ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-05"]
    airflow.backfill(*dates, reprocess_behavior="failed")
    airflow.cleaned("2026-01-04", "2026-01-05")
    airflow.settled()
    assert [task["state"] for task in airflow.of("sim_capture", "2026-01-04")] == ["failed", "success"]
    assert len(airflow.of("sim_capture", "2026-01-02")) == 1


def test_again_with_another_setting_only_what_it_touches_is_made(airflow):
    conf = {"preset": "default", "overrides": ["clean.width=64"]}
    airflow.backfill("2026-01-01", "2026-01-03", reprocess_behavior="completed", dag_run_conf=conf)
    airflow.cleaned("2026-01-01", "2026-01-02", "2026-01-03", times=2)
    airflow.settled()
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        again = [airflow.of(dag, day)[-1]["rendered_fields"]["outcome"] for dag in ("sim_capture", "data_cleaning")]
        assert again == ["cache hit: saved 12.5 s, 0.0 MB", "made"]


def test_a_task_shows_what_it_saved_to_pages_too(airflow):
    _, task = airflow.of("sim_capture", "2026-01-01")
    run = urllib.parse.quote(task["dag_run_id"], safe="")
    path = f"dags/sim_capture/dagRuns/{run}/taskInstances/capture/xcomEntries/outcome"
    reference = airflow.client.result("sim_capture", task["dag_run_id"], "capture")
    assert airflow.call("GET", path)["value"] == {
        "hit": True,
        "saved_s": 12.5,
        "saved_bytes": 9,
        "reference": reference,
    }


def test_a_live_batch_goes_through_while_a_backfill_is_under_way(airflow, capsys):
    airflow.behave(capture="slow", clean="slow")
    airflow.backfill("2026-02-01", "2026-02-12")
    airflow.cleaned("2026-02-01")
    began = time.monotonic()
    airflow.client.trigger("sim_capture", "live-1", {})
    airflow.cleaned("live-1", seconds=60)
    took = time.monotonic() - began
    behind = [task for task in airflow.tasks("data_cleaning") if task["batch"].startswith("2026-02")]
    cleaned = [task for task in behind if task["state"] == "success"]
    airflow.behave()
    with capsys.disabled():
        print(f"\na live batch of two stages of 4 s: {took:.1f} s; {len(cleaned)} of 12 days of the backfill were done")
    live = [*airflow.of("sim_capture", "live-1"), *airflow.of("data_cleaning", "live-1")]
    assert {task["pool"] for task in live} == {"capture"}
    assert min(task["priority_weight"] for task in live) > 0
    assert len(cleaned) < 6
    assert took < 30
    airflow.settled(150)
    assert pools_of(airflow.tasks("sim_capture")) == {("backfill", -2), ("capture", 1)}


def test_a_cleared_or_retried_task_of_a_backfill_stays_behind(airflow):
    airflow.behave(clean="crash")
    airflow.backfill("2026-03-10", "2026-03-10")

    def comes_to(state: str) -> None:
        wait_for(lambda: [task["state"] for task in airflow.of("data_cleaning", day)] == [state], 60, state)
        (task,) = airflow.of("data_cleaning", day)
        assert (task["pool"], task["priority_weight"]) == ("backfill", -1)

    day = "2026-03-10"
    comes_to("up_for_retry")
    airflow.behave()
    comes_to("success")
    (before,) = airflow.of("data_cleaning", day)
    body = {"dry_run": False, "task_ids": ["clean"], "reset_dag_runs": True, "only_failed": False}
    airflow.call("POST", "dags/data_cleaning/clearTaskInstances", {**body, "dag_run_id": before["dag_run_id"]})
    wait_for(lambda: airflow.of("data_cleaning", day)[0]["try_number"] > before["try_number"], 60, "another try")
    comes_to("success")
    (after,) = airflow.of("data_cleaning", day)
    assert after["rendered_fields"]["outcome"] == "cache hit: saved 12.5 s, 0.0 MB"
    airflow.settled()


def test_a_pool_that_somebody_removed_holds_nothing_up(airflow):
    airflow.ask("DELETE", "pools/backfill", None).raise_for_status()
    pool = {"pool": "capture", "include_deferred": False}
    airflow.call("PATCH", "pools/capture", {**pool, "slots": 1})  # fewer than a stage wants
    airflow.backfill("2026-03-01", "2026-03-01")
    airflow.client.trigger("sim_capture", "live-2", {})
    airflow.cleaned("2026-03-01", "live-2")
    airflow.call("PATCH", "pools/capture", {**pool, "slots": 2})
    airflow.settled()


LONG = "x" * 10_240
NAMES = ["../../refs", "%2e%2e%2frefs", "<script>alert(1)</script>", "Ümlaut-\u202eevil", "a/b", "a b", LONG]
RULE = "expected 1 to 63 of a-z"


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_a_name_that_no_batch_may_have_is_refused_where_it_is_given(airflow, name):
    answer = airflow.ask("POST", "dags/sim_capture/dagRuns", {"logical_date": None, "partition_key": name})
    assert answer.status_code == 400
    assert RULE in answer.json()["detail"] or "at most 250 characters" in answer.json()["detail"]
    assert len(answer.text) < 300


@pytest.mark.parametrize("name", NAMES[:-1], ids=lambda name: ascii(name)[:20])
def test_a_dag_downstream_refuses_it_in_one_line(airflow, name):
    before = set(Bus.from_environment().list("frames"))
    run = airflow.client.trigger("data_cleaning", name, {})
    task = ended(airflow, "data_cleaning", run, "clean")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert_one_line(airflow, task, RULE)
    assert set(Bus.from_environment().list("frames")) == before


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"preset": 7}, "7 is not of type 'null', 'string'"),
        ({"overrides": "clean.width=64"}, "'clean.width=64' is not of type 'array'"),
        ({"overrides": [7]}, "7 is not of type 'string'"),
        ({"overrides": ["clean.width"]}, "'clean.width' does not match"),
        ({"overrides": {"clean": {"width": 64}}}, "is not of type 'array'"),
    ],
)
def test_params_of_a_wrong_type_are_refused_where_they_are_given(airflow, conf, said):
    trigger = {"logical_date": None, "partition_key": "bad", "conf": conf}
    backfill = {"dag_id": "sim_capture", "from_date": "2026-04-01T00:00:00Z", "to_date": "2026-04-02T00:00:00Z"}
    for path, body in (
        ("dags/sim_capture/dagRuns", trigger),
        ("backfills", {**backfill, "dag_run_conf": conf}),
        ("backfills/dry_run", {**backfill, "dag_run_conf": conf}),
    ):
        answer = airflow.ask("POST", path, body)
        assert 400 <= answer.status_code < 500, (path, answer.text)
        assert said in answer.text
    assert not [run for run in airflow.runs("sim_capture") if run["partition_key"] in ("bad", "2026-04-01")]


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"preset": "../secrets"}, "preset '../secrets' is not one of"),
        ({"preset": "<b>demo</b>"}, "preset '<b>demo</b>' is not one of"),
        ({"overrides": ["cleaning.width=64"]}, "override 'cleaning.width=64': expected stage.key=value"),
        ({"overrides": ["capture.nonsense=1"]}, "capture.nonsense: unknown key"),
        ({"overrides": ["capture.episodes=many"]}, "capture.episodes: "),
        ({"overrides": ["capture.episodes=" + LONG]}, "capture.episodes: "),
        ({"presets": "demo"}, "conf 'presets' is not one of: overrides, preset"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_settings_that_make_no_sense_fail_in_one_line_and_are_not_tried_again(airflow, conf, said):
    run = airflow.client.trigger("sim_capture", "bad", conf)
    task = ended(airflow, "sim_capture", run, "capture")
    assert (task["state"], task["try_number"]) == ("failed", 1)
    assert_one_line(airflow, task, said)
    assert not list(Bus.from_environment().list("episodes/bad"))


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
    body = {"dag_id": "sim_capture", "from_date": "2026-04-01T00:00:00Z", "to_date": "2026-04-02T00:00:00Z"}
    answer = airflow.ask("POST", "backfills", {**body, **change})
    assert 400 <= answer.status_code < 500, answer.text
    assert said in answer.text
    assert not [run for run in airflow.runs("sim_capture") if run["partition_key"].startswith("2026-04")]


def ended(airflow, dag, run, task):
    wait_for(lambda: airflow.client.tasks(dag, run)[task]["state"] in DONE, 60, f"the end of {dag} {run}")
    return airflow.client.tasks(dag, run)[task]


def assert_one_line(airflow, task, said):
    """The log says it in one line, which is short, and shows no traceback."""
    lines = airflow.log(task)
    assert [line for line in lines if said in line and len(line) < 500], lines[-5:]
    assert "Traceback" not in "\n".join(lines)
