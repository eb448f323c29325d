"""Actions on batches: capture one, start what waits for it, run what failed again, request a training."""

import shlex
from collections.abc import Mapping

from sim2edge.config import preset_names
from sim2edge.errors import BadInput
from sim2edge.manifest import check_partition
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.assets import ANNOTATIONS, DELIVERY, EPISODES
from sim2edge_airflow.deployment_settings import read_default_preset
from sim2edge_airflow.pages.acting import runs
from sim2edge_airflow.pages.acting.action import Action, Affected, Asker, Confirmed, Field, Given, Offer
from sim2edge_airflow.pages.acting.permissions import Permission, clear_runs, start_runs
from sim2edge_airflow.pages.acting.runs import Wanted
from sim2edge_airflow.pages.trigger_guard import check_run
from sim2edge_airflow.run_settings import scope_of
from sim2edge_airflow.trigger_checks import is_ours

YES = ("yes",)
FOLLOWS: Mapping[str, str] = {
    "data_cleaning": "clean makes frames of the batch's episodes, and a training is requested, unless the last one "
    "learned from them",
    "ingest_batch": "ingest makes episodes of the batch's delivery in the inbox; data_cleaning follows",
    "annotate_batch": "annotate makes frames of the batch's delivery in the inbox, and a training is requested",
    "release_model": "export makes a release of the newest accepted model filed under the batch, and push signs it "
    "for its ring; the devices of the ring install it and run a trial",
}
"""DAGs that wait for a batch, and what a run of each does."""
WAITS_FOR: Mapping[str, str] = {
    "data_cleaning": EPISODES.name,
    "ingest_batch": DELIVERY.name,
    "annotate_batch": ANNOTATIONS.name,
}
"""DAG to the asset whose events bring its settings."""


def any_text(value: str) -> str:
    """Return the value: whoever uses it checks it."""
    return value


BATCH = Field("batch", "Batch", check_partition, hint="its name: a-z, 0-9, '.', '_' and '-'")


def offer_run(asker: Asker, wanted: Wanted, steps: list[str], commands: list[str]) -> Offer:
    """Return the offer to start a run, or why it would be refused."""
    refusal = ""
    try:
        check_run(wanted.dag_id, wanted.partition, wanted.of_run)
    except BadInput as error:
        refusal = str(error)
    return Offer(steps, refusal=refusal, already=runs.going_on(asker, wanted), commands=commands)


# Capture


def wanted_capture(given: Given) -> Wanted:
    """Return the run that captures a batch."""
    return Wanted("sim_capture", given["batch"], {"preset": given.get("preset"), "replace": "replace" in given})


def describe_capture(asker: Asker, given: Given) -> Offer:
    """Return what a capture would do."""
    batch, preset = given["batch"], given.get("preset") or read_default_preset()
    steps = [
        f"A run of sim_capture simulates the drives of batch {batch} with preset {preset}, and commits its episodes.",
        "data_cleaning follows and makes frames; a training is requested, unless the last one learned from them.",
    ]
    words = f"sim2edge trigger sim_capture --partition {batch} --preset {preset}"
    if "replace" in given:
        steps.insert(1, "They take the place of the batch's data made with other settings; those are kept, but unused.")
        words += " --replace"
    else:
        steps.append("A batch that was captured before with these settings is a cache hit.")
    return offer_run(asker, wanted_capture(given), steps, [words])


CAPTURE = Action(
    name="capture",
    title="Capture a batch",
    fields=(
        BATCH,
        Field("preset", "Preset", any_text, required=False, options=preset_names, hint="empty: the deployment's"),
        Field("replace", "Replace its data", any_text, required=False, options=lambda: YES, hint="of other settings"),
    ),
    permissions=lambda _: [start_runs("sim_capture")],
    describe=describe_capture,
    perform=lambda asker, given, confirmed: runs.start(asker, wanted_capture(given), confirmed),
    button="Capture",
    back=lambda given: f"/batches/{given['batch']}" if "replace" in given and "batch" in given else "/flywheel",
)


# Start what waits


def wanted_start(asker: Asker, given: Given) -> Wanted:
    """Return the run that starts what waits, with the settings that the event brings which the DAG missed."""
    dag, batch = given["dag"], given["batch"]
    extra = database.newest_extra(asker.session, WAITS_FOR[dag], batch) if dag in WAITS_FOR else {}
    scope = tuple(f"{stage}." for stage in scope_of(dag))
    overrides = [word for word in extra.get("overrides") or () if word.startswith(scope)]
    return Wanted(dag, batch, {"preset": extra.get("preset"), "overrides": overrides} if extra else {})


def describe_start(asker: Asker, given: Given) -> Offer:
    """Return what starting a DAG for a batch would do."""
    dag, batch, wanted = given["dag"], given["batch"], wanted_start(asker, given)
    preset, overrides = wanted.conf.get("preset"), wanted.conf.get("overrides") or []
    with_settings = f" with preset {preset}" if preset else ""
    steps = [
        f"A run of {dag} starts for batch {batch}{with_settings}{''.join(f', {word}' for word in overrides)}.",
        f"In it, {FOLLOWS[dag]}.",
        "What was made before is cached.",
    ]
    words = ["sim2edge", "trigger", dag, "--partition", batch, *(["--preset", preset] if preset else []), *overrides]
    return offer_run(asker, wanted, steps, [shlex.join(words)])


START = Action(
    name="start",
    title="Start what waits",
    fields=(BATCH, Field("dag", "DAG", any_text, options=lambda: tuple(FOLLOWS))),
    permissions=lambda given: [start_runs(given.get("dag", "data_cleaning"))],
    describe=describe_start,
    perform=lambda asker, given, confirmed: runs.start(asker, wanted_start(asker, given), confirmed),
    button="Start",
    back=lambda given: f"/batches/{given['batch']}" if "batch" in given else "/flywheel",
)


# Run failed tasks again


def check_dag(dag_id: str) -> str:
    """Return the name of a DAG if it is one of ours.

    Raises:
        BadInput: it is not.
    """
    if not is_ours(dag_id):
        raise BadInput(f"dag: '{dag_id[:80]}' is not a DAG of these pages")
    return dag_id


def retry_permissions(given: Given) -> list[Permission]:
    """Return the permissions to clear a run."""
    return [clear_runs(given.get("dag", "data_cleaning"))]


def describe_retry(asker: Asker, given: Given) -> Offer:
    """Return which tasks of a run would run again."""
    dag, run = given["dag"], given["run"]
    found = database.find_run(asker.session, dag, run)
    if found is None:
        raise BadInput(f"run: DAG '{dag}' has no run '{run}'")
    tasks = database.failed_tasks(asker.session, dag, run)
    names = [task if index < 0 else f"{task} [{index}]" for task, index, _ in tasks]
    running = not tasks and str(found.state) in ("queued", "running")
    return Offer(
        ["The tasks below are cleared and run again, in the same run; what succeeded stays, and is not run again."],
        [Affected("Tasks", names)] if names else [],
        refusal="" if names else "No task of this run has failed",
        already=("Nothing of it has failed, and it is running", runs.page_of(dag, run)) if running else None,
    )


def retry(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Clear the failed tasks of a run."""
    dag, run = given["dag"], given["run"]
    tasks = database.failed_tasks(asker.session, dag, run)
    database.clear_failed(asker.session, dag, run)
    note = f"{asker.user.get_name()} ran what failed again: {confirmed.reason}"
    database.write_note(asker.session, dag, run, note, asker.user.get_id())
    runs.log(asker, "retry", confirmed, dag, run, tasks=[task for task, _, _ in tasks])
    return runs.page_of(dag, run)


RETRY = Action(
    name="retry",
    title="Run what failed again",
    fields=(Field("dag", "DAG", check_dag), Field("run", "Run", any_text)),
    permissions=retry_permissions,
    describe=describe_retry,
    perform=retry,
    button="Run again",
    back=lambda given: runs.page_of(given["dag"], given["run"]) if {"dag", "run"} <= {*given} else "/flywheel",
)


# Request a training


def describe_retrain(asker: Asker, given: Given) -> Offer:  # noqa: ARG001
    """Return what a request for a training does."""
    steps = [
        "A request for a training, with your reason, joins those that are open.",
        "The DAG retrain starts one training for all of them, once none is running and the cool-down has passed.",
        "A model that the gate accepts becomes a release and goes to its ring; a refused one goes nowhere.",
    ]
    return Offer(steps, commands=['sim2edge retrain --reason "..."'])


def retrain(asker: Asker, given: Given, confirmed: Confirmed) -> str:  # noqa: ARG001
    """Start a run of `retrain` with the reason."""
    return runs.start(asker, Wanted("retrain", conf={"reason": confirmed.reason}), confirmed)


RETRAIN = Action(
    name="retrain",
    title="Request a training",
    fields=(),
    permissions=lambda _: [start_runs("retrain")],
    describe=describe_retrain,
    perform=retrain,
    button="Request",
    back=lambda _: "/models",
)

BATCH_ACTIONS = (CAPTURE, START, RETRY, RETRAIN)
