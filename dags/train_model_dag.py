"""
### train_model: frames become a model that may replace the champion

`augment` builds a frozen **dataset** from the frames of all batches, split by episode; `train` trains the **model**,
tracked in MLflow; `validate` compares it with fixed limits and with the champion on the same data and commits the
**verdict**. An accepted model starts `release_model`. A refused one starts nothing: `validate` is then *skipped*, with
the rule that refused it in its log and in its XCom `refused`; that is a verdict, not a failure.

**Starts** when `retrain` has started a training; the note of the run names the reasons. By hand: *Trigger*, with a
batch in the first field, without any request or policy; overrides such as `augment.noise=0.1` re-run that stage
and those downstream, the others are cache hits.

**Tune** timeouts, retries and settings in `dags/train_model.yml`, next to this file. A run reads the settings once, at
its start.

**When it fails**: `give_back` opens the requests of the training again; they join the next one, so that new data or a
person starts it. `train` resumes from the last epoch's checkpoint when it is retried or cleared. Failed without a
retry means bad config or data: the last line of the log names it.

Owner: machine learning.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.assets import DATASET, MODEL, TRAINING, VERDICT
from sim2edge_airflow.operators.pipeline_settings import PipelineSettings
from sim2edge_airflow.operators.retrain_operators import GiveBack
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, run_params
from sim2edge_airflow.scheduling.pipeline_file import read_pipeline

FILE = Path(__file__).with_name("train_model.yml")
PIPELINE = read_pipeline(FILE, ("augment", "train", "validate"))
HOW = {stage: how.task_arguments() for stage, how in PIPELINE.stages.items()}


@dag(
    dag_id="train_model",
    description="Frames of all batches to a validated model",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=TRAINING),
    catchup=False,
    max_active_runs=PIPELINE.max_active_runs,
    default_args=DEFAULT_ARGS | {"owner": "machine learning"},
    params=run_params("train_model"),
    tags=["sim2edge", "model"],
)
def train_model() -> None:
    """Augment a dataset, train a model on it, and validate the model."""
    settings = PipelineSettings(
        task_id="settings",
        pipeline=FILE,
        execution_timeout=timedelta(minutes=5),
        doc_md="The overrides of `train_model.yml`, read once: an edit meanwhile changes the next run.",
    )
    dataset = StageOperator(
        stage="augment",
        overrides=settings.output["augment"],
        outlets=[DATASET],
        doc_md="Split by episode, augmented training split, class balance: a frozen dataset.",
        **HOW["augment"],
    )
    model = StageOperator(
        stage="train",
        overrides=settings.output["train"],
        inputs={"dataset": dataset.output},
        outlets=[MODEL],
        doc_md="The perception recipe, tracked in MLflow, with a checkpoint every epoch.",
        **HOW["train"],
    )
    verdict = StageOperator(
        stage="validate",
        overrides=settings.output["validate"],
        inputs={"model": model.output, "dataset": dataset.output},
        outlets=[VERDICT],
        doc_md="Metrics on held-out episodes against fixed limits and against the champion.",
        **HOW["validate"],
    )
    again = GiveBack(
        task_id="give_back",
        execution_timeout=timedelta(minutes=5),
        doc_md="Opens the requests of a training again that has failed; they join the next training.",
    )
    verdict >> again.as_teardown()


train_model()
