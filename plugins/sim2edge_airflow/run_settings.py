"""Read the settings of a DAG run, and pass them on to the runs it starts.

A run has a partition (the batch), a preset and overrides. A triggered run gets them as params; a run started by an
asset event, which has no params of its own, takes them from the event's `extra`; otherwise the preset comes from
`[sim2edge] preset` in airflow.cfg.

Settings reach as far as the permission to trigger the DAG should (`SCOPES`): a run that makes data changes the stages
of data, a training those of training. What decides about the fleet is not in either: the gate (`validate`) has the
settings of the deployment, ring and limits of a release are set by whoever may trigger `release_model`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from airflow.sdk import Context, Param

from sim2edge.alternates import has_own_ref
from sim2edge.config import load, parse_overrides
from sim2edge.errors import BadInput
from sim2edge.stages import get_stage, stage_names
from sim2edge_airflow.alerts.report import report_failure
from sim2edge_airflow.deployment_settings import read_default_preset

SCOPES: Mapping[str, Sequence[str]] = {
    "sim_capture": ("capture", "clean", "augment"),
    "ingest_batch": ("ingest", "clean", "augment"),
    "data_cleaning": ("clean", "augment"),
    "retrain": ("augment", "train"),
    "train_model": ("augment", "train"),
    "release_model": ("export", "push"),
}
"""DAG to the stages whose settings its runs may change, in themselves and in the runs they start. Other DAGs: all."""
NOT_INHERITING = ("release_model",)
"""DAGs that take no settings from the run that started them."""
REPLACE = (
    "Take the place of the batch's data made with other settings. Otherwise a capture is refused, and frames are kept "
    "beside, where trainings do not read them."
)


def scope_of(dag_id: str) -> Sequence[str]:
    """Return the stages whose settings a run of a DAG may change."""
    return SCOPES.get(dag_id) or stage_names()


def run_params(dag_id: str | None = None) -> dict[str, Param]:
    """Return the params of a DAG, for its trigger form; None: of a DAG that may change the settings of every stage."""
    stages = scope_of(dag_id or "")
    names = ", ".join(stages)
    replacing = {"replace": Param(False, type="boolean", description=REPLACE)} if changes_batches(stages) else {}
    return {
        "preset": Param(
            None,
            type=["null", "string"],
            description=f"A file of conf/, without .yaml, for {names}. Empty: that of the run before this one, or the "
            "deployment's.",
        ),
        "overrides": Param(
            [],
            type="array",
            items={"type": "string", "pattern": rf"^({'|'.join(stages)})\.[^=]+="},
            description=f"Settings of {names} in this run and those it starts: stage.key=value, one a line.",
        ),
        **replacing,
    }


def changes_batches(stages: Iterable[str]) -> bool:
    """Return whether one of the stages makes the data of a batch."""
    return any(has_own_ref(get_stage(name)) for name in stages)


PARAMS = run_params()

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
    scope: Sequence[str] | None = None
    """The stages that preset and overrides are for; None: all."""
    default_preset: str = ""
    """The deployment's, for the others."""
    replace: bool = False
    """Whether results take the place of the batch's data made with other settings."""

    def for_stage(self, stage: str) -> list[str]:
        """Return the overrides of one stage, as its own `key=value` words."""
        prefix = f"{stage}."
        return [word.removeprefix(prefix) for word in self.overrides if word.startswith(prefix)]

    def preset_of(self, stage: str) -> str:
        """Return the preset of one stage."""
        return self.preset if self.scope is None or stage in self.scope else self.default_preset

    def for_event(self, reference: str) -> dict[str, Any]:
        """Return the `extra` of the event of a new artifact."""
        settings = {"preset": self.preset, "overrides": list(self.overrides), "backfill": self.backfill}
        return {"reference": reference, **settings} | ({"replace": True} if self.replace else {})


def read_run_settings(context: Context) -> RunSettings:
    """Return the settings of the run that a task belongs to.

    Raises:
        BadInput: the run has no partition key, its conf has an unknown name, an override is not one of the DAG's, or a
            stage's settings are invalid.
    """
    run = context["dag_run"]
    check_names(context["params"], context["dag"].params if "dag" in context else PARAMS)
    events = [event for events in context["triggering_asset_events"].values() for event in events]
    settings = merge_settings(run.dag_id, run.partition_key, context["params"], events, read_default_preset())
    check_settings(settings)
    return replace(settings, backfill=True) if run.run_type == "backfill" else settings


def merge_settings(
    dag_id: str, partition: str | None, params: Mapping[str, Any], events: Iterable[Any], default_preset: str
) -> RunSettings:
    """Return settings from params, else from the latest event that carries some, else from the deployment.

    Raises:
        BadInput: the partition is missing, or an override names no stage that the DAG may change.
    """
    if not partition:
        raise BadInput("this run has no partition key: trigger the DAG with the batch id as its partition key")
    extras = [event.extra for event in sorted(events, key=lambda event: event.timestamp)]
    brought = [extra for extra in extras if extra.get("reference") or extra.get("training")]
    extra = brought[-1] if brought else {}
    inherited = {} if dag_id in NOT_INHERITING else extra
    scope = scope_of(dag_id)
    overrides = tuple(params.get("overrides") or within(scope, inherited.get("overrides") or ()))
    check_overrides(overrides, scope, dag_id)
    return RunSettings(
        partition,
        params.get("preset") or inherited.get("preset") or default_preset,
        overrides,
        extra.get("reference"),
        extra.get("backfill") is True,
        scope,
        default_preset,
        (params.get("replace") or inherited.get("replace")) is True,
    )


def within(scope: Sequence[str], overrides: Iterable[str]) -> list[str]:
    """Return the overrides of the stages of a scope: those of a run upstream may be of other stages, too."""
    return [word for word in overrides if word.partition(".")[0] in scope]


def check_settings(settings: RunSettings) -> None:
    """Check the preset and the overrides for every stage of the scope: a typo must not surface after hours of work.

    Raises:
        BadInput: unknown preset, unknown key, or a wrong value; names it.
    """
    for name in settings.scope or stage_names():
        load(get_stage(name).config, name, settings.preset, settings.for_stage(name))


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Reject names in a run's conf that its DAG does not define: Airflow accepts any, and would ignore a typo.

    Raises:
        BadInput: a name is unknown; names it.
    """
    if unknown := sorted(set(given) - set(known)):
        raise BadInput(f"conf '{unknown[0][:100]}' is not one of: {', '.join(sorted(known))}")


def check_overrides(overrides: Iterable[str], scope: Sequence[str], dag_id: str) -> None:
    """Check that each override is `stage.key=value` with a stage of the scope.

    Raises:
        BadInput: an override is not; names it.
    """
    for word in overrides:
        stage, dot, rest = word.partition(".")
        if stage not in stage_names() or not dot:
            raise BadInput(f"override '{word}': expected stage.key=value with a stage of: {', '.join(scope)}")
        if stage not in scope:
            raise BadInput(f"override '{word}': {dag_id} takes settings of {', '.join(scope)}; {whose(stage)}")
        parse_overrides([rest])


def whose(stage: str) -> str:
    """Return where the settings of a stage belong, for an error message."""
    owners = [dag for dag, stages in SCOPES.items() if stage in stages]
    if owners:
        return f"those of {stage} are given to {' or '.join(owners)}"
    return f"those of {stage} are the deployment's: its preset, or dags/train_model.yml"
