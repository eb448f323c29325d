"""Serve the timeline: champions and the releases of the rings from when to when, roll-backs, and withdrawals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from sim2edge.tombstone import Event, Tombstone
from sim2edge_airflow.pages.page_words import moment
from sim2edge_airflow.pages.plots import Scale, choose_times
from sim2edge_airflow.pages.rendering import cut, get_view, render
from sim2edge_airflow.pages.terms import Term, champion_terms, ring_terms
from sim2edge_airflow.pages.trends_page import Day, span

ROUTES = APIRouter()
WIDTH, LEFT, RIGHT, ROW, TOP, FOOT = 960, 90, 14, 34, 6, 28
MAX_BARS = 120
"""Bars of a row: the newest."""
MAX_ROWS = 24
MAX_EVENTS = 100


@dataclass(frozen=True)
class Bar:
    """A term in the chart."""

    x: float
    y: float
    width: float
    term: Term
    text: str
    """What it shows in one line."""
    odd: bool
    """Whether it is drawn in the other shade: neighbours differ."""


@dataclass(frozen=True)
class Chart:
    """Rows of bars over time, with a line at each withdrawal."""

    rows: Sequence[tuple[float, str]]
    bars: Sequence[Bar]
    lines: Sequence[tuple[float, str]]
    times: Sequence[tuple[float, str]]
    height: int
    summary: str
    width: int = WIDTH


@ROUTES.get("/timeline", response_class=HTMLResponse)
def show_timeline(
    request: Request, since: Day = "", until: Day = "", page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> HTMLResponse:
    """Return the page of the timeline, between two days."""
    start, end = span(since, until)
    view, now = get_view(request), datetime.now(UTC)
    catalog, refs = view.catalog(), view.refs()
    rows = {"champion": champion_terms(catalog, refs), **ring_terms(catalog, refs)}
    rows = {name: [term for term in terms if overlaps(term, start, end)] for name, terms in rows.items()}
    events = [(batch, each) for batch, each in list_events(view.withdrawn()) if start <= each.at < end]
    listed = sorted(
        (t for terms in rows.values() for t in terms), key=lambda t: (t.start is None, t.start), reverse=True
    )
    shown, pages = cut(listed, page)
    return render(
        request,
        "timeline.html",
        chart=draw_chart(rows, events, start, min(end, now)),
        terms=shown,
        now=now,
        events=events[:MAX_EVENTS],
        champions=len(rows["champion"]),
        rings=[name for name in rows if name != "champion"],
        chosen={"since": since, "until": until},
        **pages,
    )


def overlaps(term: Term, start: datetime, end: datetime) -> bool:
    """Return whether a term has a part between two moments."""
    return (term.start is None or term.start < end) and (term.end is None or term.end >= start)


def list_events(withdrawn: Mapping[str, Tombstone]) -> list[tuple[str, Event]]:
    """Return batch and decision of every withdrawn batch, the newest first."""
    found = [(batch, event) for batch, tombstone in withdrawn.items() for event in tombstone.events]
    return sorted(found, key=lambda each: each[1].at, reverse=True)


def draw_chart(
    rows: Mapping[str, Sequence[Term]], events: Iterable[tuple[str, Event]], start: datetime, end: datetime
) -> Chart | None:
    """Return the chart of some rows, from the first term or `start` to `end`; None if there is no term."""
    drawn = {name: terms[-MAX_BARS:] for name, terms in list(rows.items())[:MAX_ROWS] if terms}
    begun = [term.start for terms in drawn.values() for term in terms if term.start]
    if not begun:
        return None
    first = max(min(begun), start)
    scale = Scale(first.timestamp(), max(end, first).timestamp(), LEFT, WIDTH - RIGHT)
    bars = [
        make_bar(term, TOP + row * ROW, first, end, scale, number % 2 == 1)
        for row, terms in enumerate(drawn.values())
        for number, term in enumerate(terms)
    ]
    lines = [(event.at, f"{batch}: {event.action}, {moment(event.at)}") for batch, event in events if event.at >= first]
    spoken = (f"{name}: {len(terms)}, the last {terms[-1].reference}" for name, terms in drawn.items())
    return Chart(
        rows=[(TOP + row * ROW, name) for row, name in enumerate(drawn)],
        bars=bars,
        lines=[(scale.place(then.timestamp()), text) for then, text in lines],
        times=[(scale.place(then.timestamp()), text) for then, text in choose_times(scale.low, scale.high)],
        height=TOP + len(drawn) * ROW + FOOT,
        summary=f"Champions and releases from {moment(first)} to {moment(end)}: {'; '.join(spoken)}",
    )


def make_bar(term: Term, y: float, first: datetime, end: datetime, scale: Scale, odd: bool) -> Bar:
    """Return the bar of a term, cut to the chart."""
    left = scale.place(max(term.start or first, first).timestamp())
    right = scale.place(min(term.end or end, end).timestamp())
    until = f"until {moment(term.end)}" if term.end else "now"
    text = f"{term.holder}: {term.reference}, from {moment(term.start) or 'an unknown time'} {until}"
    return Bar(left, y, round(max(right - left, 1.5), 1), term, text + (", rolled back" if term.back else ""), odd)
