"""Compute plots of values over time, as the geometry of an SVG that `charts.html` draws. Pure.

    plot = draw_plot("Latency", "ms", {"release": samples}, logarithmic=False)
    plot.marks          one for each value, or for the median of each group of neighbours if there are many

Each series has its own colour and shape. A mark is one artifact, to which it links; a line beside it spans the lowest
and the highest value of its group.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from sim2edge_airflow.pages.page_words import duration, size

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 30, 12, 28
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -5l4.8 8.4h-9.6z",
    "M0 -5l5 5l-5 5l-5 -5z",
    "M0 5l4.8 -8.4h-9.6z",
    "M-5 -1.6h3.4v-3.4h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4z",
    "M-2.4 -4.6h4.8l2.4 4.6l-2.4 4.6h-4.8l-2.4 -4.6z",
)
"""Paths of the marks of the series, in their order, around the origin."""
STEPS = [
    timedelta(seconds=each)
    for each in (60, 300, 900, 3600, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000)
]
MAX_TICKS = 7
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Sample:
    """A value of an artifact at a time."""

    when: datetime
    value: float
    reference: str
    refused: bool = False


@dataclass(frozen=True)
class Group:
    """Neighbours in time: the one with the median value, the range of all, and how many they are."""

    middle: Sample
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Mark:
    """A group in a plot."""

    x: float
    y: float
    low_y: float
    high_y: float
    series: str
    shape: str
    number: int
    """Number of the series, which selects its colour."""
    group: Group
    text: str
    """Its value with the unit."""


@dataclass(frozen=True)
class Plot:
    """Marks and axes, and what they show in one sentence."""

    title: str
    unit: str
    summary: str
    marks: Sequence[Mark]
    lines: Sequence[tuple[int, str]]
    """Number and points of the line through the marks of each series."""
    legend: Sequence[tuple[int, str, str]]
    """Number, shape and name of each series."""
    times: Sequence[tuple[float, str]]
    values: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic mapping of values to places."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the place of a value."""
        low, high, at = (math.log10(each) if self.logarithmic else each for each in (self.low, self.high, value))
        return round(self.start + (at - low) / ((high - low) or 1) * (self.end - self.start), 1)


def draw_plot(
    title: str, unit: str, series: Mapping[str, Sequence[Sample]], most: int, *, logarithmic: bool = False
) -> Plot | None:
    """Return the plot of some series; None if there is no value.

    Args:
        title: what is plotted.
        unit: `s`, `B`, another one, or empty.
        series: name to samples, in the order of time.
        most: marks of each series.
        logarithmic: whether the axis of values is; values of 0 or less are left out then.
    """
    usable = {
        name: [sample for sample in samples if not logarithmic or sample.value > 0] for name, samples in series.items()
    }
    groups = {name: group(samples, most) for name, samples in usable.items() if samples}
    if not groups:
        return None
    every = [each for found in groups.values() for each in found]
    across = Scale(*spread(every), LEFT + 8, WIDTH - RIGHT - 8)
    ticks = choose_ticks(min(each.low for each in every), max(each.high for each in every), logarithmic)
    up = Scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP, logarithmic)
    names = list(series)
    marks = [
        make_mark(each, name, names.index(name), across, up, unit) for name, found in groups.items() for each in found
    ]
    lines = [
        (names.index(name), " ".join(f"{mark.x:g},{mark.y:g}" for mark in marks if mark.series == name))
        for name in groups
    ]
    return Plot(
        title=title,
        unit=unit,
        summary=summarize(title, groups, unit),
        marks=marks,
        lines=lines,
        legend=[(names.index(name), SHAPES[names.index(name) % len(SHAPES)], name) for name in groups],
        times=[(across.place(then.timestamp()), text) for then, text in choose_times(across.low, across.high)],
        values=[(up.place(value), show(value, unit)) for value in ticks],
    )


def group(samples: Sequence[Sample], most: int) -> list[Group]:
    """Return at most `most` groups of neighbours, of about the same size."""
    count = min(most, len(samples))
    bounds = [len(samples) * number // count for number in range(count + 1)]
    return [make_group(samples[first:last]) for first, last in pairwise(bounds)]


def make_group(samples: Sequence[Sample]) -> Group:
    """Return a group with the sample of the median value."""
    ordered = sorted(samples, key=lambda sample: sample.value)
    return Group(ordered[len(ordered) // 2], ordered[0].value, ordered[-1].value, len(ordered))


def make_mark(found: Group, series: str, number: int, across: Scale, up: Scale, unit: str) -> Mark:
    """Return the mark of a group."""
    return Mark(
        x=across.place(found.middle.when.timestamp()),
        y=up.place(found.middle.value),
        low_y=up.place(found.low),
        high_y=up.place(found.high),
        series=series,
        shape=SHAPES[number % len(SHAPES)],
        number=number % len(SHAPES),
        group=found,
        text=show(found.middle.value, unit),
    )


def spread(groups: Sequence[Group]) -> tuple[float, float]:
    """Return the first and the last time of some groups, at least two seconds apart, in seconds."""
    times = [each.middle.when.timestamp() for each in groups]
    return (min(times), max(times)) if max(times) - min(times) > 2 else (min(times) - 1, max(times) + 1)


def choose_ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Return round values, the first not above `low`, the last not below `high`, at least two."""
    if logarithmic:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**power for power in range(first, max(last, first + 1) + 1)]
    low = 0.0 if low >= 0 and low < high / 2 else low
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def choose_times(first: float, last: float) -> list[tuple[datetime, str]]:
    """Return round times within a span of seconds since 1970, with their texts in UTC."""
    span = timedelta(seconds=last - first)
    step = next((each for each in STEPS if span / each <= MAX_TICKS), max(STEPS[-1], span / MAX_TICKS))
    seconds = step.total_seconds()
    numbers = range(math.ceil(first / seconds), math.floor(last / seconds) + 1)
    form = "%Y-%m-%d" if span > 300 * DAY else "%m-%d" if step >= DAY else "%m-%d %H:%M" if span > DAY else "%H:%M"
    times = [datetime.fromtimestamp(number * seconds, UTC) for number in numbers]
    return [(then, then.strftime(form)) for then in times]


def summarize(title: str, groups: Mapping[str, Sequence[Group]], unit: str) -> str:
    """Return the text alternative of a plot: the first and the last value of each series."""
    parts = [
        f"{name} from {show(found[0].middle.value, unit)} to {show(found[-1].middle.value, unit)}"
        for name, found in groups.items()
    ]
    first = min(found[0].middle.when for found in groups.values())
    last = max(found[-1].middle.when for found in groups.values())
    return f"{title}, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC: {'; '.join(parts)}"


def show(value: Any, unit: str) -> str:
    """Return a value with its unit."""
    if unit == "s":
        return duration(value)
    return size(value) if unit == "B" else f"{value:.3g} {unit}".rstrip()
