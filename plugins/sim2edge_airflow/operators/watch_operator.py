"""Look whose the statuses of the enrolled devices are: the task `watch` of the `refresh_fleet` DAG.

It remembers what it saw (`enrol/sightings.py`), so that a copied card and a status that was sent again are noticed, and
alerts once when a device's identity becomes doubtful. How many are doubtful is a metric, for an alert that lasts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.observability import stats

from sim2edge.fleet import Device, watch_fleet
from sim2edge_airflow.alerts.channels import deliver
from sim2edge_airflow.alerts.report import Alert, part
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.operators.failures import plainly, recorded

MAX_NAMED = 10


class WatchOperator(BaseOperator):
    """Alerts of devices whose status is no longer their own."""

    ui_color = "#f4e4d4"

    def execute(self, context: Context) -> dict[str, str]:
        """Look, alert, and return the devices that became doubtful since the last look, with what is doubtful.

        Raises:
            AirflowFailException: the register of devices, or what was seen of them, is invalid.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        with recorded(context):
            found = plainly(lambda: watch_fleet(connect_bus()))
        stats.gauge("sim2edge.fleet.doubtful", len(found.doubtful))
        if found.news:
            deliver(describe_doubtful(context, found.news))
        return {device.device: str(device.identity) for device in found.news}


def describe_doubtful(context: Mapping[str, Any], devices: Sequence[Device]) -> Alert:
    """Return the alert about devices whose identity became doubtful."""
    instance, task = context["ti"], context["task"]
    named = [f"{device.device}: {device.message}" for device in devices[:MAX_NAMED]]
    more = [f"and {len(devices) - MAX_NAMED} more"] if len(devices) > MAX_NAMED else []
    return Alert(
        kind="identity_doubtful",
        title="a device's status is not its own" if len(devices) == 1 else "statuses of devices are not their own",
        dag=instance.dag_id,
        run=instance.run_id,
        batch=None,
        owner=task.owner,
        problem="; ".join([*named, *more]),
        log=instance.log_url,
        what_to_do=part(task.dag.doc_md or "", "When a device is doubtful"),
        task=instance.task_id,
    )
