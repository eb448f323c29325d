"""Apply the gate's rules, as pure functions: a rule is a value, its interval, its limit and whether it passed.

A floor applies to the value itself. A comparison applies to the worse end of the interval of the paired difference: a
model passes when it is shown to be no worse than the tolerance, not when the data are too few to show that it is. The
reference of each metric is the best among the champion and the models that were best before it, all on the same frames,
so that losses of several promotions do not add up.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sim2edge.errors import BadInput
from sim2edge.recipes.perception_metrics import Doubles
from sim2edge.validate.bootstrap import interval
from sim2edge.validate.config import DEFAULT, ValidateConfig
from sim2edge.validate.metrics import Evaluation
from sim2edge.validate.support import Supports

HIGHER_IS_BETTER = {"floor_accuracy": True, "map_50": True, "map_50_95": True, "distance_error_m": False}
"""The metrics compared with the best model so far, and their direction."""

NO_BOX = "test.parquet has no box to judge it by"


@dataclass(frozen=True)
class Rule:
    """One rule and the model's result."""

    rule: str
    value: float | None
    """None: not a finite number."""
    interval: tuple[float, float] | None
    """Of the value, over resampled episodes; None: unknown."""
    limit: float
    passed: bool | None
    """None: not judged for lack of data, which the config does not count against the model."""
    reference: str | None = None
    """The model that a difference refers to."""
    note: str = ""
    """Why the rule is not judged, or cannot pass."""

    @property
    def state(self) -> str:
        """The result in words."""
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
    """Apply every rule to a model.

    Args:
        model: measurements of the model.
        references: those of the champion and of the models that were best before, by reference.
        supports: examples of each class and floor.
        episodes: number in the test split.
        config: floors, tolerances, data needed to judge.

    Raises:
        BadInput: a floor names a class or floor type that the dataset does not have.
    """
    rules = [
        hold("finite outputs, share of frames", model.metrics["finite_outputs"], 1.0),
        *overall_floors(model, config),
        *named_floors(model, supports, config),
        say_undefined(hold("map_50_95 is a number", model.metrics["map_50_95"], 0.0), model.metrics["map_50_95"]),
    ]
    few = f"{episodes} test episode{'s' * (episodes != 1)}" if model.samples is None else ""
    return rules + [rule for name in HIGHER_IS_BETTER for rule in comparison(name, model, references, few, config)]


def overall_floors(model: Evaluation, config: ValidateConfig) -> Iterator[Rule]:
    """Yield the rules that compare metrics of the whole test split with their floors."""
    for name in ("floor_accuracy", "map_50"):
        between = interval(model.samples[name], config.confidence) if model.samples else None
        rule = hold(f"{name} >= floor", model.metrics[name], getattr(config.floors, name), between)
        yield say_undefined(rule, model.metrics[name])


def say_undefined(rule: Rule, value: float | None) -> Rule:
    """Return the rule unchanged or, if the test split leaves its value undefined, with the reason why it fails."""
    return rule if value is not None else replace(rule, passed=False, note=NO_BOX)


def named_floors(model: Evaluation, supports: Supports, config: ValidateConfig) -> Iterator[Rule]:
    """Yield the rules that compare each class and floor type with its floor.

    Raises:
        BadInput: a floor names a class or floor type that the dataset does not have.
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
    """Check that every floor names a class or floor type of the dataset.

    Raises:
        BadInput: one does not.
    """
    for name in limits:
        if name not in (DEFAULT, *known):
            raise BadInput(f"{field}: '{name}' is not one of: {', '.join((DEFAULT, *known))}")


def leave_open(rule: Rule, lack: str, config: ValidateConfig) -> Rule:
    """Return the rule unchanged or, if the data lack something, as not judged or failed, depending on the config."""
    if not lack:
        return rule
    passed = None if config.unjudged == "leave_off" else False
    return Rule(rule.rule, rule.value, rule.interval, rule.limit, passed, rule.reference, lack)


def comparison(
    name: str, model: Evaluation, references: Mapping[str, Evaluation], few: str, config: ValidateConfig
) -> Iterator[Rule]:
    """Yield the rule that compares with the best reference within the tolerance; none if no reference has a number.

    With too `few` episodes for an interval, the difference itself still has to be within the tolerance.
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
    """Return the model that is best in a metric, the first of equals; None if no model has a number."""
    sign = 1 if HIGHER_IS_BETTER[name] else -1
    known = {reference: _finite(each.metrics[name]) for reference, each in evaluations.items()}
    usable = {reference: value for reference, value in known.items() if value is not None}
    return max(usable, key=lambda reference: sign * usable[reference], default=None)


def holders(evaluations: Mapping[str, Evaluation]) -> dict[str, str]:
    """Return the best model in each metric, by metric."""
    found = {name: holder(name, evaluations) for name in HIGHER_IS_BETTER}
    return {name: reference for name, reference in found.items() if reference is not None}


def paired(model: Doubles, reference: Doubles, higher_is_better: bool) -> Doubles:
    """Return the differences of paired resamples [B]; infinitely bad where only the model has no number.

    A resample without a number of the reference compares nothing and is NaN.
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
    """Compare a value, and if `by_end` both ends of its interval, with a limit; a value that is not finite fails."""
    number = _finite(value)
    compared = [number, *(between if between and by_end else ())] if number is not None else []
    passed = bool(compared) and all(each >= limit if higher_is_better else each <= limit for each in compared)
    return Rule(rule, number, between, limit, passed, reference)


def _difference(value: float | None, other: float | None) -> float | None:
    return value - other if value is not None and other is not None else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def refusal(rules: Sequence[Rule]) -> str | None:
    """Return one line that names every failed rule; None if none failed."""
    return "; ".join(str(rule) for rule in rules if rule.passed is False) or None
