"""
### retention: old artifacts are retired by a policy

`retire` deletes the payload of artifacts that the policy in `dags/retention.yml` no longer keeps, and keeps their
manifests in `withdrawn/retired/` with the reason. What a live ref or a device needs stays, whatever the policy says
(docs/retention.md). As installed, the policy keeps everything.

**Starts** every night at four, UTC. By hand: *Trigger*; with the param `dry_run` it only names what it would retire.

**Look at** the log of `retire`: a line for each artifact, with its size and the reason. *Skipped* means that nothing
was retired.

**When it fails**: the last line of the log names the field of the policy, the ref that names no artifact, or reports
that the role may not delete: the worker needs `retention.env` among its credentials (docs/access.md). Nothing is lost:
the next run goes on.

Owner: data engineering.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import CronTriggerTimetable, Param, dag

from sim2edge_airflow.operators.retire_operator import RetireOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="retention",
    description="Retires old artifacts by a policy",
    doc_md=__doc__,
    schedule=CronTriggerTimetable("0 4 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    params={
        "dry_run": Param(
            False,
            type=["null", "boolean"],
            title="Dry run",
            description_md="Name what would be retired; delete nothing. Default: off.",
        )
    },
    tags=["sim2edge", "housekeeping"],
)
def retention() -> None:
    """Retire artifacts."""
    RetireOperator(
        task_id="retire",
        policy=Path(__file__).with_name("retention.yml"),
        execution_timeout=timedelta(hours=2),
        doc_md="Deletes the payload of what the policy no longer keeps; logs each artifact with the reason.",
    )


retention()
