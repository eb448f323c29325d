"""Read the settings of a DAG run, and pass them on to the runs it starts.

A run has a partition (the batch), a preset and overrides. A triggered run gets them as params; a run started by an
asset event, which has no params of its own, takes them from the event's `extra`; otherwise the preset comes from
`[sim2edge] preset` in airflow.cfg.

Settings reach as far as the permission to trigger the DAG should (`SCOPES`): a run that makes data changes the stages
of data, a training those of training. What decides about the fleet is not in either: the gate (`validate`) has the
settings of the deployment, ring and limits of a release are set by whoever may trigger `release_model`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from airflow.sdk import Context, Param

from sim2edge.alternates import has_own_ref
from sim2edge.config import load, parse_overrides, preset_names
from sim2edge.errors import BadInput
from sim2edge.stages import get_stage, stage_names
from sim2edge_airflow.alerts.report import report_failure
from sim2edge_airflow.deployment_settings import read_default_preset

SCOPES: Mapping[str, Sequence[str]] = {
    "sim_capture": ("capture", "clean", "augment"),
    "ingest_batch": ("ingest", "clean", "augment"),
    "annotate_batch": ("annotate", "augment"),
    "data_cleaning": ("clean", "augment"),
    "retrain": ("augment", "train"),
    "train_model": ("augment", "train"),
    "release_model": ("export", "push"),
}
"""DAG to the stages whose settings its runs may change, in themselves and in the runs they start. Other DAGs: all."""
INHERITING = ("data_cleaning", "train_model")
"""DAGs that a run with settings starts."""
NOT_INHERITING = ("release_model",)
"""DAGs that take no settings from the run that started them."""
REPLACE = (
    "Take the place of the batch's data made with other settings. Default, off: a capture with other settings is "
    "refused, and frames are kept beside, where trainings do not read them."
)
BATCH: Mapping[str, str] = {
    "sim_capture": "The batch to capture, a new name. **Required** for a single run; left empty in a backfill, which "
    "makes a batch a day, named by its date.",
    "ingest_batch": "The batch of the inbox to ingest: its folder below **inbox/**.",
    "annotate_batch": "The batch of the inbox to read: its folder below **inbox/**.",
    "data_cleaning": "The batch whose newest episodes are cleaned.",
    "train_model": "The batch that the training is filed under: the newest that it learns from.",
    "release_model": "The batch that the accepted model is filed under: the last that it learned from.",
    "withdraw_batch": "The batch to withdraw.",
    "erase_batch": "The batch to erase.",
    "fleet_change": "The batch that the release is filed under: **release/BATCH/ID**.",
}
"""DAGs whose runs have a batch, and what it is in each."""
EXAMPLES: Mapping[str, str] = {
    "capture": "capture.lidar.beams=720",
    "ingest": "ingest.skip_bad=true",
    "annotate": "annotate.floor=wood",
    "clean": "clean.width=64",
    "augment": "augment.copies=2",
    "export": "push.ring=stable",
}
TYPED: Mapping[str, str] = {"episodes": "capture.episodes", "episode_seconds": "capture.episode_seconds"}
"""Fields of the form of `sim_capture` to the settings that they stand for."""
TYPED_PARAMS: Mapping[str, Callable[[], Param]] = {
    "episodes": lambda: Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Episodes",
        description_md="Number of drives in the batch. Default: the preset's, without one 200. Example: **20**.",
    ),
    "episode_seconds": lambda: Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        title="Episode length",
        description_md="Length of a drive, simulated seconds. Default: the preset's, without one 20. Example: **30**.",
    ),
}


def scope_of(dag_id: str) -> Sequence[str]:
    """Return the stages whose settings a run of a DAG may change."""
    return SCOPES.get(dag_id) or stage_names()


def run_params(dag_id: str | None = None) -> dict[str, Param]:
    """Return the params of a DAG, for its trigger form; None: of a DAG that may change the settings of every stage.

    The form marks a param as required whose type does not allow null. Each default is valid: runs that an asset starts
    have no params of their own.
    """
    stages = scope_of(dag_id or "")
    batch = {"batch": batch_param(dag_id)} if dag_id in BATCH else {}
    typed = {name: param() for name, param in TYPED_PARAMS.items()} if dag_id == "sim_capture" else {}
    replacing = {"replace": Param(False, type=["null", "boolean"], title="Replace", description_md=REPLACE)}
    return {
        **batch,
        "preset": preset_param(stages, inherits=dag_id in INHERITING),
        **typed,
        "overrides": overrides_param(stages),
        **(replacing if changes_batches(stages) else {}),
    }


def batch_param(dag_id: str) -> Param:
    """Return the first field of the form: the batch, required where it is; a backfill names batches by their days."""
    optional = dag_id == "sim_capture"
    return Param(
        None if optional else "",
        type=["null", "string"] if optional else "string",
        maxLength=63,
        title="Batch",
        description_md=BATCH[dag_id]
        + " At most 63 lower-case letters, digits, dots, dashes and underscores. Example: **lab-7**.",
    )


def preset_param(stages: Sequence[str], *, inherits: bool) -> Param:
    """Return the field for the preset."""
    names = preset_names()
    return Param(
        None,
        type=["null", "string"],
        title="Preset",
        **({"examples": names} if names else {}),
        description_md=f"Named settings of {', '.join(stages)}: a file of conf/, without its ending. Default: "
        f"{'that of the run that started this one, else ' if inherits else ''}the deployment's. Example: **demo**.",
    )


def overrides_param(stages: Sequence[str]) -> Param:
    """Return the field for single settings."""
    return Param(
        [],
        type=["null", "array"],
        items={"type": "string", "pattern": rf"^({'|'.join(stages)})\.[^=]+="},
        title="Overrides",
        description_md=f"Single settings of {', '.join(stages)}, in this run and those it starts: **stage.key=value**, "
        f"one a line. They win over the preset; **sim2edge config {stages[0]}** lists all with unit and default. "
        f"Default: none. Example: **{EXAMPLES.get(stages[0], stages[0] + '.key=value')}**.",
    )


def typed_overrides(params: Mapping[str, Any]) -> list[str]:
    """Return the fields of the form that stand for one setting each, as overrides."""
    return [f"{key}={params[name]}" for name, key in TYPED.items() if params.get(name) is not None]


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
    chosen = [*typed_overrides(params), *(params.get("overrides") or ())]  # the later one wins
    overrides = tuple(chosen or within(scope, inherited.get("overrides") or ()))
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
