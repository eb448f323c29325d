"""Read the settings of a DAG run, and pass them on to the runs it starts.

A run has a partition (the batch), a preset and overrides. A triggered run gets them as params; a run started by an
asset event, which has no params of its own, takes them from the event's `extra`; otherwise the preset comes from
`[sim2edge] preset` in airflow.cfg.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from airflow.sdk import Context, Param

from sim2edge.config import parse_overrides
from sim2edge.errors import BadInput
from sim2edge.stages import stage_names
from sim2edge_airflow.alerts.report import report_failure
from sim2edge_airflow.deployment_settings import read_default_preset

PARAMS = {
    "preset": Param(
        None,
        type=["null", "string"],
        description="A file of conf/, without .yaml. Empty: that of the run before this one, or the deployment's.",
    ),
    "overrides": Param(
        [],
        type="array",
        items={"type": "string", "pattern": r"^[a-z]+\.[^=]+="},
        description="Settings of this run and of the DAGs it starts: stage.key=value, one a line.",
    ),
}

DEFAULT_ARGS = {
    "owner": "sim2edge",
    "retries": 2,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=5),
    "on_failure_callback": report_failure,
}
"""Defaults of every task; each task sets its own `execution_timeout`, and each DAG the owner its runbook names."""


@dataclass(frozen=True)
class RunSettings:
    """The settings of one DAG run."""

    partition: str
    preset: str
    overrides: Sequence[str] = ()
    """Words `stage.key=value`."""
    started_by: str | None = None
    """Reference of the artifact whose event started the run."""
    backfill: bool = False
    """Whether the batch belongs to a backfill."""

    def for_stage(self, stage: str) -> list[str]:
        """Return the overrides of one stage, as its own `key=value` words."""
        prefix = f"{stage}."
        return [word.removeprefix(prefix) for word in self.overrides if word.startswith(prefix)]

    def for_event(self, reference: str) -> dict[str, Any]:
        """Return the `extra` of the event of a new artifact."""
        settings = {"preset": self.preset, "overrides": list(self.overrides), "backfill": self.backfill}
        return {"reference": reference, **settings}


def read_run_settings(context: Context) -> RunSettings:
    """Return the settings of the run that a task belongs to.

    Raises:
        BadInput: the run has no partition key, its conf has an unknown name, an override does not name a stage, or
            `[sim2edge] preset` cannot be the name of a preset.
    """
    run = context["dag_run"]
    check_names(context["params"], context["dag"].params if "dag" in context else PARAMS)
    events = [event for events in context["triggering_asset_events"].values() for event in events]
    settings = merge_settings(run.partition_key, context["params"], events, read_default_preset())
    return replace(settings, backfill=True) if run.run_type == "backfill" else settings


def merge_settings(
    partition: str | None, params: Mapping[str, Any], events: Iterable[Any], default_preset: str
) -> RunSettings:
    """Return settings from params, else from the latest event that carries some, else from the deployment.

    Raises:
        BadInput: the partition is missing, or an override does not name a stage.
    """
    if not partition:
        raise BadInput("this run has no partition key: trigger the DAG with the batch id as its partition key")
    extras = [event.extra for event in sorted(events, key=lambda event: event.timestamp)]
    brought = [extra for extra in extras if extra.get("reference") or extra.get("training")]
    extra = brought[-1] if brought else {}
    overrides = tuple(params.get("overrides") or extra.get("overrides") or ())
    check_overrides(overrides)
    preset = params.get("preset") or extra.get("preset") or default_preset
    return RunSettings(partition, preset, overrides, extra.get("reference"), extra.get("backfill") is True)


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Reject names in a run's conf that its DAG does not define: Airflow accepts any, and would ignore a typo.

    Raises:
        BadInput: a name is unknown; names it.
    """
    if unknown := sorted(set(given) - set(known)):
        raise BadInput(f"conf '{unknown[0][:100]}' is not one of: {', '.join(sorted(known))}")


def check_overrides(overrides: Iterable[str]) -> None:
    """Check that each override is `stage.key=value` with an existing stage.

    Raises:
        BadInput: an override is not; names it.
    """
    for word in overrides:
        stage, dot, rest = word.partition(".")
        known = stage_names()
        if stage not in known or not dot:
            raise BadInput(f"override '{word}': expected stage.key=value with a stage of: {', '.join(known)}")
        parse_overrides([rest])
