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
from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

from sim2edge.discovery import all_entries, find_entry
from sim2edge.errors import BadInput, NotFound

Config = TypeVar("Config", bound="StageConfig")

NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError)
"""Errors of PyYAML for invalid text; all but the first by its mistake: `!!bool x`, `!!timestamp x`, 2026-13-01."""


class Loader(yaml.SafeLoader):
    """YAML without two surprises: sexagesimal numbers (`1:30`) and duplicate keys are errors."""

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Construct a number; refuse one that contains a colon."""
        if ":" in node.value:
            said = f"'{node.value}' would be a sexagesimal number: write a decimal number, or quote the text"
            raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; refuse duplicate keys."""
        node = super().compose_mapping_node(anchor)
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.composer.ComposerError(
                    None, None, f"'{key[1]}' is a duplicate key", node.value[number][0].start_mark
                )
        return node


for kind in ("int", "float"):
    Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.construct_number)


class NumbersAreNumbers(BaseModel):
    """Base of models that are read from YAML: `true`, or `yes`, is not the number 1."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _refuse_truths(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        valid = validate(value)
        if _truth_became_number(value, valid):
            raise PydanticCustomError("number", "Input should be a number, not true or false")
        return valid


def _truth_became_number(given: Any, valid: Any) -> bool:
    """Return whether pydantic accepted a bool as a number, anywhere below `given`."""
    if isinstance(given, bool):
        return isinstance(valid, int | float) and not isinstance(valid, bool)
    if isinstance(given, Mapping) and isinstance(valid, Mapping):
        return any(_truth_became_number(value, valid.get(key)) for key, value in given.items())
    if isinstance(given, list | tuple) and isinstance(valid, list | tuple):
        return any(map(_truth_became_number, given, valid))
    return False


class StageConfig(NumbersAreNumbers):
    """Base of every stage's config: immutable, no unknown keys, no NaN; each field states its unit."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Section(NumbersAreNumbers):
    """Base of the nested sections of a stage's config: immutable, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


MAX_YAML = 1_000_000
"""Characters of a YAML file."""


def conf_folder() -> Path:
    """Return the folder of presets: `SIM2EDGE_CONF`, or `conf/` of the checkout."""
    return Path(os.environ.get("SIM2EDGE_CONF") or Path(__file__).parents[2] / "conf")


def preset_names() -> list[str]:
    """Return the names of the presets, sorted."""
    return sorted(path.stem for path in conf_folder().glob("*.yaml"))


def read_preset(preset: str) -> dict[str, dict[str, Any]]:
    """Read `conf/<preset>.yaml`: a mapping of stage name to the fields it sets.

    Raises:
        BadInput: there is no such preset, or it is not a YAML mapping of stages to mappings.
    """
    path = conf_folder() / f"{preset}.yaml"
    if "/" in preset or not path.is_file():
        raise NotFound(f"preset '{preset}' is not one of: {', '.join(preset_names())}")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: {'empty: ' if content is None else ''}expected a mapping of stage name to fields")
    for name, section in content.items():
        if find_entry(name) is None:
            raise BadInput(f"{path}: '{name}' is not a stage: {', '.join(all_entries())}")
        if not isinstance(section, dict):
            raise BadInput(f"{path}: {name}: expected a mapping of fields to values")
    return content


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; None when it is empty.

    Raises:
        BadInput: it cannot be read, is larger than `MAX_YAML` characters, or is not YAML.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_YAML + 1)
        if len(text) > MAX_YAML:
            raise BadInput(f"{path}: more than {MAX_YAML:,} characters are no settings")
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except NOT_YAML as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None


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
            value = yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
        except NOT_YAML as error:
            why = getattr(error, "problem", None)
            raise BadInput(f"override '{word}': the value is not YAML{f': {why}' if why else ''}") from error
        *parents, leaf = key.split(".")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise BadInput(f"override '{word}': '{parent}' is already given a value")
        level[leaf] = value
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings, `over` taking precedence; neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(model: type[Config], values: Mapping[str, Any], section: str) -> Config:
    """Validate `values` as a `model`.

    Raises:
        BadInput: a field is invalid; the message names each as `<section>.<field>` with the reason.
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
    """Return every field with its value, as plain JSON types: the manifest's record of the config."""
    return config.model_dump(mode="json")


def cache_key_fields(config: StageConfig) -> dict[str, Any]:
    """Return the fields that affect the cache key.

    All of `resolve` but those marked `json_schema_extra={"affects_cache_key": False}`, such as the number of workers;
    only top-level fields can be marked.
    """
    fields = type(config).model_fields
    marks = {name: field.json_schema_extra for name, field in fields.items()}
    return {
        name: value
        for name, value in resolve(config).items()
        if not (isinstance(mark := marks[name], dict) and mark.get("affects_cache_key") is False)
    }


def digest(value: Any) -> str:
    """Return the SHA-256 (64 hex digits) of a JSON value in canonical form: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
