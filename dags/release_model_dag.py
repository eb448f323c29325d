"""
### release_model: an accepted model goes to the fleet

`export` converts the model, compares every variant through the device's own runtime and chooses the cheapest for its
class of device: the **release**;
`push` signs it into the update repository for a ring. Devices of the ring install it by themselves, try it, and roll
back if it does not work.

**Starts** when `train_model` accepted a model. By hand: *Trigger*, with a batch id as the partition key: the latest
accepted verdict filed under that batch (a model is filed under the last batch it learned from) is released; a release
that is there already is a cache hit.

**When it fails**: `export` red and not retried: no variant passed, its log has the table of variants. `push` red: the
update repository is as it was before; the log says which key or file is missing.

Owner: whoever owns the robots.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, dag

from sim2edge_airflow.assets import RELEASE, ROLLOUT, VERDICT
from sim2edge_airflow.operators.release_approval import with_approval
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS, PARAMS


@dag(
    dag_id="release_model",
    description="An accepted model to a signed release",
    doc_md=__doc__,
    schedule=PartitionedAssetTimetable(assets=VERDICT),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "whoever owns the robots"},
    params=PARAMS,
    tags=["sim2edge", "model"],
)
def release_model() -> None:
    """Export, push."""
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
