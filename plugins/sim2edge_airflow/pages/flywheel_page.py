"""Serve the Flywheel pages: the grid of batches x stages, one batch with its downstream artifacts, all models."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator

from sim2edge.catalog import Catalog, Record
from sim2edge.cost import total
from sim2edge.errors import BadInput
from sim2edge.hold import VARIABLE
from sim2edge.hold import parse as parse_hold
from sim2edge.manifest import PARTITION, Manifest, check_partition
from sim2edge.notes import Note
from sim2edge.stages import kinds
from sim2edge_airflow.airflow_database import is_database_error, paused_dags, variable
from sim2edge_airflow.pages import flywheel_grid as grid
from sim2edge_airflow.pages import run_states
from sim2edge_airflow.pages.acting.offered import offer_for_all, offer_for_batch, offer_for_models
from sim2edge_airflow.pages.batch_pictures import CHARTED, draw_labels, find_gallery, has_thumbnail
from sim2edge_airflow.pages.bus_view import CHAMPION, BusView, read_or_note
from sim2edge_airflow.pages.costs import find_savings
from sim2edge_airflow.pages.drives import MAX_DRIVES, list_drives
from sim2edge_airflow.pages.model_standing import judge_model
from sim2edge_airflow.pages.paused import WATCHED, describe_paused
from sim2edge_airflow.pages.rendering import cut, get_view, render

ROUTES = APIRouter()
INDEX = grid.GridIndex()
LOG = logging.getLogger(__name__)
NO_DATABASE = "Airflow's database does not answer: what runs or failed is not shown"
MAX_VERSIONS = 100
MAX_LISTED = 12
MAX_NOTES = 3
"""Notes shown in a row."""

T = TypeVar("T")


def check_stage(name: str) -> str:
    """Return the name if it is the name of a column, or empty.

    Raises:
        ValueError: it is neither.
    """
    if name and name not in grid.STAGE_OF.values():
        raise ValueError(f"'{name}' is not one of: {', '.join(grid.STAGE_OF.values())}")
    return name


@ROUTES.get("/flywheel", response_class=HTMLResponse)
def show_flywheel(
    request: Request,
    session: SessionDep,
    user: GetUserDep,
    text: Annotated[str, Query(max_length=63)] = "",
    state: Literal["", "committed", "cached", "running", "refused", "failed", "missing"] = "",
    stage: Annotated[str, AfterValidator(check_stage)] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Return the page of batches x stages, a hundred batches a page, the newest first."""
    view = get_view(request)
    catalog = view.catalog()
    INDEX.update(catalog)
    notes: list[str] = []
    started = ask(notes, lambda: run_states.started_batches(session), {})
    live = None
    if state in grid.LIVE_STATES:
        live = ask(notes, lambda: run_states.batches_in_state(session, state), set())
    found = grid.choose_batches(INDEX, started, text, state, stage, live)
    if state in grid.LIVE_STATES:  # a failure may have been made good since, or be of another stage
        runs = ask(notes, lambda: run_states.newest_runs(session, found), {})
        found = [row.batch for row in grid.make_rows(INDEX, catalog, found, runs) if row.shows(state, stage)]
    shown, pages = cut(found, page)
    runs = ask(notes, lambda: run_states.newest_runs(session, shown), {})
    rows = grid.make_rows(INDEX, catalog, shown, runs, partial(judge_model, catalog, view.refs()))
    paused = ask(notes, lambda: paused_dags(session, WATCHED), set())
    held = ask(notes, lambda: read_hold(session), None)
    chosen = {"text": text, "state": state, "stage": stage}
    return render(
        request,
        "flywheel.html",
        rows=[(row, bool(PARTITION.fullmatch(row.batch))) for row in rows],
        withdrawn=view.withdrawn(),
        notes_of=notes_of_row(view),
        thumbnail=lambda batch: choose_thumbnail(view, batch),
        stages=list(grid.STAGE_OF.values()),
        states=grid.STATES,
        chosen=chosen,
        **pages,
        champion=target(view, CHAMPION),
        notes=notes,
        keyless=ask(notes, lambda: run_states.keyless_runs(session), []),
        held=held,
        actions=ask(notes, lambda: offer_for_all(user, held=bool(held)), []),
        paused=describe_paused(paused, INDEX, catalog),
    )


def notes_of_row(view: BusView) -> Callable[[grid.Row], Sequence[Note]]:
    """Return a function that returns the notes of the artifacts in a row, those with a star or a name."""
    known = view.notes()

    def find(row: grid.Row) -> Sequence[Note]:
        references = [cell.record.reference for cell in row.cells.values() if cell.record] if known else []
        return [note for each in references if (note := known.get(each)) and (note.star or note.name)][:MAX_NOTES]

    return find


def choose_thumbnail(view: BusView, batch: str) -> Record | None:
    """Return the episodes whose thumbnail is shown in the row of a batch; None if they have none."""
    episodes = INDEX.newest(batch).get("episodes")
    return episodes if episodes and has_thumbnail(episodes) and not view.is_erased(episodes.reference) else None


def ask(notes: list[str], query: Callable[[], T], otherwise: T) -> T:
    """Return the result of a query of Airflow's database; if it does not answer, append a note, return `otherwise`."""
    try:
        return query()
    except Exception as error:
        if not is_database_error(error):
            raise
        LOG.exception("Airflow's database does not answer the Flywheel page")
        notes[:] = [NO_DATABASE]
        return otherwise


def read_hold(session: SessionDep) -> str | None:
    """Return in one line why the system is on hold, since when and by whom; None if it is not."""
    value = variable(session, VARIABLE)
    try:
        return str(parse_hold(value)) if value else None
    except BadInput as error:
        return f"on hold; {error}"


def target(view: BusView, ref: str) -> str | None:
    """Return the target of a ref; None if it is not set, or not read yet."""
    found = view.refs().get(ref)
    return found.target if found else None


@ROUTES.get("/batches/{batch}", response_class=HTMLResponse)
def show_batch(request: Request, session: SessionDep, user: GetUserDep, batch: str) -> HTMLResponse:
    """Return the page of a batch: its pictures, its quality, its runs, and its downstream artifacts."""
    check_partition(batch if len(batch) <= 63 else batch[:64])
    view = get_view(request)
    catalog = view.catalog()
    INDEX.update(catalog)
    notes: list[str] = []
    runs = ask(notes, lambda: run_states.newest_runs(session, [batch]), {})
    history = ask(notes, lambda: run_states.runs_of_batch(session, batch), [])
    judge = partial(judge_model, catalog, view.refs())
    (row,) = grid.make_rows(INDEX, catalog, [batch], runs, judge)
    newest = INDEX.newest(batch)
    pictures = find_pictures(view, newest, notes)
    episodes = pictures.get("episodes", {}).get("manifest")
    versions = sorted((r for r in catalog.records() if r.partition == batch), key=lambda r: r.finished, reverse=True)
    return render(
        request,
        "batch.html",
        status=200 if newest or history or not view.age_s else 404,
        batch=batch,
        withdrawn=view.withdrawn().get(batch),
        row=row,
        stages=list(grid.STAGE_OF.values()),
        newest=newest,
        pictures=pictures,
        gallery=find_gallery(view, newest.get("episodes"), notes),
        cost=total(record for record in catalog.records() if record.partition == batch),
        savings=ask(notes, lambda: find_savings(session, catalog, batch), None),
        labels=draw_labels(pictures.get("frames", {}).get("labels", {})),
        drives=list_drives(view, episodes, request.scope.get("root_path", ""), notes) if episodes else (),
        most_drives=MAX_DRIVES,
        downstream=sort_downstream(catalog, newest),
        judge=judge,
        most=MAX_LISTED,
        versions=versions[:MAX_VERSIONS],
        hidden=max(len(versions) - MAX_VERSIONS, 0),
        history=history,
        notes=notes,
        champion=target(view, CHAMPION),
        actions=ask(notes, lambda: offer_for_batch(user, view, batch, newest, history), []),
    )


def find_pictures(view: BusView, newest: Mapping[str, Record], notes: list[str]) -> dict[str, Any]:
    """Return the summaries of a batch's episodes and frames, with contact sheet and report if they exist."""
    found: dict[str, Any] = {}
    for kind, file in (("episodes", "contact_sheet.png"), ("frames", "report.html")):
        manifest = read_or_note(notes, view.manifest, newest[kind].reference) if kind in newest else None
        if manifest:
            found[kind] = {
                "manifest": manifest,
                "summary": {k: v for k, v in manifest.summary.items() if k not in ("seeds", *CHARTED)},
                "labels": {k: v for k, v in manifest.summary.items() if k in CHARTED},
                "file": file if has_file(view, manifest, file) else None,
            }
    return found


def has_file(view: BusView, manifest: Manifest, path: str) -> bool:
    """Return whether an artifact has a file that was not erased."""
    return not view.is_erased(manifest.reference) and any(each.path == path for each in manifest.files)


def sort_downstream(catalog: Catalog, newest: Mapping[str, Record]) -> dict[str, Sequence[Record]]:
    """Return the artifacts downstream of a batch's episodes or frames, by kind, newest first."""
    start = newest.get("episodes") or newest.get("frames")
    found = [catalog.get(each) for each in catalog.descendants(start.reference)] if start else []
    records = sorted((each for each in found if each), key=lambda each: each.finished, reverse=True)
    return {
        kind: [each for each in records if each.kind == kind] for kind in kinds() if kind not in ("episodes", "frames")
    }


@ROUTES.get("/models", response_class=HTMLResponse)
def show_models(
    request: Request,
    user: GetUserDep,
    archived: Literal["", "shown"] = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> HTMLResponse:
    """Return the page of all models, starred ones first, then newest first; archived ones only if asked for."""
    view = get_view(request)
    catalog, said = view.catalog(), view.notes()
    models = [record for record in catalog.records() if record.kind == "model"]
    listed = order_models(models, said, archived=bool(archived))
    shown, pages = cut(listed, page)
    refs = view.refs()
    return render(
        request,
        "models.html",
        rows=[
            make_model_row(catalog, record) | {"standing": judge_model(catalog, refs, record.reference)}
            for record in shown
        ],
        said=said,
        archived=archived,
        hidden=len(models) - len(listed),
        left=choose_left([record.reference for record in shown], target(view, CHAMPION)),
        actions=offer_for_models(user),
        **pages,
    )


def order_models(models: Sequence[Record], said: Mapping[str, Note], *, archived: bool) -> Sequence[Record]:
    """Return the models to list: starred ones first, then the newest; archived ones only if they are asked for."""
    notes = [(record, said.get(record.reference)) for record in models]
    shown = [(record, note) for record, note in notes if archived or not (note and note.archived)]
    shown.sort(key=lambda each: (bool(each[1] and each[1].star), each[0].finished), reverse=True)
    return [record for record, _ in shown]


def choose_left(models: Sequence[str], champion: str | None) -> str | None:
    """Return the model that the first of a list is compared with at first: the champion, or the next."""
    others = models[1:] or models
    return champion if champion in others else next(iter(others), None)


def make_model_row(catalog: Catalog, model: Record) -> dict[str, Any]:
    """Return a model with its dataset, its verdict and its release."""
    below = [record for each in catalog.children(model.reference) if (record := catalog.get(each))]
    newest = {record.kind: record for record in sorted(below, key=lambda record: record.finished)}
    dataset = catalog.get(next(iter(model.inputs.get("dataset", ())), ""))
    batches = len(dataset.inputs.get("frames", ())) if dataset else None
    release = newest.get("release")
    rollouts = [catalog.get(each) for each in catalog.children(release.reference)] if release else []
    return {
        "model": model,
        "dataset": dataset,
        "batches": batches,
        "verdict": newest.get("verdict"),
        "release": release,
        "rings": sorted({str(each.numbers.get("ring")) for each in rollouts if each}),
    }
