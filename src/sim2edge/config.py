"""Typed stage configs: load a preset, override fields, resolve, hash.

A stage's config is a `StageConfig`; its values come, each winning over the last, from the class defaults, the stage's
section of a preset (`conf/<preset>.yaml`) and `key=value` overrides whose keys may be dotted (`lidar.beams=360`):

    load(CaptureConfig, "capture", preset="demo", overrides=["episodes=4"])
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sim2edge.errors import BadInput

Config = TypeVar("Config", bound="StageConfig")

NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises for text that is none; all but the first by mistake: `!!bool x`, `!!timestamp x`, 2026-13-01."""


class StageConfig(BaseModel):
    """Base of every stage's config: immutable, closed to unknown keys, without NaN; each field states its unit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def conf_folder() -> Path:
    """Where the presets lie: `SIM2EDGE_CONF`, or `conf/` of the checkout."""
    return Path(os.environ.get("SIM2EDGE_CONF") or Path(__file__).parents[2] / "conf")


def read_preset(preset: str) -> dict[str, dict[str, Any]]:
    """Read `conf/<preset>.yaml`: a mapping of stage name to the fields it sets.

    Raises:
        BadInput: there is no such preset, or it is not a YAML mapping of mappings.
    """
    path = conf_folder() / f"{preset}.yaml"
    if "/" in preset or not path.is_file():
        known = ", ".join(sorted(p.stem for p in conf_folder().glob("*.yaml")))
        raise BadInput(f"preset '{preset}' is not one of: {known}")
    content = read_yaml(path) or {}
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        raise BadInput(f"{path}: expected a mapping of stage name to fields")
    return content


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; None when there is nothing in it.

    Raises:
        BadInput: it cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except NOT_YAML as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Parse `key=value` words into a nested mapping; values are YAML scalars or flow collections.

    Raises:
        BadInput: a word has no `=`, an empty key, or a value that is not YAML.
    """
    nested: dict[str, Any] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not all(key.split(".")):
            raise BadInput(f"override '{word}': expected key=value")
        try:
            value = yaml.safe_load(text)
        except NOT_YAML as error:
            raise BadInput(f"override '{word}': the value is not YAML") from error
        *parents, leaf = key.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise BadInput(f"override '{word}': '{parent}' is already given a value")
        level[leaf] = value
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings, `over` winning; neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(model: type[Config], values: Mapping[str, Any], section: str) -> Config:
    """Validate `values` as a `model`.

    Raises:
        BadInput: names every wrong field as `<section>.<field>` with the reason.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = (
            f"{'.'.join([section, *map(str, item['loc'])])}: {_reason(item['type'], item['msg'])}"
            for item in error.errors()
        )
        raise BadInput("; ".join(problems)) from error


def _reason(kind: str, message: str) -> str:
    return "unknown key" if kind == "extra_forbidden" else message[0].lower() + message[1:]


def load(model: type[Config], section: str, preset: str | None = None, overrides: Iterable[str] = ()) -> Config:
    """Build the config of one stage from defaults, preset and overrides.

    Raises:
        BadInput: unknown preset, unknown key, or a value of the wrong type or out of range.
    """
    values = read_preset(preset).get(section, {}) if preset else {}
    return build(model, merge(values, parse_overrides(overrides)), section)


def resolve(config: StageConfig) -> dict[str, Any]:
    """Every field with its value, as plain JSON types: what a manifest records."""
    return config.model_dump(mode="json")


def decisive(config: StageConfig) -> dict[str, Any]:
    """The fields that decide the result: `resolve` less those marked `json_schema_extra={"decisive": False}`.

    Only top-level fields are marked: how many workers or threads share the work, say.
    """
    fields = type(config).model_fields
    marks = {name: field.json_schema_extra for name, field in fields.items()}
    return {
        name: value
        for name, value in resolve(config).items()
        if not (isinstance(mark := marks[name], dict) and mark.get("decisive") is False)
    }


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON value in canonical form: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
