"""
### watch_inbox: what arrives in the inbox is registered, once

Robots and simulator farms put batches into `inbox/<batch>/` of the bucket, `READY.json` last. This DAG is woken when
one is complete, and every five minutes besides; `register` compares what is there with what was registered before, and
registers what is new. Each registered batch starts one run of `ingest_batch`, with the batch id as its partition key.

**Starts** by itself. By hand: *Trigger*, without a partition key; nothing is registered twice.

**Look at** the log of `register`: a line for each batch that it registered, refused (with the reason) or found
incomplete, with a warning when nothing was written to an incomplete batch for an hour (`[sim2edge]
inbox_overdue_minutes`). *Skipped* means that nothing new was complete.

**When it fails**: the last line of the log says whether S3 does not answer or its keys are refused. Nothing is lost:
the next run goes on with what this one left. A batch that is *refused* waits until its producer has mended it.

**Redo** a batch: *Trigger* `ingest_batch` with the batch id as the partition key.

Owner: data engineering.
"""

from datetime import timedelta

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from sim2edge_airflow.assets import ARRIVED, DELIVERY
from sim2edge_airflow.operators.register_operator import RegisterOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS
from sim2edge_airflow.scheduling.arrival_routes import watched


@dag(
    dag_id="watch_inbox",
    description="Registers new batches of the inbox",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/5 * * * *", timezone="UTC"), assets=[watched(ARRIVED)]
    ),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    tags=["sim2edge", "data"],
)
def watch_inbox() -> None:
    """Register."""
    RegisterOperator(
        task_id="register",
        outlet=DELIVERY,
        starts="ingest_batch",
        execution_timeout=timedelta(minutes=10),
        priority_weight=1000,
        doc_md="Registers each batch that is complete and new; says which were refused or are incomplete.",
    )


watch_inbox()
