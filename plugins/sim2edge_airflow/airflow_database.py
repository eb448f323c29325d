"""Query Airflow's own database: the only module that uses Airflow's tables and sessions, which are not public API.

Everything else calls these functions. If an upgrade of Airflow changes an internal used here,
`tests/plugins/test_airflow_internals.py` fails and names what breaks. Queries are read-only and bounded; only
`add_pool` writes. Airflow's models are imported inside the functions: every process of Airflow imports this module,
and task processes have no database.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

MAX_ROWS = 20_000
MAX_STARTED = 50
MAX_RUNS = 50
MAX_KEYLESS = 5
MAX_FOUND = 1000
XCOM_KEYS = ("return_value", "outcome", "refused", "failed")


def open_session() -> "AbstractContextManager[Session]":
    """Open a session that commits on exit."""
    from airflow.utils.session import create_session

    return create_session()


def is_database_error(error: Exception) -> bool:
    """Return whether an error was raised by the database layer."""
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, SQLAlchemyError)


def session_of(row: Any) -> "Session | None":
    """Return the session that an ORM object is attached to; None when it is detached."""
    from sqlalchemy.orm import object_session

    return object_session(row)


def queued_at(session: "Session", dag_id: str, run_id: str) -> datetime | None:
    """Return when a run was queued; None if it was never queued or does not exist."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    return session.scalar(select(DagRun.queued_at).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


def started_in_pool(session: "Session", run: "DagRun", pool: str) -> Sequence[bool]:
    """Return, for each asset event that started a run, whether the emitting run has a task in `pool`.

    While a run's tasks are being created, its events are not linked to it yet: they are found by DAG and partition,
    among those not assigned to a run and those assigned to this one.
    """
    from airflow.models.asset import AssetEvent, AssetPartitionDagRun, PartitionedAssetKeyLog
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import exists, or_, select

    in_pool = exists().where(
        TaskInstance.dag_id == AssetEvent.source_dag_id,
        TaskInstance.run_id == AssetEvent.source_run_id,
        TaskInstance.pool == pool,
    )
    query = (
        select(in_pool)
        .select_from(AssetPartitionDagRun)
        .join(PartitionedAssetKeyLog, PartitionedAssetKeyLog.asset_partition_dag_run_id == AssetPartitionDagRun.id)
        .join(AssetEvent, AssetEvent.id == PartitionedAssetKeyLog.asset_event_id)
        .where(
            AssetPartitionDagRun.target_dag_id == run.dag_id,
            AssetPartitionDagRun.partition_key == run.partition_key,
            or_(
                AssetPartitionDagRun.created_dag_run_id.is_(None),
                AssetPartitionDagRun.created_dag_run_id == run.id,
            ),
        )
    )
    return list(session.scalars(query))


def pool_slots(session: "Session", name: str) -> int | None:
    """Return the slots of a pool; None if the pool does not exist."""
    from airflow.models.pool import Pool
    from sqlalchemy import select

    return session.scalar(select(Pool.slots).where(Pool.pool == name))


def add_pool(session: "Session", name: str, slots: int, description: str) -> None:
    """Insert a pool unless it exists, in one statement: other processes may insert it concurrently."""
    from airflow.models.pool import Pool

    row = {"pool": name, "slots": slots, "description": description, "include_deferred": False}
    dialect = import_module(f"sqlalchemy.dialects.{session.get_bind().dialect.name}")
    session.execute(dialect.insert(Pool).values(row).on_conflict_do_nothing())


def newest_task_rows(session: "Session", batches: Collection[str], tasks: Collection[str]) -> Iterable[Any]:
    """Return the tasks of the newest run of each DAG for each batch, the oldest run first.

    A row: batch, DAG, run, task, state, start, end, XCom `return_value` and `outcome`, and map index.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, select

    returned, outcome = _xcom("return_value"), _xcom("outcome")
    return session.execute(
        select(
            *(DagRun.partition_key, DagRun.dag_id, DagRun.run_id, TaskInstance.task_id, TaskInstance.state),
            *(TaskInstance.start_date, TaskInstance.end_date, returned.c.value, outcome.c.value),
            TaskInstance.map_index,
        )
        .join(TaskInstance, and_(TaskInstance.dag_id == DagRun.dag_id, TaskInstance.run_id == DagRun.run_id))
        .outerjoin(returned, _belongs(returned))
        .outerjoin(outcome, _belongs(outcome))
        .where(DagRun.id.in_(_newest_of(batches)), TaskInstance.task_id.in_(list(tasks)))
        .order_by(DagRun.id)
        .limit(MAX_ROWS)
    )


def failure_rows(session: "Session", runs: Collection[str]) -> Iterable[Any]:
    """Return DAG, run, task, map index and XCom `failed` of the tasks of these runs that have one."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    return session.execute(
        select(*(XComModel.dag_id, XComModel.run_id, XComModel.task_id, XComModel.map_index, XComModel.value))
        .where(XComModel.key == "failed", XComModel.run_id.in_(list(runs)))
        .limit(MAX_ROWS)
    )


def recent_partitions(session: "Session", dags: Collection[str], *, succeeded: bool) -> Iterable[tuple[str, datetime]]:
    """Return partition and due date of the newest runs of these DAGs that have or have not succeeded, newest first."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    rows = session.execute(
        select(DagRun.partition_key, DagRun.run_after)
        .where(DagRun.dag_id.in_(dags), DagRun.partition_key.is_not(None))
        .where((DagRun._state == "success") if succeeded else (DagRun._state != "success"))
        .order_by(DagRun.id.desc())
        .limit(MAX_STARTED)
    )
    return [(key, due) for key, due in rows]


def runs_without_partition(session: "Session", dags: Collection[str]) -> Sequence[tuple[str, str, str]]:
    """Return DAG, run and state of the newest runs of these DAGs without a partition, the newest first."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    rows = session.execute(
        select(DagRun.dag_id, DagRun.run_id, DagRun._state)
        .where(DagRun.dag_id.in_(dags), DagRun.partition_key.is_(None))
        .order_by(DagRun.id.desc())
        .limit(MAX_KEYLESS)
    )
    return [(dag_id, run_id, str(state)) for dag_id, run_id, state in rows]


def partitions_with_tasks(session: "Session", states: Collection[str], tasks: Collection[str]) -> set[str]:
    """Return the partitions with at least one of these tasks in one of these states, in the newest run of a DAG."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_, func, select

    having = (
        select(TaskInstance.dag_id, TaskInstance.run_id)
        .where(TaskInstance.state.in_(states), TaskInstance.task_id.in_(list(tasks)))
        .group_by(TaskInstance.dag_id, TaskInstance.run_id)
        .order_by(func.max(TaskInstance.start_date).desc())
        .limit(MAX_FOUND)
        .subquery()
    )
    rows = session.execute(
        select(DagRun.id, DagRun.partition_key)
        .join(having, and_(having.c.dag_id == DagRun.dag_id, having.c.run_id == DagRun.run_id))
        .where(DagRun.partition_key.is_not(None))
    )
    found = dict(rows.tuples().all())
    newest = set(session.scalars(_newest_of(set(found.values()))))
    return {batch for run, batch in found.items() if run in newest}


def run_rows(session: "Session", partition: str) -> Iterable[Any]:
    """Return DAG, run, state, type, start and end of the newest runs of a partition, the newest first."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    return session.execute(
        select(DagRun.dag_id, DagRun.run_id, DagRun._state, DagRun.run_type, DagRun.start_date, DagRun.end_date)
        .where(DagRun.partition_key == partition)
        .order_by(DagRun.id.desc())
        .limit(MAX_RUNS)
    )


def active_runs(session: "Session", dag_id: str, partition: str) -> Sequence[tuple[str, datetime, str, dict[str, Any]]]:
    """Return run id, time of its start, user and conf of the queued and running runs of a DAG for a partition."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    rows = session.execute(
        select(DagRun.run_id, DagRun.run_after, DagRun.triggering_user_name, DagRun.conf)
        .where(DagRun.dag_id == dag_id, DagRun.partition_key == partition, DagRun._state.in_(("queued", "running")))
        .order_by(DagRun.id)
        .limit(MAX_RUNS)
    )
    return [(run, since, user or "Airflow", conf or {}) for run, since, user, conf in rows]


def paused_dags(session: "Session", dags: Collection[str]) -> set[str]:
    """Return those of the DAGs that are paused."""
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    return set(session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(dags), DagModel.is_paused.is_(True))))


def asked_at(session: "Session", dag_id: str, run_id: str, task_id: str, map_index: int) -> datetime | None:
    """Return when a task asked for a required action that is not answered yet; None if there is none."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    return session.scalar(
        select(HITLDetail.created_at)
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        .where(TaskInstance.map_index == map_index, HITLDetail.responded_at.is_(None))
    )


def variable(session: "Session", key: str) -> str | None:
    """Return the value of one of Airflow's variables; None if there is none."""
    from airflow.models.variable import Variable
    from sqlalchemy import select

    found = session.scalar(select(Variable).where(Variable.key == key))
    return found.val if found else None


def find_run(session: "Session", dag_id: str, run_id: str) -> "DagRun | None":
    """Return a run with the events that started it; None if it does not exist."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select
    from sqlalchemy.orm import joinedload

    return session.scalar(
        select(DagRun)
        .where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        .options(joinedload(DagRun.consumed_asset_events))
    )


def events_of(run: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the events that started a run: the asset's name and the event's `extra`."""
    return [(event.asset.name if event.asset else "an asset", event.extra or {}) for event in run.consumed_asset_events]


def xcom_rows(session: "Session", run: "DagRun") -> Iterable[Any]:
    """Return task, map index, key and value of a run's XComs with a key in `XCOM_KEYS`."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    return session.execute(
        select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
        .where(XComModel.dag_run_id == run.id, XComModel.key.in_(XCOM_KEYS))
        .limit(MAX_ROWS)
    )


def task_rows(session: "Session", dag_id: str, run_id: str) -> Iterable[Any]:
    """Return task, map index, state, start, end and number of tries of the tasks of a run."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    return session.execute(
        select(
            *(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state),
            *(TaskInstance.start_date, TaskInstance.end_date, TaskInstance.try_number),
        )
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .limit(MAX_FOUND)
    )


def _newest_of(batches: Collection[str]) -> Any:
    """Select the id of the newest run of each DAG for each batch."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import func, select

    return (
        select(func.max(DagRun.id))
        .where(DagRun.partition_key.in_(batches))
        .group_by(DagRun.dag_id, DagRun.partition_key)
    )


def _xcom(key: str) -> Any:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    return (
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.value)
        .where(XComModel.key == key)
        .subquery(key)
    )


def _belongs(xcom: Any) -> Any:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import and_

    return and_(
        xcom.c.dag_run_id == DagRun.id,
        xcom.c.task_id == TaskInstance.task_id,
        xcom.c.map_index == TaskInstance.map_index,
    )
