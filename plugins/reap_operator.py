"""The task of the `reap_containers` DAG: asks Airflow and the engine, removes what no task owns, says what it did."""

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from container_reaper import reap

from sim2edge.errors import BadInput, Unavailable


class ReapOperator(BaseOperator):
    """Removes the containers of this deployment that no task owns; with the param `dry_run` it only says so."""

    ui_color = "#f4e4d4"

    def execute(self, context: Context) -> list[str]:
        """Reap; returns a line for each container.

        Raises:
            AirflowFailException: this worker may not use the engine.
            AirflowException: the engine does not answer; the task is retried.
        """

        def states_of(dag: str, runs: list[str]) -> Any:
            return context["ti"].get_task_states(dag_id=dag, run_ids=runs)

        try:
            lines = reap(states_of, dry_run=bool(context["params"].get("dry_run")))
        except BadInput as error:
            raise AirflowFailException(str(error)) from None
        except Unavailable as error:
            raise AirflowException(str(error)) from None
        for line in lines:
            self.log.warning(line)
        self.log.info("%d containers that no task owned", len(lines))
        return lines
