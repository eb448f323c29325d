"""
### retrain: requests become one training

`decide` waits until the open requests may start a training: there is enough new data, or a request for another reason;
requests that come together are joined; no training is running; the cool-down has passed. `start` records the
**training** with all its reasons and starts `train_model`, whose run shows them as its note.

**Starts** when a request is stored in `retrain/open/` on S3: `data_cleaning` submits one for new frames, users and
programs with `sim2edge retrain`; and every ten minutes in any case. A run without open requests is *skipped*.

**By hand**: *Trigger*, with a reason. With `now` the cool-down is skipped. (To train without a request, trigger
`train_model` with a batch.)

**Look at** the log of `decide`: each decision is logged with its reason. `sim2edge retrain --list` lists the open
requests, and the last trainings with their reasons. The policy is in `dags/train_model.yml`, under `retrain:`.

**To stop trainings**, pause this DAG or `train_model`: requests then stay open.

**When it fails**: `decide` failed: the log names the error in this run's request, or reports that S3 does not answer.
`start` failed: clear it; it continues with the same training and the same requests. A request that cannot be fulfilled
is named in the log and stays in `retrain/open/`; delete it there.

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
    """Decide on a training, and start it."""
    decided = Decide(
        task_id="decide",
        policy=PIPELINE.retrain,
        defaults=PIPELINE.overrides,
        timeout=timedelta(days=7),
        retries=10,
        execution_timeout=timedelta(minutes=5),
        doc_md="Waits until the open requests may start a training; logs why it waits.",
    )
    started = StartTraining(
        task_id="start",
        defaults=PIPELINE.overrides,
        outlets=[TRAINING],
        execution_timeout=timedelta(minutes=10),
        doc_md="Joins the open requests in one training and starts it; every try starts the same training.",
    )
    decided >> started


retrain()
