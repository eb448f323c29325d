"""Listen to Airflow: warm its processes when they start, and note the reasons of a training when its run starts.

Airflow's LocalExecutor forks its workers from the scheduler, and each task from a worker; the DAG processor does the
same with the files it parses. Modules imported before the fork are shared, so each task starts a second sooner; no
connection is opened and no thread started. The reasons go into the note of the DAG run, shown in the list of runs and
on the run's page; an existing note is kept.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from airflow.listeners import hookimpl

from sim2edge.lines import join_lines
from sim2edge_airflow.airflow_database import events_of

MAX_NOTE = 1000
"""Size limit of Airflow's database, characters."""
MIN_LINE = 40


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """Write the note of a run that a training's event started."""
    trainings = [extra for _, extra in events_of(dag_run) if extra.get("training")]
    if trainings and not dag_run.note:
        dag_run.note = make_note(trainings)


def make_note(trainings: Iterable[dict[str, Any]]) -> str:
    """Return the note for the `extra` of training events: one line per reason, up to `MAX_NOTE` characters."""
    extras = list(trainings)
    names = ", ".join(str(each["training"]) for each in extras)
    reasons = [join_lines(reason, limit=None) for each in extras for reason in each.get("reasons") or ()]
    head = f"Training {names}"[: MAX_NOTE // 4] + ":"
    return head + fit(reasons, MAX_NOTE - len(head))


def fit(reasons: Sequence[str], room: int) -> str:
    """Return the reasons as a Markdown list of at most `room` characters.

    Long reasons are truncated; those that do not fit are counted.
    """
    rest = "\n- and {} more: see retrain/trainings/ on S3"
    shown = min(len(reasons), (room - len(rest) - 8) // (MIN_LINE + 3))
    tail = rest.format(len(reasons) - shown) if shown < len(reasons) else ""
    width = (room - len(tail)) // max(shown, 1) - 3
    lines = [reason if len(reason) <= width else f"{reason[: width - 1]}…" for reason in reasons[:shown]]
    return "".join(f"\n- {line}" for line in lines) + tail


MODULES = (
    "airflow.dag_processing.dagbag",
    "sim2edge_airflow.alerts.deadlines",
    "sim2edge_airflow.runtimes.process_runtime",
    "sim2edge_airflow.scheduling.pipeline_file",
    "sim2edge_airflow.operators.register_operator",
    "sim2edge_airflow.operators.release_approval",
    "sim2edge_airflow.operators.retire_operator",
    "sim2edge_airflow.operators.retrain_operators",
    "sim2edge_airflow.operators.ring_operator",
    "sim2edge_airflow.operators.stage_in_shards",
    "sim2edge_airflow.operators.stage_operator",
    "sim2edge_airflow.operators.withdraw_operator",
)
"""Airflow's DAG file parser, and the modules that the DAG files and their tasks import."""


@hookimpl
def on_starting(component: Any) -> None:
    """Import the modules when an Airflow component starts that forks other processes."""
    if type(component).__name__ == "Job":  # task processes call this too
        for name in MODULES:
            import_module(name)
        import_module("sim2edge.stages").installed()  # the declarations
