"""Require a person's approval of a release: task `approve`, between `export` and `push`, if the deployment enables it.

    [sim2edge]
    release_approval = true
    release_approval_hours = 24

The task waits in Airflow's list of required actions, deferred, without a worker slot. Approved: `push` runs. Rejected,
or not answered in time: `push` is skipped and nothing fails; clear `approve` to request an answer again.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Unavailable
from sim2edge.manifest import Manifest
from sim2edge_airflow.connections import connect_bus
from sim2edge_airflow.number_settings import read_number
from sim2edge_airflow.operators.stage_inputs import check_left

METRICS = ("floor_accuracy", "map_50", "map_50_95", "distance_error_m", "frames")
RELEASE = ("chosen", "latency", "bundle_bytes")


class ApproveRelease(ApprovalOperator):
    """Shows a release with the verdict on its model, and requests a person's approval.

    Args:
        release: the reference of the release.
    """

    template_fields = ("subject", "body", "release")

    def __init__(self, *, release: Any, **kwargs: Any) -> None:
        super().__init__(
            subject="Send this release to the fleet?",
            defaults=ApprovalOperator.REJECT,
            response_timeout=timedelta(hours=read_number("release_approval_hours", 0.01, 10_000)),
            **kwargs,
        )
        self.release = release

    def execute(self, context: Context) -> Any:
        """Request the approval and defer the task until it is answered or times out.

        Raises:
            AirflowFailException: the release or its verdict is missing or invalid.
            AirflowException: S3 cannot be reached; the task is retried.
        """
        try:
            check_left(self.release, "release")
            self.body = describe(connect_bus(), self.release)
        except BadInput as error:
            raise AirflowFailException(str(error)) from None
        except Unavailable as error:
            raise AirflowException(str(error)) from None
        return super().execute(context)


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
