"""Figures of a run that promises no bytes, compared with those of the recorded run."""

import pytest

from sim2edge.reproduce import compare_figures


@pytest.mark.parametrize(
    ("recorded", "made", "said"),
    [
        ({"map": 0.5}, {"map": 0.55}, []),
        ({"map": 0.5}, {"map": 0.7}, ["differs: map (0.5, now 0.7)"]),
        ({"map": 0.5}, {"map": None}, ["missing: map (0.5, now None)"]),
        ({"map": None}, {"map": None}, []),  # undefined on this data, then and now
        ({}, {}, ["missing: map (None, now None)"]),
    ],
)
def test_a_figure_agrees_within_its_tolerance_or_is_undefined_both_times(recorded, made, said):
    assert compare_figures(recorded, made, {"map": 0.1}) == said
