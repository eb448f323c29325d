"""
### withdraw_batch: a batch is used no more

`withdraw` marks the batch: nothing new is made from it, and open requests for a training on its data are dropped. Its
log lists what was made from it: artifacts, champion, rings, devices. With `retrain` it requests a training without the
batch. With the action `lift` it takes the mark back (docs/withdraw.md).

**Starts** from the page of a batch, *Withdraw*; or *Trigger*, with the batch in the first field, and a reason. It
does what `sim2edge withdraw` does, as the user who started it. Started again, it changes nothing.

**Look at** the log of `withdraw`. Rings that offer a release of the batch keep it until they are rolled back, on the
page *Devices*.

**When it fails**: the last line of the log says that nothing of the batch is known, that the reason is missing, or that
the role may not write: the worker needs `withdraw.env` among its credentials (docs/access.md). Clear it once the cause
is fixed.

Owner: data engineering.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAtRuntime, dag

from sim2edge_airflow.operators.withdraw_operator import WITHDRAW_PARAMS, WithdrawOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="withdraw_batch",
    description="Withdraws a batch, or lifts that",
    doc_md=__doc__,
    schedule=PartitionedAtRuntime(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    params=WITHDRAW_PARAMS,
    tags=["sim2edge", "data"],
)
def withdraw_batch() -> None:
    """Withdraw a batch."""
    WithdrawOperator(
        task_id="withdraw",
        role="withdraw",
        execution_timeout=timedelta(minutes=30),
        priority_weight=1000,
        doc_md="Marks the batch, or takes the mark back; logs what was made from it.",
    )


withdraw_batch()
