"""What Airflow's own database says of runs: which stages run or failed, for the batches that a page shows.

Read-only, one bounded query each. `task_id` of a stage is the stage's name; `ingest` does the work of `capture`.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, joinedload

from sim2edge.stage import STAGE_NAMES

STAGE_OF_TASK = {**{stage: stage for stage in STAGE_NAMES}, "ingest": "capture", "capture_shard": "capture"}
HEADS = ("sim_capture", "ingest_batch")
"""The DAGs that begin a batch."""
ACTIVE = ("running", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "deferred", "restarting")
MAX_ROWS = 20_000
MAX_STARTED = 50
MAX_RUNS = 50
MAX_FOUND = 1000


@dataclass(frozen=True)
class StageRun:
    """The newest run of a stage for a batch."""

    batch: str
    stage: str
    dag_id: str
    run_id: str
    task_id: str
    state: str
    """Airflow's word for it."""
    started: datetime | None
    ended: datetime | None
    reference: str | None
    """The artifact that it returned."""
    cached: bool | None
    """Whether it found the artifact made; None when it does not say."""


def newest_runs(session: Session, batches: Collection[str]) -> Mapping[tuple[str, str], StageRun]:
    """By batch and stage, how the stage's task went in the newest run of each DAG for the batch."""
    if not batches:
        return {}
    returned, outcome = _xcom("return_value"), _xcom("outcome")
    rows = session.execute(
        select(
            *(DagRun.partition_key, DagRun.dag_id, DagRun.run_id, TaskInstance.task_id, TaskInstance.state),
            *(TaskInstance.start_date, TaskInstance.end_date, returned.c.value, outcome.c.value),
        )
        .join(TaskInstance, and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id))
        .outerjoin(returned, _belongs(returned))
        .outerjoin(outcome, _belongs(outcome))
        .where(DagRun.id.in_(_newest_of(batches)), TaskInstance.task_id.in_(list(STAGE_OF_TASK)))
        .order_by(DagRun.id)
        .limit(MAX_ROWS)
    )
    return choose(_stage_run(*row) for row in rows)


def choose(runs: Iterable[StageRun]) -> Mapping[tuple[str, str], StageRun]:
    """One run a batch and stage; of several tasks of a run (shards) the one that runs, else one that failed."""
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


def started_batches(session: Session) -> Mapping[str, datetime]:
    """Batches whose first run is under way or failed, with when it was due: they may have committed nothing yet."""
    rows = session.execute(
        select(DagRun.partition_key, DagRun.run_after)
        .where(DagRun.dag_id.in_(HEADS), DagRun.partition_key.is_not(None), DagRun._state != "success")
        .order_by(DagRun.id.desc())
        .limit(MAX_STARTED)
    )
    started: dict[str, datetime] = {}
    for batch, then in rows:
        started.setdefault(batch, then)
    return started


def batches_in_state(session: Session, state: str) -> Collection[str]:
    """The batches of which some stage is `running` or `failed` in a newest run; asked from the few such tasks on."""
    wanted = ACTIVE if state == "running" else (state,)
    tasks = (
        select(TaskInstance.dag_id, TaskInstance.run_id)
        .where(TaskInstance.state.in_(wanted), TaskInstance.task_id.in_(list(STAGE_OF_TASK)))
        .group_by(TaskInstance.dag_id, TaskInstance.run_id)
        .order_by(func.max(TaskInstance.start_date).desc())
        .limit(MAX_FOUND)
        .subquery()
    )
    rows = session.execute(
        select(DagRun.id, DagRun.partition_key)
        .join(tasks, and_(tasks.c.dag_id == DagRun.dag_id, tasks.c.run_id == DagRun.run_id))
        .where(DagRun.partition_key.is_not(None))
    )
    found = dict(rows.tuples().all())
    newest = set(session.scalars(_newest_of(set(found.values()))))
    return {batch for run, batch in found.items() if run in newest}


@dataclass(frozen=True)
class BatchRun:
    """A run of a DAG for a batch."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    started: datetime | None
    ended: datetime | None


def runs_of_batch(session: Session, batch: str) -> Sequence[BatchRun]:
    """The newest runs of a batch, newest first."""
    rows = session.execute(
        select(DagRun.dag_id, DagRun.run_id, DagRun._state, DagRun.run_type, DagRun.start_date, DagRun.end_date)
        .where(DagRun.partition_key == batch)
        .order_by(DagRun.id.desc())
        .limit(MAX_RUNS)
    )
    return [BatchRun(*row) for row in rows]


@dataclass(frozen=True)
class TaskOutcome:
    """A task of a run, with what it left in XCom."""

    task_id: str
    map_index: int
    state: str
    started: datetime | None
    ended: datetime | None
    tries: int
    said: Mapping[str, Any]
    """XCom: `return_value`, `outcome`, `refused`."""


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


def read_run(session: Session, dag_id: str, run_id: str) -> RunDetails | None:
    """A run, its tasks and its events; None when there is no such run."""
    run = session.scalar(
        select(DagRun)
        .where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        .options(joinedload(DagRun.consumed_asset_events))
    )
    if run is None:
        return None
    said: dict[tuple[str, int], dict[str, Any]] = {}
    for task_id, index, key, value in session.execute(
        select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
        .where(XComModel.dag_run_id == run.id, XComModel.key.in_(("return_value", "outcome", "refused")))
        .limit(MAX_ROWS)
    ):
        said.setdefault((task_id, index), {})[key] = plain(value)
    tasks = session.execute(
        select(
            *(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state),
            *(TaskInstance.start_date, TaskInstance.end_date, TaskInstance.try_number),
        )
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .limit(MAX_FOUND)
    )
    outcomes = [TaskOutcome(t[0], t[1], t[2] or "none", t[3], t[4], t[5], said.get((t[0], t[1]), {})) for t in tasks]
    outcomes.sort(key=lambda task: (task.started is None, task.started, task.task_id, task.map_index))
    events = [
        (event.asset.name if event.asset else "an asset", event.extra or {}) for event in run.consumed_asset_events
    ]
    return RunDetails(dag_id, run_id, run.partition_key, str(run.state), run.start_date, run.end_date, outcomes, events)


def plain(value: Any) -> Any:
    """What an XCom holds; it is stored as JSON, of text that may be JSON itself."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _newest_of(batches: Collection[str]) -> Any:
    """The id of the newest run of each DAG for each batch."""
    return (
        select(func.max(DagRun.id))
        .where(DagRun.partition_key.in_(batches))
        .group_by(DagRun.dag_id, DagRun.partition_key)
    )


def _xcom(key: str) -> Any:
    return (
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.value)
        .where(XComModel.key == key)
        .subquery(key)
    )


def _belongs(xcom: Any) -> Any:
    return and_(
        xcom.c.dag_run_id == DagRun.id,
        xcom.c.task_id == TaskInstance.task_id,
        xcom.c.map_index == TaskInstance.map_index,
    )


def _stage_run(
    batch: str, dag_id: str, run_id: str, task_id: str, state: Any, started: Any, ended: Any, value: Any, outcome: Any
) -> StageRun:
    reference, told = plain(value), plain(outcome)
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
        cached=told.get("cached") if isinstance(told, dict) else None,
    )
