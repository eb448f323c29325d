"""The choice of a variant, as a table of what was measured and what follows from it."""

from dataclasses import replace

import pytest

from sim2edge.export.choose import FLOAT16, FLOAT32, INT8, Variant, choose
from sim2edge.export.config import Limits
from sim2edge.export.parity import Distance, Quality

TRAINED = Quality(floor_accuracy=0.98, map50=0.6, precision=0.8, recall=0.7, f1=0.75, class_f1={"box": 0.75})
SAME = Distance(difference={"floor": 1e-5, "obstacles": 2e-5}, floor_agreement=1.0, agreement=1.0)
TIE = 0.05


def variant(name: str, precision: str, size: int, latency: float | None, **changes: float) -> Variant:
    quality = replace(TRAINED, **{key: value for key, value in changes.items() if hasattr(TRAINED, key)})
    distance = SAME
    if "difference" in changes:
        distance = replace(distance, difference={"floor": changes["difference"], "obstacles": 0.0})
    if "agreement" in changes:
        distance = replace(distance, agreement=changes["agreement"])
    return Variant(name, f"model.{name}", precision, size, quality, distance, latency, latency)


ONNX = variant("onnx", FLOAT32, 700, 0.60)
SCRIPT = variant("torchscript", FLOAT32, 700, None)
LARGE = variant("tflite-float32", FLOAT32, 750, 0.50)
HALF = variant("tflite-float16", FLOAT16, 450, 0.51, difference=0.01)
SMALL = variant("tflite-int8", INT8, 350, 0.30, difference=0.8, agreement=0.95)


@pytest.mark.parametrize(
    ("variants", "chosen"),
    [
        ([ONNX, SCRIPT, LARGE, HALF, SMALL], SMALL),
        ([SMALL, HALF, LARGE, SCRIPT, ONNX], SMALL),
        ([ONNX, LARGE, HALF], HALF),  # as fast as the largest within the tie, and smaller
        ([ONNX, LARGE], LARGE),
        ([LARGE, replace(HALF, latency_ms_p50=0.60)], LARGE),  # slower than a tie
        ([ONNX, replace(SMALL, latency_ms_p50=0.70)], ONNX),  # int8 is no faster by belief
        ([SCRIPT, ONNX], ONNX),
        ([SCRIPT], None),
        ([], None),
    ],
)
def test_the_fastest_is_chosen_and_ties_go_by_size(variants: list[Variant], chosen: Variant | None) -> None:
    choice = choose(variants, TRAINED, Limits(), TIE)
    assert choice.chosen is chosen
    assert choice.reasons.keys() == {each.name for each in variants}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"floor_accuracy": 0.95}, "floor accuracy lost 0.030, more than 0.02"),
        ({"floor_accuracy": 0.50}, "floor accuracy 0.500 below 0.9"),
        ({"map50": 0.5}, "mAP@50 lost 0.100, more than 0.03"),
        ({"agreement": 0.5}, "agreement with the trained network 0.500 below 0.85"),
    ],
)
def test_a_variant_that_lost_too_much_is_rejected(changes: dict[str, float], reason: str) -> None:
    poor = variant("tflite-int8", INT8, 350, 0.1, **changes)
    choice = choose([LARGE, poor], TRAINED, Limits(), TIE)
    assert choice.chosen is LARGE
    assert choice.reasons["tflite-int8"].startswith("rejected: ")
    assert reason in choice.reasons["tflite-int8"]


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
    only = variant("only", precision, 1, 0.1, difference=difference)
    assert (choose([only], TRAINED, Limits(), TIE).chosen is only) == accepted


def test_each_variant_is_told_why() -> None:
    reasons = choose([ONNX, SCRIPT, LARGE, HALF], TRAINED, Limits(), TIE).reasons
    assert reasons == {
        "onnx": "passed: 0.600 ms, slower than 0.500 ms",
        "torchscript": "rejected: no device runtime loads it",
        "tflite-float32": "passed: 0.500 ms, as fast, but larger",
        "tflite-float16": "chosen: 0.510 ms, 450 bytes: the smallest of the fastest",
    }


def test_a_better_variant_than_the_trained_network_loses_nothing() -> None:
    lucky = variant("tflite-int8", INT8, 350, 0.1, floor_accuracy=1.0, map50=0.9)
    assert choose([lucky], TRAINED, Limits(), TIE).chosen is lucky
