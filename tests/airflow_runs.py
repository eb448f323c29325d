"""Runs in Airflow's database, with their tasks and what these left in XCom, for tests of the pages."""

import uuid
from datetime import UTC, datetime

from airflow import settings
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import insert, select


def add_run(dag_id, batch, state=DagRunState.RUNNING):
    """A run in Airflow's database, without any task."""
    run = DagRun(
        dag_id=dag_id,
        run_id=f"manual__{uuid.uuid4().hex[:8]}",
        run_type=DagRunType.MANUAL,
        run_after=datetime.now(UTC),
        state=state,
        partition_key=batch,
        triggered_by=DagRunTriggeredByType.TEST,
    )
    with create_session() as session:
        session.add(run)
        return run.run_id


def add_task(dag_id, run_id, task_id, state, said):
    """A task of a run in Airflow's database, ended just now, with what it left in XCom."""
    now = datetime.now(UTC)
    with settings.engine.begin() as connection:
        number = connection.execute(select(DagRun.id).where(DagRun.run_id == run_id)).scalar_one()
        key = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": -1}
        task = {**key, "id": uuid.uuid4(), "pool": "p", "state": state, "start_date": now, "end_date": now}
        connection.execute(insert(TaskInstance.__table__), [{**task, "try_number": 1, "max_tries": 1}])
        values = [{**key, "dag_run_id": number, "key": name, "value": value} for name, value in said.items()]
        connection.execute(insert(XComModel.__table__), values)
