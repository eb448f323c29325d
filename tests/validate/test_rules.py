"""The gate as a table: what a model scored, what the champion scored, which rules break."""

import pytest

from sim2edge.validate.config import Floors, ValidateConfig
from sim2edge.validate.rules import check, refusal

CONFIG = ValidateConfig(
    floors=Floors(floor_accuracy=0.95, map_50=0.4, worst_class_ap_50=0.1), tolerance=0.02, distance_tolerance_m=0.1
)
GOOD = {"floor_accuracy": 0.97, "map_50": 0.5, "map_50_95": 0.3, "worst_class_ap_50": 0.3, "distance_error_m": 0.2}

CASES = {
    "good without a champion": ({}, None, []),
    "exactly on the floors": ({"floor_accuracy": 0.95, "map_50": 0.4, "worst_class_ap_50": 0.1}, None, []),
    "below a floor": ({"floor_accuracy": 0.94}, None, ["floor_accuracy >= floor"]),
    "a class that is not found": ({"worst_class_ap_50": 0.0}, None, ["worst_class_ap_50 >= floor"]),
    "two floors": ({"floor_accuracy": 0.1, "map_50": 0.1}, None, ["floor_accuracy >= floor", "map_50 >= floor"]),
    "as good as the champion": ({}, {}, []),
    "worse within the tolerance": ({}, {"map_50": 0.519}, []),
    "worse beyond the tolerance": ({}, {"map_50": 0.53}, ["map_50 against champion"]),
    "better than the champion": ({}, {"map_50": 0.2, "distance_error_m": 0.9}, []),
    "distances got worse": ({}, {"distance_error_m": 0.05}, ["distance_error_m against champion"]),
    "finds nothing, so has no distances": (
        {"distance_error_m": None, "map_50": 0.0},
        {},
        ["map_50 >= floor", "map_50 against champion", "distance_error_m against champion"],
    ),
    "the champion found nothing": ({}, {"distance_error_m": None, "map_50": 0.0}, []),
    "not a number": ({"map_50": float("nan")}, None, ["map_50 >= floor", "map_50 is a number"]),
    "infinite": ({"map_50_95": float("inf")}, None, ["map_50_95 is a number"]),
    "missing": ({"floor_accuracy": None}, None, ["floor_accuracy >= floor", "floor_accuracy is a number"]),
}


@pytest.mark.parametrize("case", CASES)
def test_rules(case):
    changes, champion_changes, broken = CASES[case]
    champion = None if champion_changes is None else GOOD | champion_changes
    rules = check(GOOD | changes, champion, CONFIG)
    assert [rule.rule for rule in rules if not rule.passed] == broken
    assert (refusal(rules) is None) == (not broken)


def test_a_refusal_is_one_line_with_rule_value_and_limit():
    line = refusal(check(GOOD | {"floor_accuracy": 0.913, "map_50": float("nan")}, None, CONFIG))
    assert line.startswith("floor_accuracy >= floor: 0.913 (limit 0.95); map_50 >= floor: not a number (limit 0.4)")
    assert "\n" not in line
