"""The gate as a table: what a model scored, what the best ones scored, which rules break."""

import numpy as np
import pytest

from sim2edge.errors import BadInput
from sim2edge.validate.config import Floors, ValidateConfig
from sim2edge.validate.metrics import Evaluation
from sim2edge.validate.rules import HIGHER_IS_BETTER, check, holders, refusal
from sim2edge.validate.support import Support, Supports

FLOORS = {
    "floor_accuracy": 0.95,
    "map_50": 0.4,
    "class_ap_50": {"default": 0.1, "cable": 0.02},
    "floor_recall": {"default": 0.8},
}
CONFIG = ValidateConfig(floors=Floors(**FLOORS), tolerance=0.02, distance_tolerance_m=0.1)
GOOD = {"floor_accuracy": 0.97, "map_50": 0.5, "map_50_95": 0.3, "distance_error_m": 0.2, "finite_outputs": 1.0}
ENOUGH = Support(examples=200, episodes=20, trained=900)
SUPPORTS = Supports({"box": ENOUGH, "cable": ENOUGH}, {"wood": ENOUGH, "tile": ENOUGH})
NOTHING = np.zeros((0, 0), np.int64)


def measured(spread=None, box=0.6, cable=0.3, wood=0.9, tile=0.9, **changes) -> Evaluation:
    """A model with these figures; `spread` [B]: how far its samples lie from them."""
    figures = GOOD | changes
    metrics = {
        **figures,
        "classes": {"box": {"ap_50": box}, "cable": {"ap_50": cable}},
        "floors": {"wood": {"recall": wood}, "tile": {"recall": tile}},
    }
    samples = None
    if spread is not None:
        samples = {name: spread + (np.nan if figures[name] is None else figures[name]) for name in HIGHER_IS_BETTER}
        samples |= {"class_ap_50": spread[:, None] + [box, cable], "floor_recall": spread[:, None] + [wood, tile]}
    return Evaluation(metrics, samples, NOTHING, NOTHING, {})


def broken(model, references=None, supports=SUPPORTS, config=CONFIG, episodes=20):
    """The names of the rules that fail."""
    rules = check(model, references or {}, supports, episodes, config)
    failed = [rule.rule for rule in rules if rule.passed is False]
    assert (refusal(rules) is None) == (not failed)
    return failed


CASES = {
    "good without a champion": ({}, None, []),
    "exactly on the floors": ({"floor_accuracy": 0.95, "map_50": 0.4, "box": 0.1, "wood": 0.8}, None, []),
    "below a floor": ({"floor_accuracy": 0.94}, None, ["floor_accuracy >= floor"]),
    "a class that is not found": ({"box": 0.0}, None, ["ap_50 of box >= floor"]),
    "a class with a floor of its own": ({"cable": 0.03}, None, []),
    "below a floor of its own": ({"cable": 0.01}, None, ["ap_50 of cable >= floor"]),
    "a floor type that is mistaken": ({"tile": 0.5}, None, ["recall of tile >= floor"]),
    "two floors": ({"floor_accuracy": 0.1, "map_50": 0.1}, None, ["floor_accuracy >= floor", "map_50 >= floor"]),
    "as good as the champion": ({}, {}, []),
    "worse within the tolerance": ({}, {"map_50": 0.519}, []),
    "worse beyond the tolerance": ({}, {"map_50": 0.53}, ["map_50 against the best"]),
    "better than the champion": ({}, {"map_50": 0.2, "distance_error_m": 0.9}, []),
    "distances got worse": ({}, {"distance_error_m": 0.05}, ["distance_error_m against the best"]),
    "finds nothing, so has no distances": (
        {"distance_error_m": None, "map_50": 0.0},
        {},
        ["map_50 >= floor", "map_50 against the best", "distance_error_m against the best"],
    ),
    "the champion found nothing": ({}, {"distance_error_m": None, "map_50": 0.0}, []),
    "not a number": ({"map_50": float("nan")}, None, ["map_50 >= floor"]),
    "not a number beside a champion": (
        {"map_50_95": float("nan")},
        {},
        ["map_50_95 is a number", "map_50_95 against the best"],
    ),
    "infinite": ({"map_50_95": float("inf")}, None, ["map_50_95 is a number"]),
    "missing": ({"floor_accuracy": None}, None, ["floor_accuracy >= floor"]),
    "outputs that are no numbers": ({"finite_outputs": 0.99}, None, ["finite outputs, share of frames"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("spread", [None, np.zeros(50)], ids=["without intervals", "with intervals"])
def test_rules(case, spread):
    changes, champion, expected = CASES[case]
    references = {} if champion is None else {"champion": measured(spread, **champion)}
    assert broken(measured(spread, **changes), references) == expected


def test_a_difference_is_held_against_the_worse_end_of_its_interval():
    random = np.random.default_rng(0)
    noise, more = random.normal(0, 0.05, 400), random.normal(0, 0.05, 400)
    assert broken(measured(noise), {"same frames": measured(noise)}) == [], "what both share cancels out"
    apart = broken(measured(noise), {"other": measured(more)})
    assert apart == ["floor_accuracy against the best", "map_50 against the best", "map_50_95 against the best",
                     "distance_error_m against the best"]  # fmt: skip
    (rule,) = (r for r in check(measured(noise), {"other": measured(more)}, SUPPORTS, 20, CONFIG) if r.rule == apart[0])
    assert rule.value == 0
    assert rule.interval[0] < -CONFIG.tolerance < 0 < rule.interval[1]
    assert rule.reference == "other"


def test_samples_that_lie_above_the_difference_do_not_hide_it():
    optimistic, plain = np.full(50, 0.2), np.zeros(50)
    assert "map_50 against the best" in broken(measured(optimistic, map_50=0.45), {"other": measured(plain)})


@pytest.mark.parametrize("episodes", [0, 1])
def test_too_few_episodes_make_no_interval(episodes):
    references = {"champion": measured()}
    rules = check(measured(map_50=0.49), references, SUPPORTS, episodes, CONFIG)
    (rule,) = (rule for rule in rules if rule.rule == "map_50 against the best")
    assert (rule.passed, rule.interval) == (None, None)
    assert rule.note == f"{episodes} test episode{'' if episodes == 1 else 's'}"
    assert rule.state == "not judged"
    assert broken(measured(map_50=0.47), references, episodes=episodes) == ["map_50 against the best"]
    strict = CONFIG.model_copy(update={"unjudged": "fail"})
    assert len(broken(measured(), references, config=strict, episodes=episodes)) == 4


LACKS = {
    "never trained": (Support(200, 20, 0), "no training examples"),
    "no test example": (Support(0, 0, 900), "0 test examples, fewer than 20"),
    "one test example": (Support(1, 1, 900), "1 test examples, fewer than 20"),
    "one room": (Support(200, 1, 900), "in 1 test episodes, fewer than 3"),
}


@pytest.mark.parametrize("case", LACKS)
def test_what_the_data_cannot_judge_is_named_and_left_open_or_fails(case):
    support, reason = LACKS[case]
    supports = Supports({"box": ENOUGH, "cable": support}, {"wood": support, "tile": ENOUGH})
    assert supports.not_judged(CONFIG) == {"classes": ["cable"], "floors": ["wood"]}
    bad = measured(cable=None, wood=0.0)
    rules = {rule.rule: rule for rule in check(bad, {}, supports, 20, CONFIG)}
    assert rules["ap_50 of cable >= floor"].state == "not judged"
    assert rules["recall of wood >= floor"].note == reason
    assert broken(bad, supports=supports) == []
    strict = CONFIG.model_copy(update={"unjudged": "fail"})
    assert broken(bad, supports=supports, config=strict) == ["ap_50 of cable >= floor", "recall of wood >= floor"]


def test_one_example_is_enough_if_the_config_says_so():
    lenient = CONFIG.model_copy(update={"min_examples": 1, "min_episodes": 1})
    supports = Supports({"box": Support(1, 1, 1), "cable": Support(0, 0, 9)}, SUPPORTS.floors)
    assert supports.not_judged(lenient) == {"classes": ["cable"], "floors": []}
    assert broken(measured(box=0.0), supports=supports, config=lenient) == ["ap_50 of box >= floor"]


@pytest.mark.parametrize(("field", "known"), [("class_ap_50", "box, cable"), ("floor_recall", "wood, tile")])
def test_a_floor_for_a_name_that_the_dataset_lacks_is_bad_input(field, known):
    config = ValidateConfig(floors=Floors(**{field: {"cabel": 0.1}}))
    with pytest.raises(BadInput, match=f"validate.floors.{field}: 'cabel' is not one of: default, {known}"):
        check(measured(), {}, SUPPORTS, 20, config)


def test_the_reference_is_the_best_of_all_in_each_metric():
    references = {"champion": measured(map_50=0.48), "older": measured(map_50=0.54, floor_accuracy=0.9)}
    rules = {rule.rule: rule for rule in check(measured(), references, SUPPORTS, 20, CONFIG)}
    assert rules["map_50 against the best"].reference == "older"
    assert rules["floor_accuracy against the best"].reference == "champion"
    assert not rules["map_50 against the best"].passed
    best = holders({"model": measured(map_50_95=0.31), **references})
    assert best == {"floor_accuracy": "model", "map_50": "older", "map_50_95": "model", "distance_error_m": "model"}


def test_a_refusal_is_one_line_with_rule_value_interval_and_limit():
    model = measured(np.array([-0.01, 0.02]), floor_accuracy=0.913, map_50=float("nan"))
    line = refusal(check(model, {"m": measured(np.zeros(2))}, SUPPORTS, 20, CONFIG))
    assert line.startswith(
        "floor_accuracy >= floor: 0.913 in [0.903, 0.933] (limit 0.95); map_50 >= floor: not a number (limit 0.4)"
    )
    assert "; floor_accuracy against the best (m): -0.057 in [-0.067, -0.037] (limit -0.02)" in line
    assert "\n" not in line


def test_what_the_test_split_cannot_tell_is_no_pass():
    rules = check(measured(map_50=None, map_50_95=None), {}, SUPPORTS, 20, CONFIG)
    states = {rule.rule: (rule.passed, rule.note) for rule in rules if rule.note}
    why = (False, "test.parquet has no box to judge it by")
    assert states == {"map_50 >= floor": why, "map_50_95 is a number": why}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_promoted_never_loses_more_than_one_tolerance_in_total(seed):
    """Any sequence of challengers, worse or better: the champion stays within a tolerance of the best there was."""
    random = np.random.default_rng(seed)
    spread = random.normal(0, 0.004, 60)
    config = ValidateConfig(floors=Floors(floor_accuracy=0, map_50=0), tolerance=0.02, distance_tolerance_m=0.05)
    promoted = {"0": measured(spread)}
    best, promotions = holders(promoted), 0
    for step in range(1, 60):
        last = promoted[max(promoted, key=int)].metrics
        near = {name: float(np.clip(last[name] + random.normal(-0.004, 0.012), 0, 1)) for name in HIGHER_IS_BETTER}
        challenger = measured(spread + random.normal(0, 0.001, 60), **near)
        references = {name: promoted[name] for name in {max(promoted, key=int), *best.values()}}
        if broken(challenger, references, config=config):
            continue
        promotions += 1
        best = holders({str(step): challenger, **references})
        promoted[str(step)] = challenger
        for name, higher in HIGHER_IS_BETTER.items():
            values = [each.metrics[name] for each in promoted.values()]
            loss = max(values) - values[-1] if higher else values[-1] - min(values)
            assert loss <= (config.tolerance if higher else config.distance_tolerance_m) + 1e-9, name
    assert promotions > 3
