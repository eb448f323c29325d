"""What a run of a DAG is told, and how it travels down the chain.

A run has a partition (the batch), a preset and overrides. Someone who triggers a run gives them as params; a run that
an asset event starts takes them from the event's `extra`, for such runs have no params of their own; what nobody says
comes from `[sim2edge] preset` in airflow.cfg.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from airflow.sdk import Context, Param
from airflow.sdk.configuration import conf

from sim2edge.config import parse_overrides
from sim2edge.errors import BadInput
from sim2edge.stages import stage_names
from sim2edge_airflow.alerts.report import report_failure

PARAMS = {
    "preset": Param(
        None,
        type=["null", "string"],
        description="A file of conf/, without .yaml. Empty: as in the run before this one, or the deployment's.",
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
"""For every task; each names its own `execution_timeout`, and each DAG its owner, as its runbook does."""


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
    """Whether the batch is one of a backfill."""

    def for_stage(self, stage: str) -> list[str]:
        """Return the overrides of one stage, as its own `key=value` words."""
        prefix = f"{stage}."
        return [word.removeprefix(prefix) for word in self.overrides if word.startswith(prefix)]

    def for_event(self, reference: str) -> dict[str, Any]:
        """Return what the event of a new artifact carries on."""
        settings = {"preset": self.preset, "overrides": list(self.overrides), "backfill": self.backfill}
        return {"reference": reference, **settings}


def read_run_settings(context: Context) -> RunSettings:
    """Return the settings of the run that a task belongs to.

    Raises:
        BadInput: the run has no partition key, its conf has a name that the DAG does not know, or an override does not
            name a stage.
    """
    run = context["dag_run"]
    check_names(context["params"], context["dag"].params if "dag" in context else PARAMS)
    events = [event for events in context["triggering_asset_events"].values() for event in events]
    settings = merge_settings(run.partition_key, context["params"], events, conf.get("sim2edge", "preset"))
    return replace(settings, backfill=True) if run.run_type == "backfill" else settings


def merge_settings(
    partition: str | None, params: Mapping[str, Any], events: Iterable[Any], default_preset: str
) -> RunSettings:
    """Return settings from params, else from the latest event that brings some, else from the deployment.

    Raises:
        BadInput: there is no partition, or an override does not name a stage.
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
    """Check that a run is told nothing that its DAG does not know: Airflow takes any name, and a slip would be ignored.

    Raises:
        BadInput: names what is unknown.
    """
    if unknown := sorted(set(given) - set(known)):
        raise BadInput(f"conf '{unknown[0][:100]}' is not one of: {', '.join(sorted(known))}")


def check_overrides(overrides: Iterable[str]) -> None:
    """Check that each override is `stage.key=value` with a stage that exists.

    Raises:
        BadInput: one is not.
    """
    for word in overrides:
        stage, dot, rest = word.partition(".")
        known = stage_names()
        if stage not in known or not dot:
            raise BadInput(f"override '{word}': expected stage.key=value with a stage of: {', '.join(known)}")
        parse_overrides([rest])
