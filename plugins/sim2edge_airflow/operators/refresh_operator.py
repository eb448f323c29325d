"""Renew what is due of the update repository: the task of the `refresh_fleet` DAG.

It runs `sim2edge ota refresh` as the stage `push` is run: in the deployment's runtime, with that stage's image,
credentials and online keys, and with no others. What it renews, and when each role expires, becomes the task's result,
metrics, and alerts: the root is renewed by a person, who needs to know in time.
"""

import contextlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from airflow.sdk.observability import stats

from sim2edge.errors import BadInput, Unavailable
from sim2edge.stages import get_stage
from sim2edge_airflow.alerts.channels import deliver
from sim2edge_airflow.alerts.report import Alert, part
from sim2edge_airflow.connections import connect_bus, worker_environment
from sim2edge_airflow.deployment_settings import read_default_preset, read_runtime, read_stage
from sim2edge_airflow.operators.failures import plainly, recorded
from sim2edge_airflow.operators.stage_operator import mask_secrets, owner_of
from sim2edge_airflow.operators.stage_output import StageOutput, parse_event
from sim2edge_airflow.runtimes.choose_runtime import make_runtime
from sim2edge_airflow.runtimes.runtime import EXIT_BAD_INPUT, RunStatus, Runtime, StageJob
from sim2edge_airflow.runtimes.stage_job import job_with_rights_of

TIMESTAMP = "ota/metadata/timestamp.json"
REFRESHED = "refreshed"
"""Event with the result, see `sim2edge.push.commands`."""
ROOT_ALERT_DAYS = (180, 90, 30, 14, 7, 3, 2, 1, 0)
"""Days before the root expires at which people are alerted."""
NOTHING = "there is no update repository: nothing to renew"


class RefreshOperator(BaseOperator):
    """Renews what is past half of its lifetime in the update repository; skipped where there is none."""

    ui_color = "#f4e4d4"

    def __init__(self, *, execution_timeout: timedelta, **kwargs: Any) -> None:
        super().__init__(execution_timeout=execution_timeout, **kwargs)
        self._runtime: Runtime | None = None
        self._run: str | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Renew, and return what was renewed and when each role expires.

        Raises:
            AirflowSkipException: there is no update repository.
            AirflowFailException: a key is missing, or the root has expired.
            AirflowException: S3 or the runtime cannot be reached, or another writer was faster; the task is retried.
        """
        mask_secrets(os.environ)
        with recorded(context):
            found = plainly(lambda: self._refresh(context))
        roles = found.get("roles") or {}
        if not roles:
            raise AirflowSkipException(NOTHING)
        send_metrics(roles)
        previous = context.get("prev_start_date_success")
        since = datetime.fromtimestamp(previous.timestamp(), UTC) if previous else None
        if crossed := root_threshold(datetime.fromisoformat(roles["root"]["expires"]), since, datetime.now(UTC)):
            deliver(describe_root(context, crossed))
        return {"renewed": found["renewed"], **{role: each["expires"] for role, each in roles.items()}}

    def on_kill(self) -> None:
        """End the run when its task is killed."""
        if self._runtime and self._run:
            self._runtime.cancel(self._run)

    def _refresh(self, context: Context) -> dict[str, Any]:
        if not has_repository():
            return {}
        limits = read_stage("push", os.environ.get("SIM2EDGE_TAG") or version("sim2edge"))
        job = self._job(context, limits)
        mask_secrets(job.secrets)
        self._runtime = runtime = make_runtime(limits.runtime or read_runtime())
        self._run = run = runtime.find(job) or runtime.submit(job)
        output, found = StageOutput(self.log), {}
        try:
            for line in runtime.logs(run):
                event = parse_event(line)
                found = event if event and event["event"] == REFRESHED else found
                output.hear(line)
        except BaseException:
            with contextlib.suppress(Unavailable):
                runtime.clean(run)
            raise
        judge(runtime.clean(run), output.error)
        return found

    def _job(self, context: Context, limits: Any) -> StageJob:
        assert self.execution_timeout  # noqa: S101
        preset = read_default_preset()
        arguments = ["ota", *([f"--preset={preset}"] if preset else []), "refresh", "--root", "--if-any"]
        labels = {**owner_of(context["ti"]), "artifact": "ota/refresh"}
        environment = worker_environment(os.environ)
        return job_with_rights_of(get_stage("push"), arguments, labels, self.execution_timeout, limits, environment)


def has_repository() -> bool:
    """Return whether there is an update repository; True if this worker's role may not tell: the job tells then.

    Raises:
        Unavailable: S3 does not answer.
    """
    try:
        return connect_bus().size(TIMESTAMP) is not None
    except Unavailable:
        raise
    except BadInput:
        return True


def judge(status: RunStatus | None, error: str) -> None:
    """Raise the error that a run ended with.

    Raises:
        BadInput: what it was given is wrong.
        AirflowException: it ended in another way; a retry may help.
    """
    if status is None:
        raise AirflowException("the refresh was removed while it ran, but not by its task")
    if status.exit_code == EXIT_BAD_INPUT:
        raise BadInput(error)
    if status.exit_code:
        raise AirflowException(f"the refresh ended with exit code {status.exit_code}: {status.explanation or error}")


def send_metrics(roles: Mapping[str, Mapping[str, Any]]) -> None:
    """Send when each role expires, and when it is due for renewal, as Unix times: rules compare them with the clock."""
    for role, each in roles.items():
        for name in ("expires", "due"):
            stats.gauge(f"sim2edge.ota.{name}.{role}", round(datetime.fromisoformat(each[name]).timestamp()))


def root_threshold(expires: datetime, since: datetime | None, now: datetime) -> int | None:
    """Return the lowest of `ROOT_ALERT_DAYS` that was passed after `since`; None if none was.

    Args:
        expires: when the root expires.
        since: when this was last looked at; None: never.
        now: the time.
    """
    passed = [days for days in ROOT_ALERT_DAYS if expires - now <= timedelta(days=days)]
    new = [days for days in passed if since is None or expires - since > timedelta(days=days)]
    return min(new) if new else None


def describe_root(context: Mapping[str, Any], days: int) -> Alert:
    """Return the alert that the root has to be renewed by a person."""
    instance, task = context["ti"], context["task"]
    problem = f"the root of the update repository expires in less than {days} days" if days else "the root has expired"
    return Alert(
        kind="root_expires",
        title="the fleet's root has to be renewed",
        dag=instance.dag_id,
        run=instance.run_id,
        batch=None,
        owner=task.owner,
        problem=f"{problem}: from then on devices refuse every update",
        log=instance.log_url,
        what_to_do=part(task.dag.doc_md or "", "Once a year"),
        task=instance.task_id,
    )
