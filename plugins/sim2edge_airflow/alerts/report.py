"""Alert people that a task failed for good, or that a batch is late: the problem, its log, and the runbook's advice.

`report_failure` is the failure callback of every task (`run_settings.py`); Airflow calls it once the task has failed,
in the task's process, or in the DAG processor if the task's worker was killed. `report_late` is the callback of
deadlines (`deadlines.py`), in the triggerer. Neither ever raises, and both are bounded in time: `channels.py`.
"""

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote

from airflow.sdk import Context
from airflow.sdk.configuration import conf
from airflow.sdk.log import redact

from sim2edge import lines
from sim2edge.lines import join_lines
from sim2edge_airflow.alerts.channels import deliver

log = logging.getLogger(__name__)

MAX_CHARACTERS = 500
"""Characters of an error in an alert; the rest is in the log."""
KILLED = "its worker was killed, or stopped sending heartbeats: out of memory, or its host went down"
NO_RUNBOOK = "see the DAG's runbook in Airflow"


@dataclass(frozen=True)
class Alert:
    """An alert about one failed task or one late batch."""

    kind: str
    """`task_failed` or `batch_late`."""
    title: str
    dag: str
    run: str
    batch: str | None
    """The partition key; None if the run has none."""
    owner: str
    problem: str
    """One line."""
    log: str
    """URL in Airflow's UI."""
    what_to_do: str
    """From the DAG's runbook."""
    task: str | None = None
    attempt: int | None = None
    artifact: str | None = None
    """URL of the page of the task's artifact; None if it has none, or failed before planning it."""
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Role to references of the task's inputs."""

    @property
    def text(self) -> str:
        """The alert for a person."""
        lines = {
            "Problem": self.problem,
            "Log": self.log,
            "Artifact": self.artifact,
            "Made from": ", ".join(reference for each in self.inputs.values() for reference in each),
            "What to do": self.what_to_do,
            "Owner": self.owner,
        }
        return "\n".join([self.title, *(f"{name}: {value}" for name, value in lines.items() if value)])

    def to_json(self) -> dict[str, Any]:
        """Return the body for a webhook: chat systems show `text`, the rest is for programs."""
        return {"text": self.text, **asdict(self)}


def report_failure(context: Context) -> None:
    """Send the alert that a task has failed and is not retried."""
    try:
        deliver(describe_failure(context))
    except Exception as error:
        log.warning("The alert could not be created: %s", type(error).__name__)


async def report_late(context: Mapping[str, Any], owner: str, when_it_fails: str) -> None:
    """Send the alert that a run missed its deadline, except for a backfill, which its operator watches."""
    try:
        if context["dag_run"]["run_type"] != "backfill":
            await asyncio.to_thread(deliver, describe_late(context, owner, when_it_fails))
    except Exception as error:
        log.warning("The alert could not be created: %s", type(error).__name__)


def describe_failure(context: Mapping[str, Any]) -> Alert:
    """Return the alert for the task instance that `context` belongs to."""
    instance, task = context["ti"], context["task"]
    batch = shown(getattr(context.get("dag_run"), "partition_key", None))
    index = getattr(instance, "map_index", -1)
    name = instance.task_id if index in (None, -1) else f"{instance.task_id}[{index}]"
    problem = one_line(context.get("exception"))
    artifact = getattr(task, "artifact", None)
    return Alert(
        kind="task_failed",
        title=f"{instance.dag_id}.{name} failed, batch {batch}" if batch else f"{instance.dag_id}.{name} failed",
        dag=instance.dag_id,
        run=instance.run_id,
        batch=batch,
        owner=task.owner,
        problem=problem,
        log=instance.log_url,
        what_to_do=part(task.dag.doc_md or "", "When it fails") or NO_RUNBOOK,
        task=name,
        attempt=instance.try_number,
        artifact=f"{address()}/sim2edge/artifacts/{artifact}" if artifact else None,
        inputs=named_inputs(task),
    )


def describe_late(context: Mapping[str, Any], owner: str, when_it_fails: str) -> Alert:
    """Return the alert for a run that missed its deadline, from the scheduler's context."""
    run = context["dag_run"]
    dag, batch = run["dag_id"], shown(run.get("partition_key"))
    return Alert(
        kind="batch_late",
        title=f"{dag} is late, batch {batch}" if batch else f"{dag} is late",
        dag=dag,
        run=run["dag_run_id"],
        batch=batch,
        owner=owner,
        problem=f"queued {run['queued_at']}, not done by {context['deadline']['deadline_time']}: state {run['state']}",
        log=f"{address()}/dags/{dag}/runs/{quote(run['dag_run_id'])}",
        what_to_do="a running task shows its progress in its log; a queued one waits for a slot of its pool; "
        f"if one failed: {when_it_fails or NO_RUNBOOK}",
    )


def shown(partition: str | None) -> str | None:
    """Return the batch of a run on one line, escaped: a partition key is free text of the caller."""
    return lines.one_line(partition) if partition else None


def one_line(error: BaseException | str | None) -> str:
    """Return an error's text on one line, secrets redacted, truncated; None: the worker was killed."""
    if error is None:
        return KILLED
    text = lines.join_lines(error, limit=None) or type(error).__name__  # truncated only once it is redacted
    shown = str(redact(text))
    return shown if len(shown) <= MAX_CHARACTERS else f"{shown[:MAX_CHARACTERS]} ..."


def named_inputs(task: Any) -> dict[str, list[str]]:
    """Return the resolved inputs of a stage's task; empty if it failed before resolving them."""
    inputs = getattr(task, "inputs", None)
    given = inputs.items() if isinstance(inputs, dict) and getattr(task, "artifact", None) else ()
    return {role: list(references) for role, references in given if isinstance(references, list)}


def address() -> str:
    """Return the base URL of Airflow."""
    return str(conf.get("api", "base_url", fallback="")).rstrip("/")


HEADING = re.compile(r"^\s*###\s*\w+:\s*(.+)$", re.MULTILINE)
OWNER = re.compile(r"^Owner:\s*(.+?)\.?\s*$", re.MULTILINE)
PART = re.compile(r"\*\*(.+?)\*\*[:,.]?\s*(.*)", re.DOTALL)


def purpose(runbook: str) -> str:
    """Return the DAG's purpose from the heading; empty without one."""
    found = HEADING.search(runbook)
    return found[1].strip() if found else ""


def owner(runbook: str) -> str:
    """Return the owner of the DAG; empty if none is named."""
    found = OWNER.search(runbook)
    return found[1] if found else ""


def part(runbook: str, title: str) -> str:
    """Return the paragraph that begins with `**title**`, on one line; empty if there is none."""
    for paragraph in re.split(r"\n\s*\n", runbook):
        found = PART.match(paragraph.strip())
        if found and found[1].lower() == title.lower():
            return join_lines(found[2], limit=None)
    return ""
