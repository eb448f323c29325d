"""
### annotate_batch: pictures with annotations of the inbox become frames

`annotate` checks the pictures and COCO annotations that a labelling tool exported and a producer delivered under
`inbox/<batch>/`, and commits the batch's **frames**, as `clean` does with those of drives. `request_training` then
requests a training, unless the last one learned from these frames with these settings.

**Starts** when `watch_inbox` has registered such a batch. By hand: *Trigger*, with the batch in the first field.
Settings such as `annotate.floor=wood` or `annotate.classes={Man: person}` are overrides of the run.

**Look at** the task's *Artifact* link: `report.html` shows pictures, counts and what was quarantined, with the reasons.

**When it fails**: failed without a retry means a bad delivery: the last line of the log names the file and the entry. A
name of a class or floor that is unknown is mapped by an override; anything else is delivered again under another batch
id. Do not pause this DAG for long: while it is paused, `watch_inbox` registers no batch of this kind.

Owner: data engineering.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.assets import ANNOTATIONS, FRAMES
from sim2edge_airflow.operators.retrain_operators import RequestTraining
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, run_params

PIPELINE = Path(__file__).with_name("train_model.yml")


@dag(
    dag_id="annotate_batch",
    description="Annotated pictures of the inbox to frames",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=ANNOTATIONS),
    catchup=False,
    max_active_runs=100,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    deadline=late_batch(__doc__),
    params=run_params("annotate_batch"),
    tags=["sim2edge", "data"],
)
def annotate_batch() -> None:
    """Annotate, request a training."""
    frames = StageOperator(
        stage="annotate",
        outlets=[FRAMES],
        execution_timeout=timedelta(hours=2),
        pool="capture",
        pool_slots=2,
        doc_md="Checked, resized frames of annotated pictures; a quality report; a quarantine with reasons.",
    )
    RequestTraining(
        task_id="request_training",
        frames=frames.output,
        pipeline=PIPELINE,
        execution_timeout=timedelta(minutes=5),
        doc_md="Requests a training from `retrain`, unless the last one learned from these frames.",
    )


annotate_batch()
