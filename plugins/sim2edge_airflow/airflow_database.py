"""Query Airflow's own database: the only module that uses Airflow's tables and sessions, which are not public API.

Everything else calls these functions. If an upgrade of Airflow changes an internal used here,
`tests/plugins/test_airflow_internals.py` fails and names what breaks. Queries are bounded, and read-only but for
`add_pool` and the changes that persons make on the pages. Airflow's models are imported inside the functions: every
process of Airflow imports this module, and task processes have no database.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sim2edge.errors import BadInput, NotFound

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

MAX_ROWS = 20_000
MAX_STARTED = 50
MAX_RUNS = 50
MAX_KEYLESS = 5
MAX_FOUND = 1000
MAX_NOTE = 1000
"""Characters of a run's note that Airflow's database takes."""
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


def newest_extra(session: "Session", asset: str, partition: str) -> dict[str, Any]:
    """Return the `extra` of the newest event of an asset for a partition; empty if there is none."""
    from airflow.models.asset import AssetEvent, AssetModel
    from sqlalchemy import select

    query = select(AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
    query = query.where(AssetModel.name == asset, AssetEvent.partition_key == partition)
    return dict(session.scalar(query.order_by(AssetEvent.timestamp.desc()).limit(1)) or {})


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


def outcome_rows(
    session: "Session", tasks: Collection[str], partition: str | None, most: int
) -> Iterable[tuple[str, Any]]:
    """Return task and XCom `outcome` of the newest of these tasks, of one partition or of all, at most `most`."""
    from airflow.models.dagrun import DagRun
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    query = select(XComModel.task_id, XComModel.value).where(
        XComModel.key == "outcome", XComModel.task_id.in_(list(tasks))
    )
    if partition is not None:
        query = query.join(DagRun, DagRun.id == XComModel.dag_run_id).where(DagRun.partition_key == partition)
    return session.execute(query.order_by(XComModel.dag_run_id.desc()).limit(most)).tuples()


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


def dags_by_tag(session: "Session", tag: str) -> dict[str, bool]:
    """Return the DAGs with a tag, and whether each is paused."""
    from airflow.models.dag import DagModel, DagTag
    from sqlalchemy import select

    rows = session.execute(
        select(DagModel.dag_id, DagModel.is_paused)
        .join(DagTag, DagTag.dag_id == DagModel.dag_id)
        .where(DagTag.name == tag, ~DagModel.is_stale)
    )
    return {dag_id: bool(paused) for dag_id, paused in rows}


def failed_tasks(session: "Session", dag_id: str, run_id: str) -> Sequence[tuple[str, int, str]]:
    """Return task, map index and state of the tasks of a run that failed, or did not run because others failed."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    rows = session.execute(
        select(TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
        .where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        .where(TaskInstance.state.in_(("failed", "upstream_failed")))
        .order_by(TaskInstance.task_id, TaskInstance.map_index)
        .limit(MAX_FOUND)
    )
    return [(task, index, str(state)) for task, index, state in rows]


# Changes that a person makes on the pages: as Airflow's own API makes them


def start_run(
    session: "Session",
    dag_id: str,
    *,
    run_id: str,
    partition: str | None,
    conf: dict[str, Any],
    user: Any,
    note: str,
) -> None:
    """Create a queued run of a DAG, as `POST /api/v2/dags/{dag_id}/dagRuns` does.

    Raises:
        NotFound: there is no such DAG.
        BadInput: its params do not take the conf, or it has no partitions.
    """
    from airflow.exceptions import ParamValidationError
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    dag = DBDagBag().get_latest_version_of_dag(dag_id, session=session)
    if dag is None:
        raise NotFound(f"Airflow has no DAG '{dag_id}' yet")
    try:
        dag.validate_partition_key(partition)
        run = dag.create_dagrun(
            run_id=run_id,
            logical_date=None,
            run_after=datetime.now(UTC),
            conf=conf,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.UI,
            triggering_user_name=user.get_name(),
            state=DagRunState.QUEUED,
            partition_key=partition,
            partition_date=dag.timetable.resolve_partition_date(partition),
            session=session,
        )
    except (ParamValidationError, ValueError) as error:
        raise BadInput(f"{dag_id}: {error}") from None
    run.note = (note, user.get_id())


def clear_failed(session: "Session", dag_id: str, run_id: str) -> None:
    """Have the failed tasks of a run, and those that did not run because of them, done again.

    Raises:
        NotFound: the run or its DAG does not exist any more.
    """
    from airflow.models.dagbag import DBDagBag

    run = find_run(session, dag_id, run_id)
    dag = DBDagBag().get_dag_for_run(run, session=session) if run else None
    if dag is None:
        raise NotFound(f"Airflow has no run '{run_id}' of DAG '{dag_id}'")
    dag.clear(run_id=run_id, only_failed=True, session=session)


def write_note(session: "Session", dag_id: str, run_id: str, note: str, user_id: str) -> None:
    """Add a line to the note of a run, above what is there."""
    run = find_run(session, dag_id, run_id)
    if run and run.dag_run_note is None:
        run.note = (note, user_id)
    elif run:
        run.dag_run_note.content = f"{note}\n{run.dag_run_note.content or ''}"[:MAX_NOTE]
        run.dag_run_note.user_id = user_id


def set_paused(session: "Session", dags: Collection[str], paused: bool) -> None:
    """Pause or unpause DAGs, those of them that exist."""
    from airflow.models.dag import DagModel
    from sqlalchemy import update

    session.execute(update(DagModel).where(DagModel.dag_id.in_(dags)).values(is_paused=paused))


def set_variable(session: "Session", key: str, value: str | None) -> None:
    """Write one of Airflow's variables; None deletes it."""
    from airflow.models.variable import Variable

    if value is None:
        Variable.delete(key, session=session)
    else:
        Variable.set(key, value, session=session)


def add_log(
    session: "Session", event: str, user_name: str, extra: str, dag_id: str | None = None, run_id: str | None = None
) -> None:
    """Add an entry to Airflow's audit log."""
    from airflow.models.log import Log

    session.add(
        Log(
            event=event,
            owner=user_name,
            owner_display_name=user_name,
            extra=extra,
            dag_id=dag_id or None,
            run_id=run_id,
        )
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
