"""Choose the variant for a device, as a pure function: the cheapest on its class among those that pass every rule.

Cheapest is the fastest by the device profile, ties broken by size; the smallest if the profile holds none of them. No
measurement of the export itself affects the choice, so it is the same on every machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim2edge.export.budgets import frame_limit_ms
from sim2edge.export.config import ExportConfig, Limits
from sim2edge.export.forms import FLOAT16, FLOAT32
from sim2edge.export.parity import Distance, Quality

NO_RUNTIME = "no device runtime loads it"


@dataclass(frozen=True)
class Variant:
    """One exported file and its quality."""

    name: str
    file: str
    precision: str
    """float32, float16 or int8."""
    bytes: int
    on_device: bool
    """Whether a device runtime loads it."""
    quality: Quality
    distance: Distance


@dataclass(frozen=True)
class Target:
    """The class of device that a release is for, and its known latencies."""

    device_class: str
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    """By variant, from the profile; an absent variant is unmeasured."""
    measured: str = ""
    """How the profile was measured."""
    budget_ms: float | None = None
    rate_hz: float = 10.0
    """Frames a second that the class of device takes."""
    allow_unmeasured: bool = False
    """Whether a variant without a latency may pass a budget."""

    def describe_latency(self, variant: str) -> str:
        """Return the variant's latency as text: `0.52 ms on x86-64`, or `unmeasured on ...`."""
        latency = self.latency_ms.get(variant)
        known = "unmeasured" if latency is None else f"{latency:.3g} ms"
        return f"{known} on {self.device_class}"


@dataclass(frozen=True)
class Rule:
    """One limit that a variant is compared with."""

    rule: str
    value: float | None
    limit: float | None
    passed: bool | None
    """None: unknown, which the config allows."""
    fault: str = ""
    """What is wrong, with value and limit; empty if the rule passed."""


@dataclass(frozen=True)
class Choice:
    """The chosen variant, if any; the reason for each variant; every rule that was applied to it."""

    chosen: Variant | None
    reasons: dict[str, str]
    rules: dict[str, list[Rule]]


def make_target(config: ExportConfig, recipe: str, network: Mapping[str, Any]) -> Target:
    """Build the target, with the latencies of the network from the config's device profile."""
    found = config.profile.find(recipe, network) if config.profile else None
    return Target(
        device_class=config.device_class,
        latency_ms={str(name): ms for name, ms in found.latency_ms.items()} if found else {},
        measured=found.measured if found else "",
        budget_ms=config.latency_budget_ms,
        rate_hz=config.profile.rate_hz if config.profile else Target.rate_hz,
        allow_unmeasured=config.unmeasured == "allow",
    )


def choose(variants: Sequence[Variant], trained: Quality, config: ExportConfig, target: Target) -> Choice:
    """Choose the cheapest of the variants that pass every rule.

    Args:
        variants: the exported files.
        trained: quality of the trained network on the same frames.
        config: the loss allowed to a variant, and the tie of latencies.
        target: the class of device and its latencies.
    """
    rules = {v.name: [*accuracy_rules(v, trained, config.limits), *latency_rules(v, target)] for v in variants}
    faults = {name: "; ".join(rule.fault for rule in found if rule.fault) for name, found in rules.items()}
    fit = [variant for variant in variants if not faults[variant.name]]
    chosen = _cheapest(fit, target, config.tie)
    reasons = {v.name: _reason(v, faults[v.name], chosen, target) for v in variants}
    return Choice(chosen, reasons, rules)


def accuracy_rules(variant: Variant, trained: Quality, limits: Limits) -> list[Rule]:
    """Return the rules for the loss of a variant against the trained network."""
    quality, distance = variant.quality, variant.distance
    accuracy_lost = trained.floor_accuracy - quality.floor_accuracy
    runs = Rule("a device runtime loads it", None, None, variant.on_device, "" if variant.on_device else NO_RUNTIME)
    return [
        runs,
        _at_least("floor accuracy", quality.floor_accuracy, limits.min_floor_accuracy),
        _at_most("floor accuracy lost", accuracy_lost, limits.max_floor_accuracy_drop),
        _map50_rule(quality.map50, trained.map50, limits),
        _at_least("agreement with the trained network", distance.agreement, limits.min_agreement),
        *_difference_rules(variant, limits),
    ]


def latency_rules(variant: Variant, target: Target) -> list[Rule]:
    """Return the rules for the frame rate, if the variant was measured, and for the latency budget, if there is one."""
    latency = target.latency_ms.get(variant.name)
    if not variant.on_device:
        return []
    rate = f"latency at {target.rate_hz:g} frames a second on {target.device_class} (ms)"
    rules = [] if latency is None else [_at_most(rate, latency, frame_limit_ms(target.rate_hz))]
    return [*rules, *_budget_rules(latency, variant, target)]


def _budget_rules(latency: float | None, variant: Variant, target: Target) -> list[Rule]:
    limit = target.budget_ms
    if limit is None:
        return []
    name = f"latency on {target.device_class} (ms)"
    if latency is not None:
        return [_at_most(name, latency, limit)]
    if target.allow_unmeasured:
        return [Rule(name, None, limit, None)]
    fault = f"latency {target.describe_latency(variant.name)}, so the budget of {limit:g} ms cannot be checked"
    return [Rule(name, None, limit, False, fault)]


def _difference_rules(variant: Variant, limits: Limits) -> list[Rule]:
    allowed = {FLOAT32: limits.max_difference, FLOAT16: limits.max_difference_float16}.get(variant.precision)
    if allowed is None:
        return []
    differences = variant.distance.difference
    return [_difference_rule(f"difference of output '{name}'", apart, allowed) for name, apart in differences.items()]


def _difference_rule(name: str, apart: float, limit: float) -> Rule:
    """Return the rule for a difference, without its value if within the limit: rounding differs between processors."""
    if apart <= limit:
        return Rule(name, None, limit, True)
    return Rule(name, float(f"{apart:.1e}") if math.isfinite(apart) else None, limit, False, _over(name, apart, limit))


def _at_least(name: str, value: float, limit: float) -> Rule:
    passed = value >= limit
    return Rule(name, round(value, 4), limit, passed, "" if passed else f"{name} {value:.4f} below {limit:g}")


def _at_most(name: str, value: float, limit: float) -> Rule:
    passed = value <= limit
    return Rule(name, round(value, 4), limit, passed, "" if passed else _over(name, value, limit))


def _map50_rule(value: float | None, trained: float | None, limits: Limits) -> Rule:
    """Return the rule for mAP; unknown, which only a config that demands no judged class allows, without a box."""
    name, limit = "mAP@50 lost", limits.max_map50_drop
    if value is not None and trained is not None:
        return _at_most(name, trained - value, limit)
    if not limits.min_classes:
        return Rule(name, None, limit, None)
    return Rule(name, None, limit, False, f"{name} unknown: the frames compared on hold no box of a judged class")


def _over(name: str, value: float, limit: float) -> str:
    return f"{name} {value:.3g}, more than {limit:g}"


def _cheapest(fit: Sequence[Variant], target: Target, tie: float) -> Variant | None:
    """Return the smallest of the fastest; the smallest of all if none was measured."""
    latency = target.latency_ms
    measured = [variant for variant in fit if variant.name in latency]
    fastest = min((latency[variant.name] for variant in measured), default=0.0)
    equal = [variant for variant in measured if latency[variant.name] <= fastest * (1 + tie)] or fit
    return min(equal, key=lambda v: (v.bytes, latency.get(v.name, 0.0), v.name), default=None)


def _reason(variant: Variant, fault: str, chosen: Variant | None, target: Target) -> str:
    if fault or chosen is None:
        return f"rejected: {fault}"
    facts = f"latency {target.describe_latency(variant.name)}, {variant.bytes} bytes"
    if variant is chosen:
        return f"chosen: {facts}: " + ("the fastest" if chosen.name in target.latency_ms else "the smallest")
    return f"passed: {facts}: no cheaper than {chosen.name}"
