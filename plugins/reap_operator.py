"""The task of the `reap_containers` DAG: asks Airflow and the engine, removes what no task owns, says what it did."""

from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from stage_settings import read_stage_settings

from sim2edge.errors import BadInput, Unavailable
from sim2edge.stage import STAGE_NAMES


class ReapOperator(BaseOperator):
    """Removes the containers of this deployment that no task owns; with the param `dry_run` it only says so."""

    ui_color = "#f4e4d4"

    def execute(self, context: Context) -> list[str]:
        """Reap; returns a line for each container.

        Raises:
            AirflowFailException: this worker may not use the engine.
            AirflowException: the engine does not answer; the task is retried.
        """
        from container_reaper import reap  # the engine's client takes 0.2 s to import: not wherever the DAG is parsed

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


def docker_is_used() -> bool:
    """Whether any stage runs in containers of an engine here, by the deployment's setting or a stage's own.

    Raises:
        BadInput: the file of stages is wrong.
    """
    if conf.get("sim2edge", "runtime") == "docker":
        return True
    stages = Path(conf.get("sim2edge", "stages"))
    return any(read_stage_settings(stages, stage, tag="any").runtime == "docker" for stage in STAGE_NAMES)
