"""Metrics agree with pycocotools and scikit-learn on random and adversarial sets of boxes."""

import pytest
from metric_references import largest_differences

CLOSE = 1e-9


def far(seeds):
    return {name: worst for name, worst in largest_differences(seeds).items() if worst[0] > CLOSE}


def test_every_metric_agrees_with_the_references_on_each_kind_of_boxes_and_scores():
    assert far(range(40)) == {}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_metric_agrees_with_the_references_on_a_thousand_sets():
    assert far(range(1000)) == {}
