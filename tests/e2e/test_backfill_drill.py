"""A backfill of ten batches while what it needs goes down, one after the other; real stages, Airflow on PostgreSQL.

    .venvs/stages/bin/python -m pytest -m slow tests/e2e/test_backfill_drill.py

Each is killed and stays away for ten seconds: S3, the scheduler with all tasks it runs, the database; MLflow stays away
until the one training at the end is done. Whatever else ends with them is started again, as the stack's supervisor
does. What a person sees meanwhile is printed.
"""

import os
import time
from collections import Counter

import pytest
from benchmarks import backfill
from benchmarks.postgres_stack import open_stack, postgres_program, wait_for

from sim2edge.bus import Bus
from sim2edge.errors import Unavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not postgres_program("postgres"), reason="PostgreSQL is not installed"),
]

DAYS = [f"2026-01-{day:02d}" for day in range(1, 11)]
AWAY_S = 10
AIRFLOW = {
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SIM2EDGE__POOL_BACKFILL": "4",
}


@pytest.fixture
def stack(tmp_path):
    with open_stack(backfill.settings(tmp_path), AIRFLOW) as stack:
        os.environ.update(stack.environment())
        wait_for(lambda: set(backfill.DATA) <= set(backfill.dags(stack)), "the DAGs")
        for dag in set(backfill.dags(stack)) - set(backfill.DATA + backfill.TRAINING):
            backfill.call(stack, "PATCH", f"dags/{dag}", {"is_paused": True})
        yield stack


def states(stack):
    """What the grid shows: how many tasks of which state, per stage; why it shows nothing."""
    try:
        found = backfill.tasks(stack, {dag: set() for dag in backfill.DATA}, backfill.DATA)
    except Unavailable as error:
        return str(error)[:150]
    return dict(Counter(f"{task['task_id']} {task['state']}" for task in found if task["state"]))


def cleaned(stack):
    """The batches whose frames are committed, as far as that can be seen now."""
    try:
        runs = list(backfill.pages(stack, "dags/data_cleaning/dagRuns", "dag_runs"))
    except Unavailable:
        return set()
    return {run["partition_key"] for run in runs if run["state"] == "success"}


def test_all_ten_end_committed_whatever_goes_down(stack, capsys):
    seen = []

    def progress(count):
        def look():
            if restarted := stack.restart_ended():
                seen.append(f"started again: {', '.join(restarted)}")
            return len(cleaned(stack)) >= count

        wait_for(look, f"{count} batches", 600)

    dates = {"from_date": f"{DAYS[0]}T00:00:00Z", "to_date": f"{DAYS[-1]}T00:00:00Z"}
    backfill.call(stack, "POST", "backfills", {"dag_id": "sim_capture", "run_backwards": False, **dates})
    began = time.monotonic()
    for victim, after in (("s3", 1), ("airflow-scheduler", 3), ("postgres", 5)):
        progress(after)
        stack.kill(victim)
        time.sleep(AWAY_S / 2)
        seen.append(f"{victim} away: {states(stack)}")
        time.sleep(AWAY_S / 2)
        stack.start(victim)
        seen.append(f"{victim} back after {time.monotonic() - began:.0f} s: {states(stack)}")
    progress(7)
    stack.kill("mlflow")
    progress(len(DAYS))
    seen.append(f"all done after {time.monotonic() - began:.0f} s: {states(stack)}")
    tries = [
        task["try_number"]
        for task in backfill.tasks(stack, {"sim_capture": set(), "data_cleaning": set()}, backfill.DATA)
    ]
    with capsys.disabled():
        print("", *seen, f"tries: {dict(Counter(tries))}", sep="\n")
    assert cleaned(stack) == set(DAYS)
    bus = Bus.from_environment()
    wait_for(lambda: bus.manifests("verdict"), "the verdict on a model that was trained without MLflow", 600)
    (dataset,) = bus.manifests("dataset")
    assert len(dataset.inputs["frames"]) == len(DAYS)
    for day in DAYS:
        (frames,) = bus.manifests("frames", day)
        assert [len(bus.manifests("episodes", day)), frames.summary["frames"] > 0] == [1, True]
