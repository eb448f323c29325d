"""Check what a run of one of our DAGs is given before the run exists, so that a typo is answered at once.

Airflow checks a conf against the DAG's params only: it accepts names that the DAG does not define, and knows neither
presets nor the fields of a stage's config. `pages/trigger_guard.py` asks here before it lets a request through; the
first task of a run checks again, as runs can be started in other ways.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sim2edge import plan
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.lines import quote
from sim2edge.manifest import check_partition
from sim2edge.withdrawal import Withdrawn
from sim2edge_airflow.run_settings import (
    SCOPES,
    TYPED,
    RunSettings,
    check_names,
    check_overrides,
    check_settings,
    run_params,
    scope_of,
    typed_overrides,
)

OF_RETRAIN = ("reason", "kind", "now")
OTHERS: Mapping[str, Collection[str]] = {
    "watch_inbox": (),
    "reconcile": (),
    "reap_containers": ("dry_run",),
    "refresh_fleet": (),
    "retention": ("dry_run",),
}
"""DAGs without a batch, and the names in their conf."""
DECIDED: Mapping[str, Collection[str]] = {
    "withdraw_batch": ("batch", "action", "reason", "retrain"),
    "erase_batch": ("batch", "reason", "confirm", "keep_models"),
    "fleet_change": ("batch", "release", "ring", "expected", "reason"),
}
"""DAGs that carry out a decision about a batch or a release of it, and the names in their conf."""
MAKES_DATA = ("sim_capture", "ingest_batch", "annotate_batch", "data_cleaning")
"""DAGs whose runs make the data of their batch: not of one that is withdrawn."""
CHOSEN = ("preset", "overrides", "replace", *TYPED)
"""Names in a conf that decide what a run makes."""


class Taken(BadInput):
    """The batch is withdrawn, or has, or is getting, other settings (HTTP 409)."""


@dataclass(frozen=True)
class ActiveRun:
    """A queued or running run of the same DAG and batch."""

    run_id: str
    since: datetime
    by: str
    conf: Mapping[str, Any]


def names_of(dag_id: str) -> Collection[str]:
    """Return the names that a DAG's conf may have."""
    if dag_id in (fixed := {**OTHERS, **DECIDED}):
        return fixed[dag_id]
    return (*run_params(dag_id), *(OF_RETRAIN if dag_id == "retrain" else ()))


def is_ours(dag_id: str) -> bool:
    """Return whether the DAG is one whose runs are checked."""
    return dag_id in SCOPES or dag_id in OTHERS or dag_id in DECIDED


def check_conf(dag_id: str, conf: Mapping[str, Any], default_preset: str) -> None:
    """Check the conf of a run, for every stage whose settings it may change.

    Raises:
        BadInput: an unknown name, preset or key, or a wrong value; names it.
    """
    check_names(conf, names_of(dag_id))
    if dag_id in DECIDED and not str(conf.get("reason") or "").strip():
        raise BadInput("conf 'reason': missing: one sentence, why")
    if dag_id not in SCOPES:
        return
    preset, overrides = conf.get("preset") or default_preset, conf.get("overrides") or []
    if not isinstance(preset, str):
        raise BadInput("conf 'preset': expected the name of a file of conf/, without .yaml")
    if not isinstance(overrides, list) or not all(isinstance(word, str) for word in overrides):
        raise BadInput("conf 'overrides': expected a list of stage.key=value words")
    scope, overrides = scope_of(dag_id), [*typed_overrides(conf), *overrides]
    check_overrides(overrides, scope, dag_id)
    check_settings(RunSettings("", preset, tuple(overrides), scope=scope, default_preset=default_preset))


def has_batch(dag_id: str) -> bool:
    """Return whether the runs of a DAG have a batch."""
    return dag_id in (*SCOPES, *DECIDED) and dag_id != "retrain"


def check_batch(dag_id: str, partition: object, named: object) -> str | None:
    """Return the batch of a run, None for a DAG without batches.

    Args:
        dag_id: the DAG.
        partition: the partition key that is asked for.
        named: the field `batch` of the trigger form.

    Raises:
        BadInput: it is missing, not a batch id, or named differently in two places.
    """
    if not has_batch(dag_id):
        return None
    if named and partition and named != partition:
        raise BadInput(f"batch: {quote(str(named))} is not the partition key {quote(str(partition))}: leave one empty")
    batch = partition or named
    if not isinstance(batch, str) or not batch:
        raise BadInput(f"batch: {dag_id} needs the name of a batch, in the API as partition_key")
    return check_partition(batch)


def check_no_batch(conf: Mapping[str, Any]) -> None:
    """Check that a backfill names no batch.

    Raises:
        BadInput: it does.
    """
    if conf.get("batch"):
        raise BadInput("batch: leave it empty in a backfill, which makes a batch a day, named by its date")


def check_not_withdrawn(bus: Bus, batch: str) -> None:
    """Check that a batch whose data are to be made is not withdrawn.

    Raises:
        Taken: it is; says who withdrew it, when and why.
    """
    if mark := Withdrawn(bus).get(batch):
        lift = "" if mark.erased else f"; `sim2edge withdraw {batch} --undo` lifts it"
        raise Taken(f"batch '{batch}' was {mark.why}{lift}")


def check_settings_fit(bus: Bus, batch: str, conf: Mapping[str, Any], default_preset: str) -> None:
    """Check that a batch that exists was captured with the settings of a new run of `sim_capture`.

    Raises:
        Taken: it was captured with others, and is not to be replaced.
    """
    given = [*typed_overrides(conf), *(conf.get("overrides") or ())]
    words = [word.removeprefix("capture.") for word in given if word.startswith("capture.")]
    preset, replace = conf.get("preset") or default_preset, conf.get("replace") is True
    try:
        plan.plan(bus, "capture", batch, preset, words, replace=replace)
    except BadInput as error:
        raise Taken(str(error)) from None


def check_no_other(dag_id: str, batch: str, conf: Mapping[str, Any], active: Sequence[ActiveRun]) -> None:
    """Check that no run with other settings is going on for the batch: the last to end would win, without a word.

    Raises:
        Taken: there is one; names it, and who started it.
    """
    chosen = settings_of(conf)
    for run in active if dag_id in SCOPES else ():
        if settings_of(run.conf) != chosen:
            raise Taken(
                f"{dag_id} of batch {quote(batch)} is going on since {run.since:%Y-%m-%d %H:%M} UTC with other "
                f"settings (run {run.run_id}, by {run.by}): wait for its end, or name another batch"
            )


def settings_of(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in a conf that decide what a run makes."""
    return {name: conf[name] for name in CHOSEN if conf.get(name)}
