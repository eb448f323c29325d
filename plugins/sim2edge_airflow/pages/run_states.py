"""Read the states of runs from Airflow's database: which stages are running or failed, for the batches of a page.

The queries are in `airflow_database.py`. A stage's `task_id` is the stage's name; stages that make the same kind share
a column, as `ingest` and `capture` do.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sim2edge.stages import column_of, installed
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.pages.page_words import short

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

STAGE_OF_TASK = {
    **{stage.name: column_of(stage) for stage in installed()},
    **{f"{stage.name}_shard": column_of(stage) for stage in installed() if stage.gather},
}
"""Task id to the stage whose column shows it."""
HEADS = ("sim_capture", "ingest_batch", "annotate_batch")
"""The DAGs that begin a batch."""
OF_BATCHES = (*HEADS, "data_cleaning", "train_model", "release_model")
"""The DAGs whose runs have a batch."""
FAILING = ("failed", "up_for_retry")
"""States of a task whose last try failed."""
MAX_LINE = 500
ACTIVE = ("running", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "deferred", "restarting")


@dataclass(frozen=True)
class StageRun:
    """The newest run of a stage for a batch."""

    batch: str
    stage: str
    dag_id: str
    run_id: str
    task_id: str
    state: str
    """Airflow's name of the state."""
    started: datetime | None
    ended: datetime | None
    reference: str | None
    """The artifact that it returned."""
    cached: bool | None
    """Whether the artifact was cached; None if the task has no XCom `outcome`."""
    map_index: int = -1
    """The task's index, of a shard; -1 of any other."""
    failure: str = ""
    """The line with which it failed; empty if it did not, or left none, as one that was killed."""


def newest_runs(session: "Session", batches: Collection[str]) -> Mapping[tuple[str, str], StageRun]:
    """Return batch and stage to the stage's newest run, from the newest run of each DAG for the batch."""
    if not batches:
        return {}
    rows = database.newest_task_rows(session, batches, STAGE_OF_TASK)
    return with_failures(session, choose(_stage_run(*row) for row in rows))


def with_failures(session: "Session", runs: Mapping[tuple[str, str], StageRun]) -> Mapping[tuple[str, str], StageRun]:
    """Return the runs, those that failed with the line with which they did."""
    failed = {run.run_id for run in runs.values() if run.state in FAILING}
    if not failed:
        return runs
    lines = {tuple(row[:4]): read_failure(plain(row[4])) for row in database.failure_rows(session, failed)}
    return {
        key: replace(run, failure=lines.get((run.dag_id, run.run_id, run.task_id, run.map_index), ""))
        for key, run in runs.items()
    }


def read_failure(value: Any) -> str:
    """Return the line in an XCom `failed`; empty if it has none: an XCom may contain anything."""
    reason = value.get("reason") if isinstance(value, Mapping) else None
    return short(reason, MAX_LINE) if isinstance(reason, str) else ""


def choose(runs: Iterable[StageRun]) -> Mapping[tuple[str, str], StageRun]:
    """Return one run per batch and stage; of several tasks of a run (shards) a running one, else a failed one."""
    found: dict[tuple[str, str], StageRun] = {}
    for run in runs:
        key = run.batch, run.stage
        same_run = key in found and found[key].run_id == run.run_id
        if not same_run or _urgency(run) >= _urgency(found[key]):
            found[key] = run
    return found


def _urgency(run: StageRun) -> int:
    shard = run.task_id.endswith("_shard")
    if run.state == "running":
        return 3
    return 2 if run.state == "failed" else 0 if shard else 1


def started_batches(session: "Session") -> Mapping[str, datetime]:
    """Return batches that may have committed nothing, with the due date of a run.

    A run is active or failed, of any DAG; or it began the batch and succeeded, as one does that was marked as success.
    """
    started: dict[str, datetime] = {}
    unfinished = database.recent_partitions(session, OF_BATCHES, succeeded=False)
    for batch, then in (*unfinished, *database.recent_partitions(session, HEADS, succeeded=True)):
        started.setdefault(batch, then)
    return started


def keyless_runs(session: "Session") -> Sequence[tuple[str, str, str]]:
    """Return DAG, run and state of the newest runs that should have a batch, and have none."""
    return database.runs_without_partition(session, OF_BATCHES)


def batches_in_state(session: "Session", state: str) -> Collection[str]:
    """Return the batches with a stage that is `running` or `failed` in a newest run."""
    return database.partitions_with_tasks(session, ACTIVE if state == "running" else (state,), STAGE_OF_TASK)


@dataclass(frozen=True)
class BatchRun:
    """A run of a DAG for a batch."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    started: datetime | None
    ended: datetime | None


def runs_of_batch(session: "Session", batch: str) -> Sequence[BatchRun]:
    """Return the newest runs of a batch, newest first."""
    return [BatchRun(*row) for row in database.run_rows(session, batch)]


@dataclass(frozen=True)
class TaskOutcome:
    """A task of a run, with its XComs."""

    task_id: str
    map_index: int
    state: str
    started: datetime | None
    ended: datetime | None
    tries: int
    xcom: Mapping[str, Any]
    """XCom key to value: `return_value`, `outcome`, `refused`, `failed`."""


@dataclass(frozen=True)
class RunDetails:
    """A run with its tasks and the events that started it."""

    dag_id: str
    run_id: str
    batch: str | None
    state: str
    started: datetime | None
    ended: datetime | None
    tasks: Sequence[TaskOutcome]
    events: Sequence[tuple[str, Mapping[str, Any]]]
    """Asset's name and the event's `extra`."""
    note: str = ""


def read_run(session: "Session", dag_id: str, run_id: str) -> RunDetails | None:
    """Return a run, its tasks and its events; None if it does not exist."""
    run = database.find_run(session, dag_id, run_id)
    if run is None:
        return None
    xcoms: dict[tuple[str, int], dict[str, Any]] = {}
    for task_id, index, key, value in database.xcom_rows(session, run):
        xcoms.setdefault((task_id, index), {})[key] = plain(value)
    tasks = database.task_rows(session, dag_id, run_id)
    outcomes = [TaskOutcome(t[0], t[1], t[2] or "none", t[3], t[4], t[5], xcoms.get((t[0], t[1]), {})) for t in tasks]
    outcomes.sort(key=lambda task: (task.started is None, task.started, task.task_id, task.map_index))
    events = database.events_of(run)
    when = run.start_date, run.end_date
    return RunDetails(dag_id, run_id, run.partition_key, str(run.state), *when, outcomes, events, run.note or "")


def plain(value: Any) -> Any:
    """Decode an XCom; it is stored as JSON, whose text may be JSON again."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _stage_run(
    batch: str,
    dag_id: str,
    run_id: str,
    task_id: str,
    state: Any,
    started: Any,
    ended: Any,
    value: Any,
    outcome: Any,
    index: int,
) -> StageRun:
    reference, details = plain(value), plain(outcome)
    return StageRun(
        batch=batch,
        stage=STAGE_OF_TASK[task_id],
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        state=str(state or "none"),
        started=started,
        ended=ended,
        reference=reference if isinstance(reference, str) else None,
        cached=details.get("cached") if isinstance(details, dict) else None,
        map_index=index,
    )
