"""
### reap_containers: remove containers without a task

A task removes its stage's container when it ends. A container is orphaned if its worker was killed and the task is not
retried, or if the DAG run was deleted meanwhile. Every five minutes this DAG lists the containers of this deployment
and the states of their tasks, and removes, with their volumes, those whose task has ended or is gone, those that were
never started, and those that ended an hour ago and were not resumed by a retry. A container whose task is running,
pending or to be retried is never touched.

**By hand**: *Trigger*; with the param `dry_run` it only lists what it would remove. The DAG exists only if stages run
in Docker containers or in pods (`[sim2edge] runtime`, or `runtime` of a stage in `containers/stages.yaml`); pods are
treated the same way.

**Look at** the task's log: a line for each removed container, with its task, its artifact and the reason.

**When it fails**: the last line of the log reports that the engine does not answer, or denies permission. Nothing is
lost: a container also ends by itself, a minute after its task's timeout. Many lines in the log mean that workers are
being killed: check for lack of memory.

Owner: Airflow operations.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag

from sim2edge_airflow.operators.reap_operator import ReapOperator, runtimes_used
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="reap_containers",
    description="Removes orphaned containers",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "Airflow operations"},
    params={
        "dry_run": Param(
            False,
            type=["null", "boolean"],
            title="Dry run",
            description_md="List what would be removed; remove nothing. Default: off.",
        )
    },
    tags=["sim2edge", "housekeeping"],
)
def reap_containers() -> None:
    """Remove orphaned containers."""
    ReapOperator(
        task_id="reap",
        execution_timeout=timedelta(minutes=5),
        priority_weight=1000,
        doc_md="Removes this deployment's orphaned containers; logs each with the reason.",
    )


_ = reap_containers() if runtimes_used() - {"process"} else None
