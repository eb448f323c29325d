"""Bar charts and histograms: where the bars are, and what no stage can do to them."""

import pytest

from sim2edge_airflow.pages.charts import WIDTH, draw_bars, draw_histogram


def test_bars_are_as_long_as_their_numbers_the_largest_first():
    chart = draw_bars("boxes", {"cable": 10, "chair": 40, "table": 20})
    assert [bar.name for bar in chart.bars] == ["chair", "table", "cable"]
    assert chart.bars[0].width == pytest.approx(4 * chart.bars[2].width, abs=0.5)
    assert all(bar.x + bar.width <= WIDTH for bar in chart.bars)
    assert chart.summary == "boxes: 70 in 3 bars, most of them, 40, chair"


def test_bins_are_named_by_their_range_and_empty_ones_at_the_end_are_left_out():
    chart = draw_histogram("boxes", [1, 0, 4, 0, 0], 0.5, "m")
    assert [(bar.name, bar.value) for bar in chart.bars] == [("0 to 0.5 m", 1), ("0.5 to 1 m", 0), ("1 to 1.5 m", 4)]
    assert draw_histogram("boxes", [1, 4], 0.5, "m").bars[-1].name == "0.5 m and more"
    assert {round(bar.y + bar.height) for bar in chart.bars} == {128}, "all stand on the axis"


@pytest.mark.parametrize(
    "counts", [{}, {"a": 0}, {"a": "many", "b": None, "c": [1]}, {"a": float("nan")}, {"a": float("inf")}, {"a": -3}]
)
def test_without_a_number_there_is_no_chart(counts):
    assert draw_bars("boxes", counts) is None
    assert draw_histogram("boxes", list(counts.values()), 1.0, "m") is None


@pytest.mark.parametrize("step", [0, -1, None, "wide", float("nan")])
def test_a_bin_without_a_width_gives_no_chart(step):
    assert draw_histogram("boxes", [1, 2], step, "m") is None


def test_many_and_long_names_are_cut():
    chart = draw_bars("boxes", {f"{number:03}" * 100: 1 + number for number in range(500)})
    assert len(chart.bars) == 24
    assert max(len(bar.name) for bar in chart.bars) == 40
