"""
### release_model: an accepted model goes to the fleet

`export` converts the model, compares every variant in the device's own runtime and chooses the cheapest for its device
class: the **release**. `push` signs it into the update repository for a ring. The devices of the ring install it, run a
trial, and roll back if the trial fails.

**Starts** when `train_model` accepted a model. By hand: *Trigger*, with a batch in the first field: the latest
accepted verdict filed under that batch (a model is filed under the last batch it learned from) is released; a release
made before is a cache hit.

**When it fails**: `export` failed without a retry: no variant passed; its log has the table of variants. `push` failed:
the update repository is unchanged; the log names the missing key or file.

Owner: robotics.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.assets import RELEASE, ROLLOUT, VERDICT
from sim2edge_airflow.operators.release_approval import with_approval
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, run_params


@dag(
    dag_id="release_model",
    description="An accepted model to a signed release",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=VERDICT),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "robotics"},
    params=run_params("release_model"),
    tags=["sim2edge", "model"],
)
def release_model() -> None:
    """Export a model, and push its release."""
    release = StageOperator(
        stage="export",
        inputs={"verdict": "verdict/{partition}/latest", "model": "verdict.model", "dataset": "verdict.dataset"},
        outlets=[RELEASE],
        execution_timeout=timedelta(hours=2),
        pool="train",
        pool_slots=2,
        doc_md="ONNX, TorchScript, TFLite; parity and size of each; the bundle a device installs.",
    )
    push = StageOperator(
        stage="push",
        inputs={"release": release.output},
        outlets=[ROLLOUT],
        execution_timeout=timedelta(minutes=30),
        doc_md="Signs the release into the update repository and moves the ring.",
    )
    with_approval(release, push)


release_model()
