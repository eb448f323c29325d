"""Serve the tab on a DAG run: each task's artifact, made or cached, what caching saved, and why the run was started."""

from collections.abc import Mapping
from typing import Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from sim2edge.catalog import headline, is_number
from sim2edge_airflow.airflow_database import MAX_FOUND
from sim2edge_airflow.pages import run_states
from sim2edge_airflow.pages.acting.offered import offer_for_run
from sim2edge_airflow.pages.bus_view import BusView, is_reference
from sim2edge_airflow.pages.flywheel_grid import RUNNING
from sim2edge_airflow.pages.page_words import short
from sim2edge_airflow.pages.rendering import get_view, render
from sim2edge_airflow.pages.run_states import RunDetails, TaskOutcome

ROUTES = APIRouter()
MAX_REASONS = 50


@ROUTES.get("/runs/{dag_id}/{run_id:path}", response_class=HTMLResponse)
def show_run(request: Request, session: SessionDep, user: GetUserDep, dag_id: str, run_id: str) -> HTMLResponse:
    """Return the page of a DAG run."""
    run = run_states.read_run(session, dag_id[:250], run_id[:250])
    if run is None:
        raise HTTPException(404, f"DAG '{short(dag_id)}' has no run '{short(run_id)}'")
    view = get_view(request)
    rows = [make_row(view, task) for task in run.tasks]
    return render(
        request,
        "run.html",
        run=run,
        rows=rows,
        saved_s=sum(row["saved_s"] or 0 for row in rows),
        cached=sum(row["state"] == "cached" for row in rows),
        reasons=find_reasons(run),
        failed=sorted({task.task_id for task in run.tasks if task.state == "failed"}),
        actions=offer_for_run(user, run),
        notes=[f"Only {len(rows):,} of its tasks are shown."] if len(rows) == MAX_FOUND else [],
    )


def make_row(view: BusView, task: TaskOutcome) -> dict[str, Any]:
    """Return a task with its artifact, its state as the grid names it, and what a cache hit saved."""
    outcome = as_mapping(task.xcom.get("outcome"))
    refusal = as_mapping(task.xcom.get("refused"))
    returned = outcome.get("reference") or task.xcom.get("return_value") or refusal.get("artifact")
    reference = returned if is_reference(returned) else None
    record = view.catalog().get(reference) if reference else None
    cached = outcome.get("cached")
    if cached is None:
        cached = bool(record and task.started and record.finished < task.started)
    saved = outcome.get("saved_s")
    return {
        "task": task,
        "reference": reference,
        "record": record,
        "state": name_state(task.state, bool(cached and reference), bool(refusal)),
        "failure": run_states.read_failure(task.xcom.get("failed")) if task.state in run_states.FAILING else "",
        "quality": headline(record) if record else "",
        "saved_s": (saved if is_number(saved) else record.wall_s if record else None) if cached else None,
        "saved_bytes": (outcome.get("saved_bytes") or (record.bytes if record else None)) if cached else None,
        "note": str(refusal.get("reason", "")),
    }


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else {}: an XCom may contain anything."""
    return value if isinstance(value, Mapping) else {}


def name_state(state: str, cached: bool, refused: bool) -> str:
    """Return the grid's name of an Airflow state."""
    if refused:
        return "refused"
    if state == "success":
        return "cached" if cached else "committed"
    return "running" if state in RUNNING else state if state in ("failed", "upstream_failed") else "missing"


def find_reasons(run: RunDetails) -> list[tuple[str, str]]:
    """Return why a training was started: kind and text of each reason in the events that started the run."""
    found: list[tuple[str, str]] = []
    for asset, extra in run.events:
        reasons = extra.get("reasons")
        for reason in reasons if isinstance(reasons, list) else []:
            if isinstance(reason, Mapping):
                kind = str(reason.get("kind", asset))
                rest = {
                    key: value for key, value in reason.items() if key != "kind" and value not in (None, "", {}, [])
                }
                found.append((kind, ", ".join(f"{key}: {value}" for key, value in rest.items())))
            else:
                found.append((asset, str(reason)))
    return [(short(kind), short(text, 600)) for kind, text in found[:MAX_REASONS]]
