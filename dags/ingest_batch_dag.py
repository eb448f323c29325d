"""
### ingest_batch: a batch of the inbox becomes episodes

`ingest` checks the logs that a producer delivered under `inbox/<batch>/`, file by file against `READY.json`, and
commits the batch's **episodes**, one per log, as `capture` does with simulated drives; `data_cleaning` follows.

**Starts** when `watch_inbox` has registered a batch. By hand: *Trigger*, with the batch in the first field; a
batch that was ingested before is a cache hit, and the chain continues with it. Settings such as `ingest.skip_bad=true`
or `ingest.topics.image=/front/image` are overrides of the run.

**Look at** the task's *Artifact* link: the report of each log, with the data converted and left out.

**When it fails**: failed without a retry means a bad delivery: the last line of the log names the file and the topic.
Have the producer deliver it again under another batch id, or *Trigger* with `ingest.skip_bad=true`. Partial results
are never visible. Do not pause this DAG for long: while it is paused, `watch_inbox` registers no batch.

Owner: data engineering.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.assets import DELIVERY, EPISODES
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, run_params


@dag(
    dag_id="ingest_batch",
    description="A batch of the inbox to episodes",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=DELIVERY),
    catchup=False,
    max_active_runs=100,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    deadline=late_batch(__doc__),
    params=run_params("ingest_batch"),
    tags=["sim2edge", "data"],
)
def ingest_batch() -> None:
    """Ingest."""
    StageOperator(
        stage="ingest",
        outlets=[EPISODES],
        execution_timeout=timedelta(hours=2),
        pool="capture",
        pool_slots=1,
        doc_md="The delivered logs, checked and brought to common ticks: episodes.",
    )


ingest_batch()
