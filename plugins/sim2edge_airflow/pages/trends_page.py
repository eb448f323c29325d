"""Serve the page of trends: quality, latency, time, CPU and size of all artifacts over time.

Everything comes from the catalog's records, so that no request is sent to S3. However many artifacts there are, a
series has a bounded number of marks, and a shorter span shows each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator

from sim2edge.catalog import Catalog, Record, is_number
from sim2edge.errors import BadInput
from sim2edge_airflow.pages.flywheel_grid import STAGE_OF
from sim2edge_airflow.pages.plots import Plot, Sample, draw_plot
from sim2edge_airflow.pages.rendering import get_view, render

ROUTES = APIRouter()
MARKS_OF_ONE, MARKS_OF_FIGURES, MARKS_OF_COSTS = 150, 60, 20
"""Marks of a series where one kind is shown, and of the plots of all kinds."""

KEPT = 16
"""Drawn pages in memory."""


@dataclass(frozen=True)
class Figure:
    """A plot of some figures of the artifacts of one kind."""

    title: str
    kind: str
    unit: str
    names: Mapping[str, str]
    """Name of the series to that of the figure."""


FIGURES = (
    Figure("Quality on held-out episodes", "verdict", "",
           {"mAP@50": "map_50", "mAP@50-95": "map_50_95", "floor accuracy": "floor_accuracy"}),
    Figure("Error of the distance", "verdict", "m", {"distance error": "distance_error_m"}),
    Figure("Latency of releases, by the device profile", "release", "ms", {"latency": "latency_ms"}),
    Figure("Successful episodes", "episodes", "", {"success rate": "success_rate"}),
)  # fmt: skip
COSTS: tuple[tuple[str, str, Callable[[Record], float]], ...] = (
    ("Duration", "s", lambda record: record.wall_s),
    ("CPU time", "s", lambda record: record.cpu_s),
    ("Size of the payload", "B", lambda record: record.bytes),
)
"""Title, unit and value of what each artifact took."""


def check_day(text: str) -> str:
    """Return the text if it is empty or a date as `YYYY-MM-DD`.

    Raises:
        ValueError: it is neither.
    """
    if text:
        try:
            date.fromisoformat(text)
        except ValueError:
            raise ValueError("expected a date, as 2026-05-31") from None
    return text


def check_kind(kind: str) -> str:
    """Return the kind if it is empty or has a column of the grid.

    Raises:
        ValueError: it is neither.
    """
    if kind and kind not in STAGE_OF:
        raise ValueError(f"not one of: {', '.join(STAGE_OF)}")
    return kind


Day = Annotated[str, Query(max_length=10), AfterValidator(check_day)]


@ROUTES.get("/trends", response_class=HTMLResponse)
def show_trends(
    request: Request, kind: Annotated[str, AfterValidator(check_kind)] = "", since: Day = "", until: Day = ""
) -> HTMLResponse:
    """Return the page of trends, of one kind or of all, between two days."""
    catalog = get_view(request).catalog()
    plots, total = draw(catalog, catalog.changes, kind, since, until)
    return render(
        request,
        "trends.html",
        plots=plots,
        total=total,
        kinds=list(STAGE_OF),
        chosen={"kind": kind, "since": since, "until": until},
    )


@lru_cache(KEPT)
def draw(catalog: Catalog, _changes: int, kind: str, since: str, until: str) -> tuple[Sequence[Plot], int]:
    """Return the plots of one kind or of all between two days, and of how many artifacts; kept until the next commit.

    Raises:
        BadInput: the second day is before the first.
    """
    start, end = span(since, until)
    records = [
        record
        for record in catalog.records()
        if record.shard is None and start <= record.finished < end and record.kind in STAGE_OF
    ]
    records.sort(key=lambda record: record.finished)
    return draw_figures(records, kind) + draw_costs(records, kind), len(records)


def span(since: str, until: str) -> tuple[datetime, datetime]:
    """Return the first moment of a day, and that after another one; an empty day is open.

    Raises:
        BadInput: the second day is before the first.
    """
    if since and until and until < since:
        raise BadInput(f"until: {until} is before {since}")
    start = datetime.fromisoformat(since).replace(tzinfo=UTC) if since else datetime.min.replace(tzinfo=UTC)
    last = datetime.max.replace(tzinfo=UTC)
    end = datetime.fromisoformat(until).replace(tzinfo=UTC) if until else last
    return start, end + timedelta(days=1) if until and until < "9999-12-31" else last


def draw_figures(records: Sequence[Record], kind: str) -> list[Plot]:
    """Return the plots of what the artifacts are like, those that have a value."""
    most = MARKS_OF_ONE if kind else MARKS_OF_FIGURES
    plots = []
    for figure in FIGURES:
        of_kind = [record for record in records if record.kind == figure.kind] if kind in ("", figure.kind) else []
        series = {name: take(of_kind, partial(find_figure, key)) for name, key in figure.names.items()}
        plots.append(draw_plot(figure.title, figure.unit, series, most))
    return [plot for plot in plots if plot]


def find_figure(name: str, record: Record) -> object:
    """Return a figure of an artifact; None if it has none of this name."""
    return record.numbers.get(name)


def draw_costs(records: Sequence[Record], kind: str) -> list[Plot]:
    """Return the plots of what the artifacts took, with a series for each kind."""
    kinds = [kind] if kind else list(STAGE_OF)
    most = MARKS_OF_ONE if kind else MARKS_OF_COSTS
    by_kind = {each: [record for record in records if record.kind == each] for each in kinds}
    plots = [
        draw_plot(title, unit, {each: take(found, value) for each, found in by_kind.items()}, most, logarithmic=True)
        for title, unit, value in COSTS
    ]
    return [plot for plot in plots if plot]


def take(records: Sequence[Record], value: Callable[[Record], object]) -> list[Sample]:
    """Return the samples of the records that have a number."""
    found = [(record, value(record)) for record in records]
    return [
        Sample(record.finished, float(number), record.reference, record.refused is not None)
        for record, number in found
        if is_number(number) and not isinstance(number, bool)
    ]
