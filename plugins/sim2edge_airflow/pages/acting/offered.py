"""Choose the actions that a page offers: a button for each, or why this user may not use it."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser

from sim2edge.catalog import Record
from sim2edge_airflow.pages.acting.action import Action
from sim2edge_airflow.pages.acting.batch_actions import CAPTURE, RETRAIN, RETRY, START
from sim2edge_airflow.pages.acting.fleet_actions import (
    ADD_DEVICE,
    MOVE,
    WITHDRAW_RELEASE,
    former_releases,
    rings_with,
)
from sim2edge_airflow.pages.acting.hold_actions import HOLD, RESUME
from sim2edge_airflow.pages.acting.note_actions import ARCHIVE, NAME, STAR
from sim2edge_airflow.pages.acting.permissions import missing
from sim2edge_airflow.pages.acting.withdraw_actions import ERASE, LIFT, WITHDRAW
from sim2edge_airflow.pages.bus_view import BusView
from sim2edge_airflow.pages.run_states import BatchRun, RunDetails
from sim2edge_airflow.trigger_checks import is_ours

Button = dict[str, Any]


def button(user: BaseUser, action: Action, words: str = "", **given: str) -> Button:
    """Return a button for the macro `action_button`."""
    return {
        "href": f"/actions/{action.name}" + (f"?{urlencode(given)}" if given else ""),
        "words": words or action.title,
        "may_not": missing(user, action.permissions(given)),
    }


def offer_for_all(user: BaseUser, *, held: bool) -> list[Button]:
    """Return the actions of the Flywheel page."""
    return [button(user, CAPTURE), button(user, RESUME if held else HOLD)]


def offer_for_batch(
    user: BaseUser, view: BusView, batch: str, newest: Mapping[str, Record], history: Sequence[BatchRun]
) -> list[Button]:
    """Return the actions of a batch's page: what fits its state.

    Args:
        user: who looks at it.
        view: the bus.
        batch: the batch.
        newest: kind to its newest artifact of the batch.
        history: its runs, the newest first.
    """
    withdrawn = view.withdrawn().get(batch)
    if withdrawn:
        return [] if withdrawn.erased else [button(user, LIFT, batch=batch), button(user, ERASE, batch=batch)]
    found = [
        button(user, RETRY, f"Run {run.dag_id} again", dag=run.dag_id, run=run.run_id)
        for run in newest_runs(history)
        if run.state == "failed" and is_ours(run.dag_id)
    ]
    if "episodes" in newest and newest["episodes"].stage == "capture":
        found.append(button(user, CAPTURE, "Capture again", batch=batch, replace="yes"))
    waits = {
        "data_cleaning": "episodes" in newest and "frames" not in newest,
        "release_model": unreleased(view, newest.get("verdict")),
    }
    active = {run.dag_id for run in history if run.state in ("queued", "running")}
    found += [
        button(user, START, f"Start {dag}", batch=batch, dag=dag)
        for dag, waiting in waits.items()
        if waiting and dag not in active
    ]
    return [*found, button(user, WITHDRAW, batch=batch)] if newest else found


def newest_runs(history: Sequence[BatchRun]) -> list[BatchRun]:
    """Return the newest run of each DAG."""
    found: dict[str, BatchRun] = {}
    for run in history:
        found.setdefault(run.dag_id, run)
    return list(found.values())


def unreleased(view: BusView, verdict: Record | None) -> bool:
    """Return whether a verdict accepts a model that has no release."""
    if verdict is None or verdict.refused:
        return False
    return not any(each.startswith("release/") for each in view.catalog().children(verdict.reference))


def offer_for_models(user: BaseUser) -> list[Button]:
    """Return the actions of the page of models."""
    return [button(user, RETRAIN)]


def offer_for_run(user: BaseUser, run: RunDetails) -> list[Button]:
    """Return the actions of a run's page."""
    failed = any(task.state in ("failed", "upstream_failed") for task in run.tasks)
    return [button(user, RETRY, dag=run.dag_id, run=run.run_id)] if failed and is_ours(run.dag_id) else []


FIRST, LAST = "canary", "stable"
"""The ring that gets releases first, and the one that gets what has proved itself there."""


def offer_for_ring(user: BaseUser, view: BusView, ring: Mapping[str, Any]) -> list[Button]:
    """Return the actions of a ring: back to its former release, and from canary to stable.

    Args:
        user: who looks at it.
        view: the bus.
        ring: its `name`, its `rollout` and its `release`.
    """
    name, found = str(ring["name"]), []
    if former := next(iter(former_releases(view, name)), None):
        given = {"ring": name, "release": former.reference, "expected": str(ring["rollout"])}
        found.append(button(user, MOVE, f"Back to {former.partition}/{former.id[:6]}", **given))
    last = view.refs().get(f"refs/rings/{LAST}")
    if name == FIRST and ring["release"]:
        expected = {"expected": last.target} if last else {}
        found.append(button(user, MOVE, f"Give it to {LAST}", ring=LAST, release=str(ring["release"]), **expected))
    return found


def offer_for_fleet(user: BaseUser) -> list[Button]:
    """Return the actions of the page of devices."""
    return [button(user, ADD_DEVICE)]


def offer_for_release(user: BaseUser, view: BusView, release: str) -> list[Button]:
    """Return the actions of the page of a release."""
    return [
        button(user, MOVE, "Give it to a ring", release=release),
        *([button(user, WITHDRAW_RELEASE, release=release)] if rings_with(view, release) else []),
    ]


def offer_for_artifact(user: BaseUser, view: BusView, reference: str) -> list[Button]:
    """Return the actions of the page of any artifact: star, name, archive."""
    note = view.notes().get(reference)
    star, archived = bool(note and note.star), bool(note and note.archived)
    of_release = offer_for_release(user, view, reference) if reference.startswith("release/") else []
    return [
        *of_release,
        button(user, STAR, "Remove the star" if star else "★ Star", artifact=reference, star="no" if star else "yes"),
        button(user, NAME, "Name", artifact=reference),
        button(user, ARCHIVE, "Restore" if archived else "Archive", artifact=reference,
               archived="no" if archived else "yes"),
    ]  # fmt: skip
