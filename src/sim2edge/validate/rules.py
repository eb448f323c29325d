"""The gate: which rules a model has to keep. Pure; a rule is a value, its limit and whether it holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim2edge.validate.config import ValidateConfig

GUARDED = ("floor_accuracy", "map_50", "map_50_95")
"""Metrics in which the champion may not be undercut: higher is better, 0..1."""

DISTANCE = "distance_error_m"


@dataclass(frozen=True)
class Rule:
    """One rule and how the model did; `value` None: there was no finite number."""

    rule: str
    value: float | None
    limit: float
    passed: bool

    def __str__(self) -> str:
        return f"{self.rule}: {'not a number' if self.value is None else f'{self.value:.4g}'} (limit {self.limit:.4g})"


def check(
    metrics: Mapping[str, float | None], champion: Mapping[str, float | None] | None, config: ValidateConfig
) -> list[Rule]:
    """Apply every rule.

    Args:
        metrics: `floor_accuracy`, `map_50`, `map_50_95`, `worst_class_ap_50` (0..1), `distance_error_m` (metres; None
            when nothing was found, which only the other rules can blame).
        champion: the champion's on the same frames; None when there is none.
        config: floors and tolerances.
    """
    rules = [
        at_least(f"{name} >= floor", metrics.get(name), limit) for name, limit in config.floors.model_dump().items()
    ]
    rules += [finite(name, metrics.get(name)) for name in GUARDED]
    if champion is not None:
        for name in GUARDED:
            before = champion.get(name) or 0.0
            rules.append(at_least(f"{name} against champion", metrics.get(name), before - config.tolerance))
        error, before_error = metrics.get(DISTANCE), champion.get(DISTANCE)
        if before_error is not None:
            rules.append(at_most(f"{DISTANCE} against champion", error, before_error + config.distance_tolerance_m))
    return rules


def at_least(rule: str, value: float | None, limit: float) -> Rule:
    """The value is a finite number and not below the limit."""
    number = _finite(value)
    return Rule(rule, number, limit, number is not None and number >= limit)


def at_most(rule: str, value: float | None, limit: float) -> Rule:
    """The value is a finite number and not above the limit."""
    number = _finite(value)
    return Rule(rule, number, limit, number is not None and number <= limit)


def finite(name: str, value: float | None) -> Rule:
    """The value is a number at all."""
    return at_least(f"{name} is a number", value, 0.0)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def refusal(rules: Sequence[Rule]) -> str | None:
    """One line that names every rule that does not hold; None when all do."""
    return "; ".join(str(rule) for rule in rules if not rule.passed) or None
