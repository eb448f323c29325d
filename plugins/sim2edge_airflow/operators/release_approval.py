"""Require a person's approval of a release: task `approve`, between `export` and `push`, if the deployment enables it.

    [sim2edge]
    release_approval = true
    release_approval_hours = 24

The task waits in Airflow's list of required actions, without a worker slot. Approved: `push` runs. Rejected, or not
answered in time: `push` is skipped and nothing fails; clear `approve` to request an answer again. Every few minutes the
task looks whether the answer can still matter: when a newer model was accepted, the request is withdrawn, so that the
newer release can ask.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from sim2edge.bus import Bus
from sim2edge.config import load
from sim2edge.fleet import list_devices, read_fleet
from sim2edge.manifest import Manifest
from sim2edge.push.config import PushConfig
from sim2edge.registry import ACCEPTED_REF
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.number_settings import read_number
from sim2edge_airflow.operators.failures import plainly
from sim2edge_airflow.operators.stage_inputs import check_left
from sim2edge_airflow.run_settings import read_run_settings

METRICS = ("floor_accuracy", "map_50", "map_50_95", "distance_error_m", "frames")
RELEASE = ("chosen", "latency", "bundle_bytes")


LOOK_AGAIN = timedelta(minutes=2)
"""How often a request is checked for having become pointless."""
MAX_NAMED = 10


class ApproveRelease(ApprovalOperator):
    """Shows a release with its ring and the verdict on its model, and requests a person's approval.

    Args:
        release: the reference of the release.
    """

    template_fields = ("subject", "body", "release")

    def __init__(self, *, release: Any, **kwargs: Any) -> None:
        self.patience = timedelta(hours=read_number("release_approval_hours", 0.01, 10_000))
        super().__init__(
            subject="Send this release to the fleet?",
            response_timeout=min(LOOK_AGAIN, self.patience),
            **kwargs,
        )
        self.release = release

    def execute(self, context: Context) -> Any:
        """Request the approval, and wait until it is answered, times out, or has become pointless.

        Raises:
            AirflowFailException: the release or its verdict is missing or invalid, or a setting of `push` is.
            AirflowException: S3 cannot be reached; the task is retried.
        """

        def describe_all() -> str:
            check_left(self.release, "release")
            run, bus = read_run_settings(context), connect_bus()
            push = load(PushConfig, "push", run.preset_of("push"), run.for_stage("push"))
            return "\n".join([describe(bus, self.release), "", describe_rollout(bus, push.ring)])

        self.body = plainly(describe_all)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any], deadline: str | None = None) -> Any:
        """Act on the answer; without one, wait on, unless the time is up or a newer model was accepted.

        Args:
            context: that of the task.
            event: the answer, or that there is none yet.
            deadline: when the time is up, in ISO form; None: this is the first look.

        Raises:
            AirflowSkipException: the request is withdrawn; `push` is skipped.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        if event.get("error_type") != "timeout":
            return super().execute_complete(context, event)
        if newer := plainly(lambda: find_newer(connect_bus(), self.release)):
            raise AirflowSkipException(f"withdrawn: {newer} was accepted since, and its release will be asked for")
        now = datetime.now(UTC)
        end = datetime.fromisoformat(deadline) if deadline else now + self.patience - LOOK_AGAIN
        if end <= now:
            raise AirflowSkipException(f"not answered within {self.patience.total_seconds() / 3600:g} hours: not sent")
        again = {"deadline": end.isoformat()}
        raise TaskAwaitingInput(method_name="execute_complete", kwargs=again, timeout=min(LOOK_AGAIN, end - now))


def with_approval(release: Any, push: Any) -> None:
    """Put `approve` between two tasks, if `[sim2edge] release_approval` is true."""
    if not conf.getboolean("sim2edge", "release_approval"):
        return
    approve = ApproveRelease(
        task_id="approve",
        release=release.output,
        execution_timeout=timedelta(minutes=10),
        doc_md="Waits for a person: Approve sends the release to the fleet; Reject, or no answer in time, does not.",
    )
    release >> approve >> push


def describe(bus: Bus, reference: str) -> str:
    """Return a release and the verdict on its model, as Markdown.

    Raises:
        BadInput: one of them is missing or cannot be read.
    """
    release = bus.open(reference)
    verdicts = [bus.open(each) for each in release.inputs.get("verdict", ())]
    lines = [f"**Release** `{release.reference}`", "", *table(release.summary, RELEASE)]
    for verdict in verdicts:
        lines += ["", f"**Verdict** {verdict_of(verdict)} `{verdict.reference}`", "", *table(verdict.summary, METRICS)]
    return "\n".join(lines)


def describe_rollout(bus: Bus, ring: str) -> str:
    """Return what approving does, as Markdown: the ring, what it has now, its devices, and the steps."""
    now = bus.read_ref(f"refs/rings/{ring}")
    devices = [each.device for each in read_fleet(bus, list_devices(bus)) if each.ring == ring]
    named = ", ".join(devices[:MAX_NAMED]) + (
        f" and {len(devices) - MAX_NAMED} more" if len(devices) > MAX_NAMED else ""
    )
    return "\n".join(
        [
            f"**Ring** `{ring}`, which has {f'`{now.target}`' if now else 'no release yet'}",
            f"**Devices** in it: {len(devices)}{f' ({named})' if named else ''}",
            "",
            "1. The release is signed into the update repository, and the ring moves to it.",
            "2. Its devices install it at their next poll and run a trial of it.",
            "3. A device whose trial fails rolls back to what it had; the others keep the release.",
        ]
    )


def find_newer(bus: Bus, release: str) -> str | None:
    """Return the model that was accepted after that of a release; None if there is none."""
    accepted = bus.read_ref(ACCEPTED_REF)
    models = bus.open(release).inputs.get("model", ())
    return accepted.target if accepted and accepted.target not in models else None


def verdict_of(verdict: Manifest) -> str:
    """Return "accepted" with the classes and floors not judged, or the reason why the gate refused."""
    open_ = ", ".join(name for names in verdict.summary.get("not_judged", {}).values() for name in names)
    word = f"refused: {verdict.refused}" if verdict.refused else "accepted"
    return f"{word} (not judged: {open_})" if open_ and not verdict.refused else word


def table(summary: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return those of the named values that a summary has, as the lines of a Markdown table."""
    known = [(name, summary[name]) for name in names if isinstance(summary.get(name), int | float | str)]
    rows = [
        f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |" for name, value in known
    ]
    return ["| | |", "|---|---|", *rows] if rows else []
