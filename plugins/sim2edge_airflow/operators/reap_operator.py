"""The task of the `reap_containers` DAG: asks Airflow, and the engine or the cluster; removes what no task owns."""

from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sim2edge.errors import BadInput, Unavailable
from sim2edge.stages import stage_names
from sim2edge_airflow.runtimes.stage_settings import read_stage_settings


class ReapOperator(BaseOperator):
    """Removes this deployment's containers and pods that no task owns; with the param `dry_run` it only says so."""

    ui_color = "#f4e4d4"

    def execute(self, context: Context) -> list[str]:
        """Reap; returns a line for each container and pod.

        Raises:
            AirflowFailException: this worker may not use the engine or the cluster.
            AirflowException: it does not answer; the task is retried.
        """

        def states_of(dag: str, runs: list[str]) -> Any:
            return context["ti"].get_task_states(dag_id=dag, run_ids=runs)

        try:
            lines = self._reap(states_of, dry_run=bool(context["params"].get("dry_run")))
        except BadInput as error:
            raise AirflowFailException(str(error)) from None
        except Unavailable as error:
            raise AirflowException(str(error)) from None
        for line in lines:
            self.log.warning(line)
        self.log.info("%d containers that no task owned", len(lines))
        return lines

    def _reap(self, states_of: Any, dry_run: bool) -> list[str]:
        used, lines = runtimes_used(), []
        # The clients take up to two seconds to import: only where they are used, and not whenever the DAG is parsed.
        if "docker" in used:
            from sim2edge_airflow.runtimes.container_reaper import reap

            lines += reap(states_of, dry_run)
        if "kubernetes" in used:
            from sim2edge_airflow.runtimes.pod_reaper import reap_pods

            lines += reap_pods(states_of, dry_run)
        return lines


def runtimes_used() -> set[str]:
    """Return where stages run here, by the deployment's setting or a stage's own: process, docker, kubernetes.

    Raises:
        BadInput: the file of stages is wrong.
    """
    default, path = conf.get("sim2edge", "runtime"), Path(conf.get("sim2edge", "stages"))
    return {read_stage_settings(path, stage, tag="any").runtime or default for stage in stage_names()}
