"""
### reap_containers: no container without a task

A stage's container is removed by its task when it ends, however it ends. What is left is what no task could remove: a
worker was killed and its task is not tried again, a DAG run was deleted meanwhile. Every five minutes this DAG asks the
engine for the containers of this deployment and Airflow for the tasks they belong to, and removes, with their volumes,
those whose task has ended or is gone, those that were never started, and those that ended an hour ago and that no try
came for. A container whose task runs, waits or is to be tried again is never touched.

**By hand**: *Trigger*; with the param `dry_run` it only says what it would remove. It is there only where stages run
in Docker containers or in pods (`[sim2edge] runtime`, or `runtime` of a stage in `containers/stages.yaml`); pods are
treated the same way.

**Look at** the task's log: a line for each container that was removed, with its task, its artifact and the reason.

**When it fails**: the last line of the log says whether the engine does not answer or may not be used. Nothing is lost:
a container also ends by itself, a minute after the time its task may take. Many lines in its log mean that workers are
being killed: look for lack of memory.

Owner: whoever runs Airflow.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag

from sim2edge_airflow.operators.reap_operator import ReapOperator, runtimes_used
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="reap_containers",
    description="Removes containers that no task owns",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "whoever runs Airflow"},
    params={"dry_run": Param(False, type="boolean", description="Say what would be removed; remove nothing.")},
    tags=["sim2edge", "housekeeping"],
)
def reap_containers() -> None:
    """Reap."""
    ReapOperator(
        task_id="reap",
        execution_timeout=timedelta(minutes=5),
        priority_weight=1000,
        doc_md="Removes the containers of this deployment that no task owns; says which and why.",
    )


_ = reap_containers() if runtimes_used() - {"process"} else None
