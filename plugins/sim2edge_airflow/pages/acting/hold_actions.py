"""Hold the system for maintenance, and resume it: what `sim2edge hold` and `sim2edge resume` do."""

from datetime import UTC, datetime

from sim2edge.hold import VARIABLE, Hold, begin, parse
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.pages.acting import runs
from sim2edge_airflow.pages.acting.action import Action, Affected, Asker, Confirmed, Given, Offer
from sim2edge_airflow.pages.acting.permissions import Permission, change_variable, missing, pause

TAG = "sim2edge"
"""Every DAG of ours has it."""
MAIN = "sim_capture"
"""Who may not pause it is shown no form; the permission on each other DAG is asked for when it is to be paused."""


def read_hold(asker: Asker) -> Hold | None:
    """Return the present hold; None if there is none.

    Raises:
        Corrupt: Airflow's variable holds something else.
    """
    value = database.variable(asker.session, VARIABLE)
    return parse(value) if value else None


def permissions(_: Given) -> list[Permission]:
    """Return the permissions to hold the system, and to resume it."""
    return [*(change_variable(VARIABLE, method) for method in ("POST", "PUT", "DELETE")), pause(MAIN)]


def active_dags(asker: Asker) -> list[str]:
    """Return our DAGs that are not paused."""
    return sorted(dag for dag, paused in database.dags_by_tag(asker.session, TAG).items() if not paused)


def describe_hold(asker: Asker, _: Given) -> Offer:
    """Return what a hold would do."""
    held = read_hold(asker)
    to_pause = begin("-", "-", active_dags(asker), datetime.now(UTC)).dags
    return Offer(
        [
            "Every DAG below is paused: nothing new starts. Stages that run go on to their end.",
            "The Flywheel page shows everybody that the system is on hold, since when, by whom and why.",
            "Nothing is lost: what the DAGs miss starts within some minutes after Resume.",
        ],
        [Affected("DAGs", to_pause)],
        refusal=missing(asker.user, [pause(dag) for dag in to_pause]) or "",
        already=(f"The system is {held}", "/flywheel") if held else None,
        commands=['sim2edge hold --reason "..."'],
    )


def hold(asker: Asker, _: Given, confirmed: Confirmed) -> str:
    """Pause every active DAG, and write why."""
    new = begin(confirmed.reason, asker.user.get_name(), active_dags(asker), datetime.now(UTC))
    database.set_variable(asker.session, VARIABLE, new.model_dump_json())
    database.set_paused(asker.session, new.dags, True)
    runs.log(asker, "hold", confirmed, dags=new.dags)
    return "/flywheel"


def describe_resume(asker: Asker, _: Given) -> Offer:
    """Return what resuming would do."""
    held = read_hold(asker)
    return Offer(
        [
            "The DAGs below are unpaused; those that were paused before the hold stay paused.",
            "What they missed starts within some minutes (DAG reconcile).",
        ],
        [Affected("DAGs", held.dags)] if held else [],
        refusal=missing(asker.user, [pause(dag) for dag in held.dags]) or "" if held else "",
        warnings=[f"The system is {held}"] if held else [],
        already=None if held else ("The system is not on hold", "/flywheel"),
        commands=["sim2edge resume"],
    )


def resume(asker: Asker, _: Given, confirmed: Confirmed) -> str:
    """Unpause what the hold has paused, and delete its record."""
    held = read_hold(asker)
    assert held  # noqa: S101 (`describe_resume` refuses otherwise)
    database.set_paused(asker.session, held.dags, False)
    database.set_variable(asker.session, VARIABLE, None)
    runs.log(asker, "resume", confirmed, held=str(held), dags=held.dags)
    return "/flywheel"


HOLD = Action("hold", "Hold the system", (), permissions, describe_hold, hold, button="Hold")
RESUME = Action("resume", "Resume", (), permissions, describe_resume, resume, button="Resume")
HOLD_ACTIONS = (HOLD, RESUME)
