"""The gate: which rules a model has to keep. Pure; a rule is a value, its interval, its limit and whether it holds.

Floors are held against the value itself. A comparison is held against the worse end of the interval of the paired
difference: a model passes when it is shown to be no worse than the tolerance, not when the data are too few to show
that it is. The reference of each metric is the best among the champion and the models that were best before it, all on
the same frames, so that losses of several promotions do not add up.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sim2edge.errors import BadInput
from sim2edge.validate.bootstrap import Doubles, interval
from sim2edge.validate.config import DEFAULT, ValidateConfig
from sim2edge.validate.metrics import Evaluation
from sim2edge.validate.support import Supports

HIGHER_IS_BETTER = {"floor_accuracy": True, "map_50": True, "map_50_95": True, "distance_error_m": False}
"""The metrics in which no model may be much worse than the best so far."""


@dataclass(frozen=True)
class Rule:
    """One rule and how the model did."""

    rule: str
    value: float | None
    """None: there is no finite number."""
    interval: tuple[float, float] | None
    """Of the value, over resampled episodes; None: there is none."""
    limit: float
    passed: bool | None
    """None: the data cannot judge, and the config does not hold that against the model."""
    reference: str | None = None
    """The model that a difference is from."""
    note: str = ""
    """Why it is not judged."""

    @property
    def state(self) -> str:
        """How it ended, in words."""
        return "not judged" if self.passed is None else "passed" if self.passed else "FAILED"

    def __str__(self) -> str:
        value = "not a number" if self.value is None else f"{self.value:.4g}"
        between = f" in [{self.interval[0]:.4g}, {self.interval[1]:.4g}]" if self.interval else ""
        other = f" ({self.reference})" if self.reference else ""
        note = f", {self.note}" if self.note else ""
        return f"{self.rule}{other}: {value}{between} (limit {self.limit:.4g}{note})"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return asdict(self) | {"interval": list(self.interval) if self.interval else None}


def check(
    model: Evaluation, references: Mapping[str, Evaluation], supports: Supports, episodes: int, config: ValidateConfig
) -> list[Rule]:
    """Apply every rule.

    Args:
        model: what was measured of the model.
        references: the same of the champion and of the models that were best before, by reference.
        supports: examples of each class and floor.
        episodes: in the test split.
        config: floors, tolerances, what it takes to judge.

    Raises:
        BadInput: a floor is for a class or floor type that the dataset does not have.
    """
    rules = [
        hold("finite outputs, share of frames", model.metrics["finite_outputs"], 1.0),
        *overall_floors(model, config),
        *named_floors(model, supports, config),
        hold("map_50_95 is a number", model.metrics["map_50_95"], 0.0),
    ]
    few = f"{episodes} test episode{'s' * (episodes != 1)}" if model.samples is None else ""
    return rules + [rule for name in HIGHER_IS_BETTER for rule in comparison(name, model, references, few, config)]


def overall_floors(model: Evaluation, config: ValidateConfig) -> Iterator[Rule]:
    """Hold the whole test split's metrics against their floors."""
    for name in ("floor_accuracy", "map_50"):
        between = interval(model.samples[name], config.confidence) if model.samples else None
        yield hold(f"{name} >= floor", model.metrics[name], getattr(config.floors, name), between)


def named_floors(model: Evaluation, supports: Supports, config: ValidateConfig) -> Iterator[Rule]:
    """Hold each class and floor type against its floor.

    Raises:
        BadInput: a floor is for a name that the dataset does not have.
    """
    for field, what, metric, examples in (
        ("class_ap_50", "classes", "ap_50", supports.classes),
        ("floor_recall", "floors", "recall", supports.floors),
    ):
        limits = getattr(config.floors, field)
        check_names(f"validate.floors.{field}", limits, list(examples))
        for index, (name, support) in enumerate(examples.items()):
            samples = model.samples[field][:, index] if model.samples else None
            between = interval(samples, config.confidence) if samples is not None else None
            value, limit = model.metrics[what][name][metric], limits.get(name, limits[DEFAULT])
            rule = hold(f"{metric} of {name} >= floor", value, limit, between)
            yield leave_open(rule, support.lack(config), config)


def check_names(field: str, limits: Mapping[str, float], known: Sequence[str]) -> None:
    """Check that every floor is for a name that the dataset has.

    Raises:
        BadInput: one is not.
    """
    for name in limits:
        if name not in (DEFAULT, *known):
            raise BadInput(f"{field}: '{name}' is not one of: {', '.join((DEFAULT, *known))}")


def leave_open(rule: Rule, lack: str, config: ValidateConfig) -> Rule:
    """Return the rule as it is, or, where the data lack something, not judged: open or failed, as the config says."""
    if not lack:
        return rule
    passed = None if config.unjudged == "leave_off" else False
    return Rule(rule.rule, rule.value, rule.interval, rule.limit, passed, rule.reference, lack)


def comparison(
    name: str, model: Evaluation, references: Mapping[str, Evaluation], few: str, config: ValidateConfig
) -> Iterator[Rule]:
    """Hold the difference to the best reference against the tolerance; nothing when no reference has a number.

    Without an interval, as there are too `few` episodes, the difference itself still has to be within the tolerance.
    """
    best = holder(name, references)
    if best is None:
        return
    value = _difference(model.metrics[name], references[best].metrics[name])
    between = None
    if model.samples and (samples := references[best].samples):
        between = interval(paired(model.samples[name], samples[name], HIGHER_IS_BETTER[name]), config.confidence)
    limit = -config.tolerance if HIGHER_IS_BETTER[name] else config.distance_tolerance_m
    rule = hold(
        f"{name} against the best",
        value,
        limit,
        between,
        higher_is_better=HIGHER_IS_BETTER[name],
        by_end=True,
        reference=best,
    )
    yield leave_open(rule, few, config) if rule.passed else rule


def holder(name: str, evaluations: Mapping[str, Evaluation]) -> str | None:
    """Return the model that is best in a metric; the first of several. None: none has a number."""
    sign = 1 if HIGHER_IS_BETTER[name] else -1
    known = {reference: _finite(each.metrics[name]) for reference, each in evaluations.items()}
    usable = {reference: value for reference, value in known.items() if value is not None}
    return max(usable, key=lambda reference: sign * usable[reference], default=None)


def holders(evaluations: Mapping[str, Evaluation]) -> dict[str, str]:
    """Return the model that is best in each metric, by metric."""
    found = {name: holder(name, evaluations) for name in HIGHER_IS_BETTER}
    return {name: reference for name, reference in found.items() if reference is not None}


def paired(model: Doubles, reference: Doubles, higher_is_better: bool) -> Doubles:
    """Differences of the same resamples [B]; infinitely bad where only the model has no number.

    A resample in which the reference has none compares nothing and is NaN.
    """
    worst = -np.inf if higher_is_better else np.inf
    differences: Doubles = np.where(np.isnan(model) & ~np.isnan(reference), worst, model - reference)
    return differences


def hold(
    rule: str,
    value: float | None,
    limit: float,
    between: tuple[float, float] | None = None,
    *,
    higher_is_better: bool = True,
    by_end: bool = False,
    reference: str | None = None,
) -> Rule:
    """Hold a value, and if `by_end` both ends of its interval, against a limit; no finite number fails."""
    number = _finite(value)
    decisive = [number, *(between if between and by_end else ())] if number is not None else []
    passed = bool(decisive) and all(each >= limit if higher_is_better else each <= limit for each in decisive)
    return Rule(rule, number, between, limit, passed, reference)


def _difference(value: float | None, other: float | None) -> float | None:
    return value - other if value is not None and other is not None else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def refusal(rules: Sequence[Rule]) -> str | None:
    """Return one line that names every rule that does not hold; None when all do."""
    return "; ".join(str(rule) for rule in rules if rule.passed is False) or None
