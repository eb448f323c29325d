"""Which variant a device gets: the fastest that is as good as the trained network, ties by size. A pure decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim2edge.export.config import Limits
from sim2edge.export.parity import Distance, Quality

FLOAT32 = "float32"
FLOAT16 = "float16"
INT8 = "int8"


@dataclass(frozen=True)
class Variant:
    """One exported file and all that was measured of it."""

    name: str
    file: str
    precision: str
    """float32, float16 or int8."""
    bytes: int
    quality: Quality
    distance: Distance
    latency_ms_p50: float | None
    """None for a file that no device runtime loads."""
    latency_ms_p95: float | None


@dataclass(frozen=True)
class Choice:
    """The variant that was chosen, if one was, and why each was or was not."""

    chosen: Variant | None
    reasons: dict[str, str]


def choose(variants: Sequence[Variant], trained: Quality, limits: Limits, tie: float) -> Choice:
    """Pick the fastest acceptable variant; among those within `tie` of it, the smallest.

    Args:
        variants: what was exported.
        trained: quality of the trained network on the same frames.
        limits: what a variant may lose.
        tie: share of the fastest latency within which latencies count as equal, 0..1.
    """
    reasons = {variant.name: _fault(variant, trained, limits) for variant in variants}
    fit = [variant for variant in variants if not reasons[variant.name]]
    if not fit:
        return Choice(None, {name: f"rejected: {reason}" for name, reason in reasons.items()})
    fastest = min(_latency(variant) for variant in fit)
    equal = [variant for variant in fit if _latency(variant) <= fastest * (1 + tie)]
    chosen = min(equal, key=lambda variant: (variant.bytes, _latency(variant)))
    return Choice(chosen, {v.name: _reason(v, reasons[v.name], chosen, v in equal, fastest) for v in variants})


def _latency(variant: Variant) -> float:
    return variant.latency_ms_p50 if variant.latency_ms_p50 is not None else float("inf")


def _fault(variant: Variant, trained: Quality, limits: Limits) -> str:
    """What keeps `variant` from being released; empty if nothing does."""
    quality, distance = variant.quality, variant.distance
    faults = []
    if variant.latency_ms_p50 is None:
        faults.append("no device runtime loads it")
    if quality.floor_accuracy < limits.min_floor_accuracy:
        faults.append(f"floor accuracy {quality.floor_accuracy:.3f} below {limits.min_floor_accuracy:g}")
    for name, lost, limit in (
        ("floor accuracy", trained.floor_accuracy - quality.floor_accuracy, limits.max_floor_accuracy_drop),
        ("mAP@50", trained.map50 - quality.map50, limits.max_map50_drop),
    ):
        if lost > limit:
            faults.append(f"{name} lost {lost:.3f}, more than {limit:g}")
    if distance.agreement < limits.min_agreement:
        faults.append(f"agreement with the trained network {distance.agreement:.3f} below {limits.min_agreement:g}")
    faults.extend(_differences(variant, limits))
    return "; ".join(faults)


def _differences(variant: Variant, limits: Limits) -> list[str]:
    allowed = {FLOAT32: limits.max_difference, FLOAT16: limits.max_difference_float16}.get(variant.precision)
    return [
        f"output '{name}' differs by {apart:.3g}, more than {allowed:g}"
        for name, apart in variant.distance.difference.items()
        if allowed is not None and not apart <= allowed
    ]


def _reason(variant: Variant, fault: str, chosen: Variant, equal: bool, fastest: float) -> str:
    if fault:
        return f"rejected: {fault}"
    took = f"{_latency(variant):.3f} ms"
    if variant is chosen:
        return f"chosen: {took}, {variant.bytes} bytes: " + (
            "the fastest" if _latency(variant) == fastest else "the smallest of the fastest"
        )
    return f"passed: {took}, " + ("as fast, but larger" if equal else f"slower than {fastest:.3f} ms")
