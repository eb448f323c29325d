"""Plots over time: axes with round marks, groups of neighbours with their median and range."""

from datetime import UTC, datetime, timedelta

import pytest

from sim2edge_airflow.pages.plots import (
    HEIGHT,
    LEFT,
    MAX_TICKS,
    WIDTH,
    Sample,
    choose_ticks,
    choose_times,
    draw_plot,
    group,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def samples(values, step=DAY):
    return [Sample(START + number * step, value, f"model/b/{number:016x}") for number, value in enumerate(values)]


def test_few_values_are_a_mark_each_with_a_link_inside_the_axes():
    plot = draw_plot("Latency", "ms", {"latency": samples([3.0, 1.0, 2.0])}, 10)
    assert [mark.group.middle.value for mark in plot.marks] == [3.0, 1.0, 2.0]
    assert [mark.group.count for mark in plot.marks] == [1, 1, 1]
    assert [mark.x for mark in plot.marks] == sorted(mark.x for mark in plot.marks)
    assert plot.marks[1].y > plot.marks[2].y > plot.marks[0].y, "a larger value is higher"
    assert all(LEFT <= mark.x <= WIDTH and 0 <= mark.y <= HEIGHT for mark in plot.marks)
    assert plot.summary == ("Latency, 2026-01-01 00:00 to 2026-01-03 00:00 UTC: latency from 3 ms to 2 ms")


def test_many_values_are_groups_with_their_median_and_range():
    found = group(samples([5.0, 1.0, 9.0, 2.0, 2.0, 8.0, 4.0]), 2)
    assert [(each.middle.value, each.low, each.high, each.count) for each in found] == [
        (5.0, 1.0, 9.0, 3),
        (4.0, 2.0, 8.0, 4),
    ]
    whole = group(samples([float(number) for number in range(10_000)]), 40)
    assert len(whole) == 40
    assert sum(each.count for each in whole) == 10_000


@pytest.mark.parametrize(
    ("low", "high", "logarithmic", "ticks"),
    [
        (0.1, 0.93, False, [0, 0.25, 0.5, 0.75, 1]),
        (0.90, 0.97, False, [0.9, 0.92, 0.94, 0.96, 0.98]),
        (5.0, 5.0, False, [5.0, 7.0]),
        (0.0, 0.0, False, [0.0, 0.25]),
        (-3.0, 1.0, False, [-3, -2, -1, 0, 1]),
        (0.8, 202.0, True, [0.1, 1, 10, 100, 1000]),
        (10.0, 10.0, True, [10, 100]),
    ],
)
def test_marks_of_an_axis_are_round_and_enclose_all_values(low, high, logarithmic, ticks):
    found = choose_ticks(low, high, logarithmic)
    assert found[0] <= low
    assert found[-1] >= high
    assert len(found) >= 2
    if (low, high) not in ((5.0, 5.0), (0.0, 0.0)):
        assert found == pytest.approx(ticks)


@pytest.mark.parametrize("days", [0.00005, 0.01, 0.5, 1, 3, 20, 100, 900, 40_000])
def test_times_are_few_and_within_the_span(days):
    first = START.timestamp()
    found = choose_times(first, first + days * 86400)
    assert len(found) <= MAX_TICKS + 1
    assert all(first <= then.timestamp() <= first + days * 86400 for then, _ in found)


def test_a_single_artifact_and_none_are_drawn_or_left_out():
    assert len(draw_plot("Time", "s", {"model": samples([3.0])}, 10).marks) == 1
    assert draw_plot("Time", "s", {"model": []}, 10) is None
    assert draw_plot("Time", "s", {"model": samples([0.0])}, 10, logarithmic=True) is None
    assert draw_plot("Time", "s", {}, 10) is None


def test_series_have_shapes_of_their_own():
    names = ("episodes", "frames", "dataset", "model", "verdict", "release", "rollout")
    plot = draw_plot("Time", "s", {name: samples([1.0, 2.0]) for name in names}, 10, logarithmic=True)
    assert len({shape for _, shape, _ in plot.legend}) == len(names)
    assert [name for _, _, name in plot.legend] == list(names)
