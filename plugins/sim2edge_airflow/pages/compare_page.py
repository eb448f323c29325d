"""Serve the comparison of two artifacts of a kind side by side: what differs first, and which of two figures is better.

    /compare?left=model/demo-1/<id>&right=refs/models/champion

Two models come with the figures of their newest verdicts, which are comparable if both were judged on one dataset.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from sim2edge.catalog import Catalog, Record
from sim2edge.comparison import Line, compare
from sim2edge.errors import BadInput, NotFound
from sim2edge.manifest import Manifest, split_reference
from sim2edge.stages import kinds
from sim2edge_airflow.pages.bus_view import BusView, is_reference, read_or_note
from sim2edge_airflow.pages.rendering import get_view, render

ROUTES = APIRouter()
ORDER = ("result", "cost", "config", "inputs", "made by", "files")
"""Parts in the order in which they are shown."""
TITLES = {
    "result": "Result",
    "cost": "What it took",
    "config": "Config",
    "inputs": "Made from",
    "made by": "Made by",
    "files": "Files",
}
MAX_LINES = 200
"""Lines of a part."""
MAX_CHOICES = 200
Name = Annotated[str, Query(max_length=200)]


@ROUTES.get("/compare", response_class=HTMLResponse)
def show_comparison(request: Request, left: Name = "", right: Name = "") -> HTMLResponse:
    """Return the page that compares two artifacts, or asks for them."""
    view, notes = get_view(request), list[str]()
    chosen = {"left": left, "right": right}
    if not left or not right:
        choices = list_choices(view.catalog(), left or right)
        return render(request, "compare.html", chosen=chosen, choices=choices, pair=None)
    first, second = (open_artifact(view, name, side) for side, name in chosen.items())
    lines = list(compare(first, second))
    judged = compare_verdicts(view, first, second, notes) if first.kind == "model" else None
    return render(
        request,
        "compare.html",
        chosen=chosen,
        pair=(first, second),
        judged=judged,
        parts=[(TITLES[part], *sort_lines(lines, part)) for part in ORDER],
        same=sum(not line.differs for line in lines),
        most=MAX_LINES,
        notes=notes,
    )


def open_artifact(view: BusView, name: str, side: str) -> Manifest:
    """Return the manifest of a reference or a ref.

    Raises:
        BadInput: it is neither.
        NotFound: no such ref is set, or no stage here makes this kind.
        Missing: the artifact does not exist.
    """
    ref = view.refs().get(name)
    reference = ref.target if ref else name
    if not is_reference(reference):
        if name.startswith("refs/"):
            raise NotFound(f"{side}: '{name[:80]}' is not one of the refs of models, rings and datasets")
        raise BadInput(f"{side}: '{name[:80]}' is not an artifact reference: <kind>/<partition>/<16 hex digits>")
    if split_reference(reference)[0] not in kinds():
        raise NotFound(f"{side}: {reference}: no stage here makes this kind")
    return view.manifest(reference)


def sort_lines(lines: Sequence[Line], part: str) -> tuple[Sequence[Line], Sequence[Line]]:
    """Return the lines of a part that differ, and those that do not."""
    found = [line for line in lines if line.part == part and line.name not in ("seeds", "mlflow")]
    found = [line for line in found if not line.name.startswith(("seeds.", "mlflow."))]
    return [line for line in found if line.differs], [line for line in found if not line.differs]


def compare_verdicts(view: BusView, first: Manifest, second: Manifest, notes: list[str]) -> dict[str, Any] | None:
    """Return the figures of the newest verdicts of two models; None if one was not judged yet."""
    catalog = view.catalog()
    records = [newest_verdict(catalog, model.reference) for model in (first, second)]
    verdicts = [read_or_note(notes, view.manifest, record.reference) for record in records if record]
    judged = [verdict for verdict in verdicts if verdict]
    if len(judged) < 2:
        return None
    lines = [line for line in compare(*judged) if line.part == "result" and line.difference is not None]
    datasets = [verdict.inputs.get("dataset") for verdict in judged]
    return {"lines": lines[:MAX_LINES], "verdicts": judged, "same_data": datasets[0] == datasets[1]}


def newest_verdict(catalog: Catalog, model: str) -> Record | None:
    """Return the newest verdict of a model; None if there is none."""
    below = [catalog.get(each) for each in catalog.children(model) if each.startswith("verdict/")]
    return max((record for record in below if record), key=lambda record: record.finished, default=None)


def list_choices(catalog: Catalog, other: str) -> Sequence[Record]:
    """Return what may be compared: the newest of the other one's kind, or models."""
    kind = split_reference(other)[0] if is_reference(other) else "model"
    found = [record for record in catalog.records() if record.kind == kind and record.shard is None]
    return sorted(found, key=lambda record: record.finished, reverse=True)[:MAX_CHOICES]
