"""
### data_cleaning: a batch's episodes become frames

`clean` checks and synchronises the episodes of one batch, sets aside what it cannot use with the reason, and commits
the batch's **frames** with a quality report. `request_training` then asks for a training, if the last one did not have
these frames with these settings; `retrain` decides when.

**Starts** when `sim_capture` has made a batch. By hand: *Trigger*, with the batch id as the partition key.

**Look at** the task's *Artifact* link: `report.html` shows pictures, counts and what was set aside; `quarantine.csv`
says why.

**When it fails**: red and not retried is bad data or config: the last line of the log names episode, file or field.
If all episodes of a batch failed, capture it again with another setting; a batch that is set aside stops nothing
else.

Owner: data engineering.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.assets import EPISODES, FRAMES
from sim2edge_airflow.operators.retrain_operators import RequestTraining
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, PARAMS
from sim2edge_airflow.scheduling.pipeline_file import read_pipeline

PIPELINE = read_pipeline(Path(__file__).with_name("train_model.yml"))


@dag(
    dag_id="data_cleaning",
    description="Episodes of one batch to frames",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=EPISODES),
    catchup=False,
    max_active_runs=100,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    deadline=late_batch(__doc__),
    params=PARAMS,
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
        defaults=PIPELINE.overrides,
        execution_timeout=timedelta(minutes=5),
        doc_md="Asks `retrain` for a training, when the frames are new to the last one.",
    )


data_cleaning()
