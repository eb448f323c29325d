"""Compute bar charts and histograms, as the geometry of an SVG that `charts.html` draws. Pure.

    draw_bars("boxes by class", {"chair": 512, "table": 204})
    draw_histogram("boxes by distance", counts, step=0.5, unit="m")

Values may come from a stage: what is no number is left out, and texts are cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim2edge.catalog import is_number
from sim2edge_airflow.pages.page_words import number, short

MAX_BARS, MAX_BINS = 24, 100
WIDTH, NAME_WIDTH, VALUE_WIDTH = 400, 110, 52
"""Units of the view box: one is a pixel where the card is wide enough."""
ROW, BAR = 22, 14
HEIGHT, FOOT = 150, 22


@dataclass(frozen=True)
class Bar:
    """One bar with its texts."""

    name: str
    value: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Bars, the size of their view box, and what they show in one sentence."""

    title: str
    summary: str
    width: int
    height: int
    upright: bool
    bars: Sequence[Bar]
    ticks: Sequence[tuple[float, str]] = ()
    """Place and text of each mark below upright bars."""
    unit: str = ""


def draw_bars(title: str, counts: Mapping[str, Any]) -> Chart | None:
    """Return a chart with a horizontal bar for each name, the largest first; None if there is no number above 0."""
    found = sorted(((str(name), value) for name, value in counts.items() if is_count(value)), key=lambda each: -each[1])
    if not found:
        return None
    shown, scale = found[:MAX_BARS], (WIDTH - NAME_WIDTH - VALUE_WIDTH) / found[0][1]
    bars = [
        Bar(short(name, 40), value, NAME_WIDTH, row * ROW + (ROW - BAR) / 2, round(value * scale, 1), BAR)
        for row, (name, value) in enumerate(shown)
    ]
    return Chart(title, summarize(title, bars), WIDTH, len(bars) * ROW, False, bars)


def draw_histogram(title: str, counts: Sequence[Any], step: float, unit: str) -> Chart | None:
    """Return a chart with an upright bar for each bin of width `step` from 0; None if all are 0.

    The last bin is open; empty ones at the end are left out.
    """
    values = [value if is_count(value) else 0 for value in counts[:MAX_BINS]]
    if not any(values) or not is_number(step) or step <= 0:
        return None
    last = max(index for index, value in enumerate(values) if value)
    values, whole = values[: last + 1], len(values)
    width, scale = WIDTH / len(values), (HEIGHT - FOOT - 14) / max(values)
    bars = [
        Bar(name_bin(index, whole, step, unit), value, round(index * width + 1, 1),
            round(HEIGHT - FOOT - value * scale, 1), round(width - 2, 1), round(value * scale, 1))
        for index, value in enumerate(values)
    ]  # fmt: skip
    every = max(len(values) // 6, 1)
    ticks = [(round(index * width, 1), f"{index * step:g}") for index in range(0, len(values), every)]
    return Chart(title, summarize(title, bars), WIDTH, HEIGHT, True, bars, ticks, unit)


def name_bin(index: int, count: int, step: float, unit: str) -> str:
    """Return the range of a bin in words."""
    low = f"{index * step:g}"
    return f"{low} {unit} and more" if index == count - 1 else f"{low} to {(index + 1) * step:g} {unit}"


def summarize(title: str, bars: Sequence[Bar]) -> str:
    """Return the text alternative of a chart: how many bars, and the largest."""
    largest = max(bars, key=lambda bar: bar.value)
    total = sum(bar.value for bar in bars)
    return f"{title}: {number(total)} in {len(bars)} bars, most of them, {number(largest.value)}, {largest.name}"


def is_count(value: Any) -> bool:
    """Return whether the value is a finite number above 0, and no truth value."""
    return is_number(value) and not isinstance(value, bool) and value > 0
