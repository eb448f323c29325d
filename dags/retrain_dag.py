"""
### retrain: requests become one training

`decide` waits for the moment: there is enough new data, or somebody asks for other reasons; who asks at the same time
is joined; no training is going on; a cool-down has passed. `start` records the **training** with all its reasons and
starts `train_model`, whose run shows them as its note.

**Starts** by itself when something lies in `retrain/open/` on S3: `data_cleaning` puts a request there for frames that
are new, others do it with `sim2edge retrain`. Every ten minutes it looks in any case. A run that finds nothing to do
is *skipped*.

**By hand**: *Trigger*, with a reason. With `now` the cool-down is skipped. (To train without asking, trigger
`train_model` with a batch id as its partition key.)

**Look at** the log of `decide`: each look says why it waits or rests. `sim2edge retrain --list` shows what is open, and
the last trainings with their reasons. When to train is in `dags/train_model.yml`, under `retrain:`.

**To stop trainings**, pause this DAG or `train_model`: requests then wait here.

**When it fails**: `decide` red names what is wrong with the request of this run, or that S3 does not answer. `start`
red: clear it; it goes on with the same training and the same requests. A request that cannot be served is named in the
log and left in `retrain/open/`; remove it there.

Owner: machine learning.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag

from sim2edge_airflow.assets import REQUESTED, TRAINING
from sim2edge_airflow.operators.retrain_operators import PARAMS, Decide, StartTraining
from sim2edge_airflow.run_settings import DEFAULT_ARGS
from sim2edge_airflow.scheduling.pipeline_file import read_pipeline

PIPELINE = read_pipeline(Path(__file__).with_name("train_model.yml"))


@dag(
    dag_id="retrain",
    description="Requests for a training to one training",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("*/10 * * * *", timezone="UTC"), assets=[REQUESTED]),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "machine learning"},
    params=PARAMS,
    tags=["sim2edge", "model"],
)
def retrain() -> None:
    """Decide, start."""
    decided = Decide(
        task_id="decide",
        policy=PIPELINE.retrain,
        defaults=PIPELINE.overrides,
        timeout=timedelta(days=7),
        retries=10,
        execution_timeout=timedelta(minutes=5),
        doc_md="Waits until the open requests are to become a training; its log says why it waits.",
    )
    started = StartTraining(
        task_id="start",
        defaults=PIPELINE.overrides,
        outlets=[TRAINING],
        execution_timeout=timedelta(minutes=10),
        doc_md="Joins the open requests in one training and starts it; the same training at every try.",
    )
    decided >> started


retrain()
