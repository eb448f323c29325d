"""
### fleet_change: a ring of the fleet moves to a release that exists

`push` signs a release that was made before into the update repository for a ring: to roll the ring back, or to give it
what another ring has. Devices of the ring install it at their next poll, run a trial, and roll back if it fails. Its
model becomes champion, as with every push.

**Starts** from the page *Devices*; or *Trigger*, with the batch that the release is filed under in the first field, the
release, the ring and a reason. If `expected` names a rollout, and the ring has another one by now, nothing is done. It
does what `sim2edge push --input release=... ring=...` does. Give the permission on this DAG to who may decide about
the fleet; `[sim2edge] release_approval` does not apply to it: who starts it has decided.

**When it fails**: the last line of the log says that the ring has moved meanwhile, that the release derives from a
withdrawn batch or was erased, or names the missing key or file; the update repository is unchanged.

Owner: robotics.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAtRuntime, dag

from sim2edge_airflow.assets import ROLLOUT
from sim2edge_airflow.operators.ring_operator import PARAMS, RingOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="fleet_change",
    description="A ring moves to a release that exists",
    doc_md=__doc__,
    schedule=PartitionedAtRuntime(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "robotics"},
    params=PARAMS,
    tags=["sim2edge", "model"],
)
def fleet_change() -> None:
    """Push a release to a ring."""
    RingOperator(
        stage="push",
        outlets=[ROLLOUT],
        execution_timeout=timedelta(minutes=30),
        priority_weight=1000,
        doc_md="Signs the release into the update repository and moves the ring.",
    )


fleet_change()
