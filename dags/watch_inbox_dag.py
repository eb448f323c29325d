"""
### watch_inbox: each new batch of the inbox is registered once

Robots and simulator farms upload batches to `inbox/<batch>/` of the bucket, `READY.json` last. This DAG starts when one
is complete, and every five minutes; `register` compares the inbox with the batches registered before, and registers new
ones. Each registered batch starts one run, with the batch id as its partition key: of `annotate_batch` if the files are
pictures with COCO annotations, or `READY.json` names that stage, and otherwise of `ingest_batch`.

**Starts** automatically. By hand: *Trigger*; no batch is registered twice.

**Look at** the log of `register`: a line for each batch that was registered, refused (with the reason) or found
incomplete, with a warning when nothing was written to an incomplete batch for an hour (`[sim2edge]
inbox_overdue_minutes`). *Skipped* means that no new batch was complete.

**When it fails**: the last line of the log reports that S3 does not answer, or refuses the keys. Nothing is lost: the
next run registers what this one did not. A *refused* batch stays pending until its producer has fixed it.

**Redo** a batch: *Trigger* `ingest_batch` with the batch in the first field.

Owner: data engineering.
"""

from datetime import timedelta

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from sim2edge_airflow.assets import ANNOTATIONS, ARRIVED, DELIVERY, watched
from sim2edge_airflow.operators.register_operator import RegisterOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS


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
    """Register new batches."""
    RegisterOperator(
        task_id="register",
        outlet=DELIVERY,
        starts="ingest_batch",
        execution_timeout=timedelta(minutes=10),
        priority_weight=1000,
        doc_md="Registers each complete new batch; logs refused and incomplete ones.",
    )
    RegisterOperator(
        task_id="register_annotations",
        outlet=ANNOTATIONS,
        starts="annotate_batch",
        stage="annotate",
        execution_timeout=timedelta(minutes=10),
        priority_weight=1000,
        doc_md="Registers each complete new batch of pictures with annotations.",
    )


watch_inbox()
