"""What an export is planned with, when somebody starts it by hand."""

import pytest

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.plan import plan

from .conftest import DATASET, MODEL, VERDICT, make_manifest

CURRENT = "dataset/b-2/" + "4" * 16
GIVEN = {"model": [MODEL], "verdict": [VERDICT]}


@pytest.fixture
def judged(bus: Bus) -> Bus:
    """A model that was judged on one dataset, before another became the current one."""
    for reference in (MODEL, DATASET, CURRENT):
        bus.commit(make_manifest(reference))
    bus.commit(make_manifest(VERDICT, {"model": [MODEL], "dataset": [DATASET]}))
    bus.move_ref("refs/datasets/current", CURRENT)
    return bus


def test_the_dataset_is_the_one_that_the_verdict_judged_on(judged: Bus) -> None:
    by_hand = plan(judged, "export", inputs=GIVEN)
    assert by_hand.inputs["dataset"] == [DATASET]
    assert by_hand.reference == plan(judged, "export", inputs={**GIVEN, "dataset": [DATASET]}).reference


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"model": ["model/b-1/" + "9" * 16]}, f"{VERDICT} is about model/b-1/9999999999999999, not {MODEL}"),
        ({"model": [MODEL]}, f"{VERDICT} records no dataset"),
        ({}, f"{VERDICT} is about no model, not {MODEL}"),
    ],
)
def test_a_verdict_that_does_not_fit_is_refused_before_anything_starts(judged: Bus, inputs, said: str) -> None:
    judged.put(f"{VERDICT}/manifest.json", make_manifest(VERDICT, inputs).to_json())
    with pytest.raises(BadInput, match=said):
        plan(judged, "export", inputs=GIVEN)
