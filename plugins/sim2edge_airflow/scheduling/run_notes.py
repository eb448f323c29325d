"""Shows on a run why it was started: its note, in the list of runs and on its page, names the reasons of its training.

Airflow calls this in the scheduler when a run starts to run. A note that somebody wrote is left as it is.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from airflow.listeners import hookimpl

from sim2edge_airflow.airflow_database import events_of

MAX_NOTE = 1000
"""As many characters as Airflow's database takes."""
MIN_LINE = 40


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:  # noqa: ARG001
    """Write the note of a run that the event of a training started."""
    trainings = [extra for _, extra in events_of(dag_run) if extra.get("training")]
    if trainings and not dag_run.note:
        dag_run.note = make_note(trainings)


def make_note(trainings: Iterable[dict[str, Any]]) -> str:
    """Return the note for the extras of the events of trainings: a line a reason, as long as there is room for it."""
    told = list(trainings)
    names = ", ".join(str(each["training"]) for each in told)
    reasons = [" ".join(str(reason).split()) for each in told for reason in each.get("reasons") or ()]
    head = f"Training {names}"[: MAX_NOTE // 4] + ":"
    return head + fit(reasons, MAX_NOTE - len(head))


def fit(reasons: Sequence[str], room: int) -> str:
    """Return the reasons as a list of at most `room` characters.

    Shortened when they are long, counted when they are many.
    """
    rest = "\n- and {} more: see retrain/trainings/ on S3"
    shown = min(len(reasons), (room - len(rest) - 8) // (MIN_LINE + 3))
    tail = rest.format(len(reasons) - shown) if shown < len(reasons) else ""
    width = (room - len(tail)) // max(shown, 1) - 3
    lines = [reason if len(reason) <= width else f"{reason[: width - 1]}…" for reason in reasons[:shown]]
    return "".join(f"\n- {line}" for line in lines) + tail
