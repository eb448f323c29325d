"""Withdraw a batch, lift that, or erase its data: the tasks of `withdraw_batch` and `erase_batch`.

They do what `sim2edge withdraw` does, by the same functions, with the S3 role of their DAG. Who decided it is the user
who started the run, whatever its conf says.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context, Param

from sim2edge.errors import BadInput
from sim2edge.manifest import check_partition
from sim2edge.withdraw_commands import MAX_REASON, act, read_arguments
from sim2edge_airflow.connections import connect_bus_as
from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.run_settings import batch_param, check_names

REASON = Param(
    "",
    type="string",
    maxLength=MAX_REASON,
    title="Reason",
    description_md="One sentence, for everyone who meets the batch later. **Required**.",
)
WITHDRAW_PARAMS = {
    "batch": batch_param("withdraw_batch"),
    "reason": REASON,
    "action": Param(
        "withdraw",
        enum=["withdraw", "lift"],
        title="Action",
        description_md="**withdraw** the batch, or **lift** that. Default: withdraw.",
    ),
    "retrain": Param(
        False,
        type=["null", "boolean"],
        title="Request a training",
        description_md="Without the batch, or with it again. Default: no.",
    ),
}
ERASE_PARAMS = {
    "batch": batch_param("erase_batch"),
    "reason": REASON,
    "confirm": Param(
        "",
        type="string",
        maxLength=63,
        title="The batch again",
        description_md="The name of the batch once more, as erasing is final. **Required**.",
    ),
    "keep_models": Param(
        False,
        type=["null", "boolean"],
        title="Keep models",
        description_md="Keep models and releases that learned from it. Default: they are erased, too.",
    ),
}


class WithdrawOperator(BaseOperator):
    """Runs `sim2edge withdraw` for the batch of its DAG run.

    Args:
        role: the S3 role; `erase` erases.
    """

    ui_color = "#f4e4d4"

    def __init__(self, *, role: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.role = role

    def execute(self, context: Context) -> list[str]:
        """Do it, log everything that is affected, and return a line for each change.

        Raises:
            AirflowFailException: the batch is unknown, the reason is missing, or its models are in use.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        return plainly(lambda: self._act(context))

    def _act(self, context: Context) -> list[str]:
        run, params = context["dag_run"], context["params"]
        check_names(params, ERASE_PARAMS if self.role == "erase" else WITHDRAW_PARAMS)
        by = run.triggering_user_name or "Airflow"
        words = (erase_words if self.role == "erase" else withdraw_words)(run.partition_key, params, by)
        report = act(connect_bus_as(self.role), read_arguments(words))
        for line in report.lines():
            self.log.info("%s", line)
        return report.done


def withdraw_words(batch: str | None, params: Mapping[str, Any], by: str) -> Sequence[str]:
    """Return the command line that withdraws a batch, or lifts that.

    Raises:
        BadInput: the run has no partition key.
    """
    options = [*(["--undo"] if params["action"] == "lift" else []), *(["--retrain"] if params["retrain"] else [])]
    return [check_batch(batch), f"--reason={params['reason']}", f"--by={by}", *options]


def erase_words(batch: str | None, params: Mapping[str, Any], by: str) -> Sequence[str]:
    """Return the command line that erases a batch.

    Raises:
        BadInput: the run has no partition key, or `confirm` is not the batch.
    """
    name = check_batch(batch)
    if params["confirm"] != name:
        raise BadInput(f"confirm: expected '{name}', the batch to erase: that is final")
    keep = ["--keep-models"] if params["keep_models"] else []
    return [name, f"--reason={params['reason']}", f"--by={by}", "--erase", "--yes", *keep]


def check_batch(batch: str | None) -> str:
    """Return the batch of a run.

    Raises:
        BadInput: it is missing, or is none.
    """
    if not batch:
        raise BadInput("this run has no partition key: trigger the DAG with the batch in the first field")
    return check_partition(batch)
