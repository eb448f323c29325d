"""The choice of a variant, as a table of what was measured and what follows from it."""

from dataclasses import replace

import pytest

from sim2edge.export.choose import Target, Variant, choose, make_target
from sim2edge.export.config import ExportConfig, Limits
from sim2edge.export.device_profile import DeviceProfile
from sim2edge.export.forms import FLOAT16, FLOAT32, INT8
from sim2edge.export.parity import Distance, Quality

TRAINED = Quality(floor_accuracy=0.98, map50=0.6, precision=0.8, recall=0.7, f1=0.75, class_f1={"box": 0.75})
SAME = Distance(difference={"floor": 1e-5, "obstacles": 2e-5}, floor_agreement=1.0, agreement=1.0)
CONFIG = ExportConfig()
UNMEASURED = Target("raspberry-pi-4")


def variant(name: str, precision: str, size: int, **changes: float) -> Variant:
    quality = replace(TRAINED, **{key: value for key, value in changes.items() if hasattr(TRAINED, key)})
    distance = SAME
    if "difference" in changes:
        distance = replace(distance, difference={"floor": changes["difference"], "obstacles": 0.0})
    if "agreement" in changes:
        distance = replace(distance, agreement=changes["agreement"])
    return Variant(name, f"model.{name}", precision, size, name != "torchscript", quality, distance)


ONNX = variant("onnx", FLOAT32, 700)
SCRIPT = variant("torchscript", FLOAT32, 100)
LARGE = variant("tflite-float32", FLOAT32, 750)
HALF = variant("tflite-float16", FLOAT16, 450, difference=0.01)
SMALL = variant("tflite-int8", INT8, 350, difference=0.8, agreement=0.95)
ALL = [ONNX, SCRIPT, LARGE, HALF, SMALL]
MEASURED = {"onnx": 0.60, "tflite-float32": 0.50, "tflite-float16": 0.51, "tflite-int8": 0.30}


def on(**latency_ms: float) -> Target:
    """A class of device on which the latencies of `MEASURED` are known, some of them changed."""
    return Target("x86-64", {**MEASURED, **{name.replace("_", "-"): value for name, value in latency_ms.items()}})


@pytest.mark.parametrize(
    ("variants", "target", "chosen"),
    [
        (ALL, on(), SMALL),
        (ALL[::-1], on(), SMALL),
        ([ONNX, LARGE, HALF], on(), HALF),  # as fast as the largest within the tie, and smaller
        ([ONNX, LARGE], on(), LARGE),
        ([LARGE, HALF], on(tflite_float16=0.60), LARGE),  # slower than a tie
        ([ONNX, SMALL], on(tflite_int8=0.70), ONNX),  # int8 is no faster by belief
        ([SCRIPT, ONNX], on(), ONNX),
        ([SCRIPT], on(), None),
        ([], on(), None),
        (ALL, UNMEASURED, SMALL),  # the smallest that a device loads
        ([ONNX, LARGE], UNMEASURED, ONNX),
        (ALL, Target("x86-64", {"onnx": 0.6}), ONNX),  # what is known wins over what is not
        ([LARGE, SMALL], Target("x86-64", {"onnx": 0.6}), SMALL),  # nothing that is left is known
    ],
)
def test_the_cheapest_by_the_profile_is_chosen_and_ties_go_by_size(
    variants: list[Variant], target: Target, chosen: Variant | None
) -> None:
    choice = choose(variants, TRAINED, CONFIG, target)
    assert choice.chosen is chosen
    assert choice.reasons.keys() == choice.rules.keys() == {each.name for each in variants}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"floor_accuracy": 0.95}, "floor accuracy lost 0.03, more than 0.02"),
        ({"floor_accuracy": 0.50}, "floor accuracy 0.5000 below 0.9"),
        ({"map50": 0.5}, "mAP@50 lost 0.1, more than 0.03"),
        ({"agreement": 0.5}, "agreement with the trained network 0.5000 below 0.85"),
    ],
)
def test_a_variant_that_lost_too_much_is_rejected(changes: dict[str, float], reason: str) -> None:
    poor = variant("tflite-int8", INT8, 350, **changes)
    choice = choose([LARGE, poor], TRAINED, CONFIG, on())
    assert choice.chosen is LARGE
    assert choice.reasons["tflite-int8"].startswith("rejected: ")
    assert reason in choice.reasons["tflite-int8"]


def test_a_loss_that_no_box_can_tell_is_no_pass_unless_the_config_demands_no_class() -> None:
    trained, unknown = replace(TRAINED, map50=None), replace(SMALL, quality=replace(TRAINED, map50=None))
    choice = choose([unknown], trained, CONFIG, on())
    assert choice.chosen is None
    assert "mAP@50 lost unknown: the frames compared on hold no box of a judged class" in choice.reasons[SMALL.name]
    assert choose([unknown], trained, ExportConfig(limits=Limits(min_classes=0)), on()).chosen is unknown


@pytest.mark.parametrize(
    ("precision", "difference", "accepted"),
    [
        (FLOAT32, 9e-4, True),
        (FLOAT32, 2e-3, False),
        (FLOAT16, 2e-3, True),
        (FLOAT16, 9.0, False),
        (INT8, 9.0, True),
        (FLOAT32, float("nan"), False),
    ],
)
def test_raw_outputs_may_differ_as_much_as_the_numbers_allow(precision: str, difference: float, accepted: bool) -> None:
    only = variant("only", precision, 1, difference=difference)
    choice = choose([only], TRAINED, CONFIG, UNMEASURED)
    assert (choice.chosen is only) == accepted
    assert [rule.value for rule in choice.rules["only"] if "difference" in rule.rule and rule.passed] == (
        [None, None] if accepted and precision != INT8 else [] if precision == INT8 else [None]
    )


def test_each_variant_is_told_why() -> None:
    reasons = choose([ONNX, SCRIPT, LARGE, HALF], TRAINED, CONFIG, on()).reasons
    assert reasons == {
        "onnx": "passed: latency 0.6 ms on x86-64, 700 bytes: no cheaper than tflite-float16",
        "torchscript": "rejected: no device runtime loads it",
        "tflite-float32": "passed: latency 0.5 ms on x86-64, 750 bytes: no cheaper than tflite-float16",
        "tflite-float16": "chosen: latency 0.51 ms on x86-64, 450 bytes: the fastest",
    }
    assert choose([HALF], TRAINED, CONFIG, UNMEASURED).reasons == {
        "tflite-float16": "chosen: latency unmeasured on raspberry-pi-4, 450 bytes: the smallest"
    }


def test_a_better_variant_than_the_trained_network_loses_nothing() -> None:
    lucky = variant("tflite-int8", INT8, 350, floor_accuracy=1.0, map50=0.9)
    assert choose([lucky], TRAINED, CONFIG, UNMEASURED).chosen is lucky


@pytest.mark.parametrize(
    ("budget", "chosen", "rejected"),
    [
        (1.0, SMALL, {}),
        (0.30, SMALL, {"onnx": "0.6, more than 0.3", "tflite-float32": "0.5, more than 0.3"}),
        (0.29, None, {"onnx": "latency on x86-64 (ms) 0.6, more than 0.29", "tflite-int8": "0.3, more than 0.29"}),
    ],
)
def test_a_variant_over_the_budget_is_rejected_with_value_and_limit(
    budget: float, chosen: Variant | None, rejected: dict[str, str]
) -> None:
    choice = choose(ALL, TRAINED, CONFIG, replace(on(), budget_ms=budget))
    assert choice.chosen is chosen
    for name, reason in rejected.items():
        assert reason in choice.reasons[name]
    rule = choice.rules["tflite-int8"][-1]
    assert (rule.rule, rule.value, rule.limit) == ("latency on x86-64 (ms)", 0.3, budget)
    assert rule.passed is (chosen is not None)


def test_a_budget_does_not_pass_what_nobody_measured() -> None:
    choice = choose(ALL, TRAINED, CONFIG, replace(UNMEASURED, budget_ms=20.0))
    assert choice.chosen is None
    reason = "latency unmeasured on raspberry-pi-4, so the budget of 20 ms cannot be checked"
    assert choice.reasons["onnx"] == f"rejected: {reason}"
    allowed = choose(ALL, TRAINED, CONFIG, replace(UNMEASURED, budget_ms=20.0, allow_unmeasured=True))
    assert allowed.chosen is SMALL
    rule = allowed.rules["tflite-int8"][-1]
    assert (rule.value, rule.limit, rule.passed) == (None, 20.0, None)


def test_the_target_is_the_networks_entry_of_the_profile() -> None:
    entry = {"recipe": "perception", "network": {"height": 96}, "latency_ms": {"onnx": 0.5}, "measured": "by hand"}
    config = ExportConfig(
        device_class="pi", profile=DeviceProfile(device_class="pi", networks=[entry]), latency_budget_ms=7
    )
    found = make_target(config, "perception", {"height": 96, "width": 128})
    assert found == Target("pi", {"onnx": 0.5}, "by hand", 7)
    for recipe, network in (("perception", {"height": 48}), ("other", {"height": 96}), ("perception", {})):
        assert make_target(config, recipe, network).latency_ms == {}


def test_a_limit_of_zero_is_a_limit() -> None:
    poor = variant("tflite-int8", INT8, 350, map50=0.599)
    strict = ExportConfig(limits=Limits(max_map50_drop=0))
    assert choose([poor], TRAINED, strict, UNMEASURED).chosen is None


def test_a_variant_that_misses_the_frame_rate_of_its_class_is_not_released() -> None:
    slow = replace(on(tflite_int8=90.0), rate_hz=10.0)
    choice = choose([SMALL, ONNX], TRAINED, CONFIG, slow)
    assert choice.chosen is ONNX
    assert "latency at 10 frames a second on x86-64 (ms) 90, more than 80" in choice.reasons["tflite-int8"]
    assert choose([SMALL], TRAINED, CONFIG, replace(slow, rate_hz=8.0)).chosen is SMALL
    assert choose([SMALL], TRAINED, CONFIG, replace(UNMEASURED, rate_hz=1000.0)).chosen is SMALL  # nothing is known
