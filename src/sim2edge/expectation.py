"""Check that a run would produce the artifact that was planned, and refuse any other.

    sim2edge clean --partition lab-7 --expect frames/lab-7/3f2a9c0d11e4b7a6
    sim2edge clean --partition lab-7 --expect '{"reference": ..., "version": 2, "config": {...}, "inputs": {...}}'

A scheduler plans once, with its own code and `conf/`, and passes the plan on. The stage plans again with its own: an
image of another version or with other presets computes another id, and reports which part of the plan differs.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge import config as configs
from sim2edge.errors import BadInput
from sim2edge.lines import first_problem, quote
from sim2edge.manifest import split_reference

if TYPE_CHECKING:
    from sim2edge.plan import Plan

MAX_NAMED = 4
"""Differences that an error names; the rest is counted."""
ABSENT = "not there"
UNNAMED = "another batch, shard, input or, where no whole plan is given, version or config"


class Expectation(BaseModel):
    """The artifact that a run has to produce: its reference, alone or with everything it was computed from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str
    version: int | None = Field(default=None, description="version of the stage")
    config: dict[str, Any] | None = Field(default=None, description="the fields that affect the cache key")
    inputs: dict[str, str] | None = Field(default=None, description="role to a digest of its references")

    @classmethod
    def of(cls, planned: "Plan") -> "Expectation":
        """Return the expectation that exactly `planned` fulfils."""
        return cls(
            reference=planned.reference,
            version=planned.stage.version,
            config=configs.cache_key_fields(planned.config),
            inputs={role: configs.digest(list(references))[:16] for role, references in planned.inputs.items()},
        )

    def to_word(self) -> str:
        """Return the expectation as one argument of a command line."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), separators=(",", ":"))


def parse_expectation(text: str) -> Expectation:
    """Parse the value of `--expect`: a reference, or a plan as `Expectation.to_word` writes it.

    Raises:
        BadInput: it is neither.
    """
    if not text.startswith("{"):
        return Expectation(reference=check_reference(text))
    try:
        expected = Expectation.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(f"--expect: {first_problem(error, 'plan')}") from error
    check_reference(expected.reference)
    return expected


def check_reference(text: str) -> str:
    """Return `text` if it is an artifact reference.

    Raises:
        BadInput: it is not.
    """
    try:
        split_reference(text)
    except BadInput:
        raise BadInput(
            f"--expect {quote(text)}: not an artifact reference: <kind>/<partition>/<16 hex digits>"
        ) from None
    return text


def check_expected(planned: "Plan", expected: Expectation) -> None:
    """Check that a plan is the expected one.

    Raises:
        BadInput: it would produce another artifact; the message names the differences.
    """
    if planned.reference == expected.reference:
        return
    found = list(differences(expected, Expectation.of(planned))) or [UNNAMED]
    more = [f"and {len(found) - MAX_NAMED} more"] if len(found) > MAX_NAMED else []
    reasons = ", ".join([*found[:MAX_NAMED], *more])
    raise BadInput(
        f"{planned.stage.name}: {expected.reference} was planned, but this run makes {planned.reference}: {reasons}"
    )


def differences(expected: Expectation, here: Expectation) -> Iterator[str]:
    """Yield a line for each part of a plan that differs here: `version is 3 (planned: 2)`."""
    if expected.version not in (None, here.version):
        yield f"version is {here.version} (planned: {expected.version})"
    if expected.config is not None:
        yield from _differing("config field", flatten(expected.config), flatten(here.config or {}))
    if expected.inputs is not None:
        yield from (f"input '{role}' is another one" for role in _changed(expected.inputs, here.inputs or {}))


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _differing(what: str, expected: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for name in _changed(expected, here):
        values = (json.dumps(each[name]) if name in each else ABSENT for each in (here, expected))
        yield "{} '{}' is {} (planned: {})".format(what, name, *values)


def _changed(expected: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    names = sorted(expected.keys() | here.keys())
    return [name for name in names if name not in expected or name not in here or expected[name] != here[name]]
