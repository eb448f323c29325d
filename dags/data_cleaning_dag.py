"""
### data_cleaning: a batch's episodes become frames

`clean` checks and synchronises the episodes of one batch, quarantines unusable data with the reason, and commits the
batch's **frames** with a quality report. `request_training` then requests a training, unless the last one learned from
these frames with these settings; `retrain` decides when it starts.

**Starts** when `sim_capture` or `ingest_batch` has committed a batch. By hand: *Trigger*, with the batch in the
first field.

**Look at** the task's *Artifact* link: `report.html` shows pictures, counts and the quarantined data;
`quarantine.csv` lists the reasons.

**When it fails**: failed without a retry means bad data or config: the last line of the log names episode, file or
field. If all episodes of a batch failed, capture it again with other settings. Other batches are not affected.

Owner: data engineering.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.assets import EPISODES, FRAMES
from sim2edge_airflow.operators.retrain_operators import RequestTraining
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, run_params

PIPELINE = Path(__file__).with_name("train_model.yml")


@dag(
    dag_id="data_cleaning",
    description="Episodes of one batch to frames",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=EPISODES),
    catchup=False,
    max_active_runs=100,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    deadline=late_batch(__doc__),
    params=run_params("data_cleaning"),
    tags=["sim2edge", "data"],
)
def data_cleaning() -> None:
    """Clean, request a training."""
    frames = StageOperator(
        stage="clean",
        outlets=[FRAMES],
        execution_timeout=timedelta(hours=2),
        pool="capture",
        pool_slots=2,
        doc_md="Checked, synchronised, resized frames; a quality report; a quarantine with reasons.",
    )
    RequestTraining(
        task_id="request_training",
        frames=frames.output,
        pipeline=PIPELINE,
        execution_timeout=timedelta(minutes=5),
        doc_md="Requests a training from `retrain`, unless the last one learned from these frames.",
    )


data_cleaning()
