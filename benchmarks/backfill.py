"""Measure a backfill of thirty days through the real pipeline: a scheduler on PostgreSQL, real stages on tiny batches.

    make bench-backfill                    # DAYS=30
    .venvs/stages/bin/python -m benchmarks.backfill --days 7 --json

The same days three times: nothing cached; everything cached; the settings of `augment` changed. The overhead of a task
is the core time not spent in its stage: the seconds of as many cores as could be busy, less those of the stages
(`cost.wall_s` of their artifacts), divided by the number of tasks. It includes the scheduler's work and waiting, the
start of the task's process, the lookup on the bus and the end of the run.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.postgres_stack import PostgresStack, open_stack, wait_for
from sim2edge.bus import Bus
from sim2edge.services.loopback import free_ports
from sim2edge.stack.settings import StackSettings

FIRST = date(2026, 1, 1)
PARALLELISM = 8
HEAVY = 2
"""Pool slots that a stage takes."""
AIRFLOW = {
    "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
}
DATA, TRAINING = ("sim_capture", "data_cleaning"), ("retrain", "train_model")
RELEASE = ("release_model",)
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
CHANGED = ["augment.brightness=12"]
HOURS_S = 2 * 3600.0


@dataclass(frozen=True)
class Part:
    """One of the three backfills."""

    name: str
    days: int
    places: int
    """Stages that may run at once."""
    cores: int
    wall_s: float
    """Seconds from the request to the end of the last task of the last batch."""
    tasks: int
    stage_s: float
    """Seconds of all stages that ran."""
    wait_s: float
    """Median seconds between queued and started, over all tasks."""
    outcomes: Mapping[str, int]
    """`<stage> made` or `<stage> cached` to the number of tasks, trainings included."""
    trainings: int
    """Number of runs of `train_model` that followed, and took `training_s` more."""
    training_s: float

    @property
    def overhead_s(self) -> float:
        """Core seconds per task outside its stage; meaningful only if each stage uses one core."""
        return (min(self.places, self.cores) * self.wall_s - self.stage_s) / self.tasks

    def __str__(self) -> str:
        made = ", ".join(f"{count} {what}" for what, count in sorted(self.outcomes.items()))
        return (
            f"{self.name}: {self.days} batches in {self.wall_s:.1f} s ({self.wall_s / self.days:.2f} s a batch), "
            f"{self.tasks} tasks, {self.tasks / self.wall_s:.2f} tasks/s, {self.places} at once, overhead "
            f"{self.overhead_s:.2f} s a task, of it {self.wait_s:.2f} s queued; {made}; {self.trainings} trainings, "
            f"{self.training_s:.1f} s more"
        )


def main() -> int:
    """Measure and print; return 1 if the second backfill took more than two seconds a batch, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill", description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="JSON lines")
    arguments = parser.parse_args()
    parts = []
    with (
        tempfile.TemporaryDirectory(prefix="s2e-bench-") as folder,
        open_stack(settings(Path(folder)), AIRFLOW) as stack,
    ):
        os.environ.update(stack.environment())
        prepare(stack)
        for part in measure(stack, arguments.days):
            parts.append(part)
            print(json.dumps(asdict(part)) if arguments.json else part, flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{len(os.sched_getaffinity(0))} cores, load {load}", file=sys.stderr)
    return int(parts[1].wall_s > 2 * arguments.days)


def settings(home: Path) -> StackSettings:
    """Return the settings of a stack on free ports."""
    ports = free_ports(3)
    names = ("s3_port", "mlflow_port", "airflow_port")
    return StackSettings(home=home / "stack", preset="tiny", **dict(zip(names, ports, strict=True)))


def prepare(stack: PostgresStack) -> None:
    """Wait for the DAGs, and pause those after a training, which are not measured."""
    wait_for(lambda: set(DATA) <= set(dags(stack)), "the DAGs")
    for dag in RELEASE:
        call(stack, "PATCH", f"dags/{dag}", {"is_paused": True})


def measure(stack: PostgresStack, days: int) -> Iterator[Part]:
    """Yield the three backfills: two stages at once if all are made, else as many as Airflow's parallelism allows."""
    yield backfill(stack, "made", days, places=2)
    yield backfill(stack, "all cached", days, places=PARALLELISM)
    yield backfill(stack, "augment changed", days, places=PARALLELISM, overrides=CHANGED)


def backfill(stack: PostgresStack, name: str, days: int, places: int, overrides: Sequence[str] = ()) -> Part:
    """Backfill the days, wait for the downstream runs, and return the figures of all tasks."""
    pool = {"pool": "backfill", "slots": places * HEAVY, "include_deferred": False}
    call(stack, "PATCH", "pools/backfill", pool)
    wait_for(lambda: not active(stack), "the end of the backfill before")
    before = {dag: ids(stack, dag) for dag in dags(stack)}
    began = time.time()
    dates = {"from_date": f"{FIRST}T00:00:00Z", "to_date": f"{FIRST + timedelta(days - 1)}T00:00:00Z"}
    conf = {"preset": "tiny", "overrides": list(overrides)}
    more = {"reprocess_behavior": "completed", "max_active_runs": 2 * PARALLELISM, "dag_run_conf": conf}
    call(stack, "POST", "backfills", {"dag_id": DATA[0], "run_backwards": False, **dates, **more})
    wait_for(lambda: has_ended(stack, before, DATA, days), "the end of the backfill", HOURS_S)
    data = tasks(stack, before, DATA)
    wait_for(lambda: has_ended(stack, before, TRAINING, 0), "the end of the trainings", HOURS_S)
    time.sleep(15)  # a request may still be about to start a training
    wait_for(lambda: has_ended(stack, before, TRAINING, 0), "the end of the trainings", HOURS_S)
    trained = tasks(stack, before, ["train_model"])
    ended = max(time_of(task["end_date"]) for task in data)
    waits = sorted(time_of(task["start_date"]) - time_of(task["queued_when"]) for task in data)
    return Part(
        name=name,
        days=days,
        places=places,
        cores=len(os.sched_getaffinity(0)),
        wall_s=ended - began,
        tasks=len(data),
        stage_s=sum(seconds_of_stage(task) for task in data),
        wait_s=waits[len(waits) // 2],
        outcomes=Counter(f"{task['task_id']} {outcome(task)}" for task in (*data, *trained)),
        trainings=len({task["dag_run_id"] for task in trained}),
        training_s=max([time_of(task["end_date"]) - ended for task in trained], default=0.0),
    )


def call(stack: PostgresStack, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Call Airflow's REST API and return its JSON answer."""
    return stack.client._call(method, f"/api/v2/{path}", body)


def dags(stack: PostgresStack) -> list[str]:
    """Return the ids of all DAGs."""
    return [dag["dag_id"] for dag in call(stack, "GET", "dags")["dags"]]


def active(stack: PostgresStack) -> list[Any]:
    """Return the backfills that Airflow has not marked as completed; it allows one per DAG."""
    found = call(stack, "GET", f"backfills?dag_id={DATA[0]}")["backfills"]
    return [each for each in found if not each["completed_at"]]


def pages(stack: PostgresStack, path: str, key: str) -> Iterator[dict[str, Any]]:
    """Yield every entry of a paginated list of the API."""
    offset = 0
    while True:
        page = call(stack, "GET", f"{path}?limit=100&offset={offset}")[key]
        yield from page
        offset += len(page)
        if len(page) < 100:
            return


def ids(stack: PostgresStack, dag: str) -> set[str]:
    """Return the ids of all runs of a DAG."""
    return {run["dag_run_id"] for run in pages(stack, f"dags/{dag}/dagRuns", "dag_runs")}


def has_ended(stack: PostgresStack, before: Mapping[str, set[str]], names: Sequence[str], runs: int) -> bool:
    """Return whether each of the DAGs has at least `runs` new runs, and all of its new runs have ended."""
    for dag in (name for name in names if name in before):
        found = [run for run in pages(stack, f"dags/{dag}/dagRuns", "dag_runs") if run["dag_run_id"] not in before[dag]]
        if len(found) < runs or any(run["state"] in ("queued", "running") for run in found):
            return False
    return True


def tasks(stack: PostgresStack, before: Mapping[str, set[str]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the task instances of the new runs of some DAGs."""
    return [
        task
        for dag in names
        for task in pages(stack, f"dags/{dag}/dagRuns/~/taskInstances", "task_instances")
        if task["dag_run_id"] not in before[dag]
    ]


def outcome(task: Mapping[str, Any]) -> str:
    """Return `made`, `cached`, or the state of a task without a stage."""
    said = (task["rendered_fields"] or {}).get("outcome") if task["state"] == "success" else None
    return str(said).partition(":")[0] if said else str(task["state"])


def seconds_of_stage(task: Mapping[str, Any]) -> float:
    """Return the seconds that a task's stage ran; 0 for a cache hit."""
    if outcome(task) != "made":
        return 0.0
    return Bus.from_environment().open(task["rendered_fields"]["artifact"]).cost.wall_s


def time_of(text: str) -> float:
    """Parse a time of Airflow's API into Unix time, seconds."""
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    sys.exit(main())
