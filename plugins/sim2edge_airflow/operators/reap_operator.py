"""Remove orphaned containers and pods: the task of the `reap_containers` DAG."""

from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sim2edge.errors import BadInput, Unavailable
from sim2edge.stages import stage_names
from sim2edge_airflow.deployment_settings import read_runtime, read_stage


class ReapOperator(BaseOperator):
    """Removes this deployment's orphaned containers and pods; with the param `dry_run` it only lists them."""

    ui_color = "#f4e4d4"

    def execute(self, context: Context) -> list[str]:
        """Remove orphaned containers and pods, and return a line for each.

        Raises:
            AirflowFailException: this worker is not permitted to use the engine or the cluster.
            AirflowException: the engine or the cluster does not answer; the task is retried.
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
        self.log.info("%d orphaned containers", len(lines))
        return lines

    def _reap(self, states_of: Any, dry_run: bool) -> list[str]:
        used, lines = runtimes_used(), []
        # The clients take up to two seconds to import: import them only if used, and not when the DAG is parsed.
        if "docker" in used:
            from sim2edge_airflow.runtimes.container_reaper import reap

            lines += reap(states_of, dry_run)
        if "kubernetes" in used:
            from sim2edge_airflow.runtimes.pod_reaper import reap_pods

            lines += reap_pods(states_of, dry_run)
        return lines


def runtimes_used() -> set[str]:
    """Return the runtimes in use, by the deployment's setting or a stage's own: process, docker, kubernetes.

    Raises:
        BadInput: the runtime is unknown, or the stages file is invalid.
    """
    default = read_runtime()
    return {read_stage(stage, tag="any").runtime or default for stage in stage_names()}
