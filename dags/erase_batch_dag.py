"""
### erase_batch: the data of a withdrawn batch are deleted for good

`erase` deletes the bytes of the batch and of everything that was made from it, models and releases included unless
`keep_models` is given, and keeps a proof of what was deleted (docs/withdraw.md). It is final.

**Starts** from the page of a withdrawn batch, *Erase*; or *Trigger*, with the batch in the first field, a reason,
and the batch once more. It does what `sim2edge withdraw --erase --yes` does, as the user who started it.
Killed anywhere, it is completed by running it again.

**Look at** the log of `erase`: the number of objects that were deleted.

**When it fails**: the last line of the log names the ring, device or champion that uses a model of the batch: roll back
first, and wait for the devices, or give `keep_models`. Or the role may not delete: the worker needs `erase.env` among
its credentials (docs/access.md).

Owner: data engineering.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAtRuntime, dag

from sim2edge_airflow.operators.withdraw_operator import ERASE_PARAMS, WithdrawOperator
from sim2edge_airflow.run_settings import DEFAULT_ARGS


@dag(
    dag_id="erase_batch",
    description="Erases the data of a withdrawn batch",
    doc_md=__doc__,
    schedule=PartitionedAtRuntime(),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS | {"owner": "data engineering"},
    params=ERASE_PARAMS,
    tags=["sim2edge", "data"],
)
def erase_batch() -> None:
    """Erase a batch."""
    WithdrawOperator(
        task_id="erase",
        role="erase",
        execution_timeout=timedelta(hours=6),
        doc_md="Deletes the data of the batch and of what was made from it; keeps a proof.",
    )


erase_batch()
