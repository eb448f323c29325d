"""Build the help of `sim2edge <stage>`: what the stage does, its inputs, every field of its config, examples."""

import argparse
import importlib
import inspect
import json
from collections.abc import Iterator

from pydantic import BaseModel

from sim2edge.discovery import find_entry
from sim2edge.stage import Input, Stage


class StageParser(argparse.ArgumentParser):
    """A parser that builds its help on demand: until then it imports and lists nothing."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        super().__init__(prog=f"sim2edge {stage.name}", formatter_class=argparse.RawDescriptionHelpFormatter)

    def format_help(self) -> str:
        """Return the help: description and options, then inputs, fields and examples."""
        text, example = about(self._stage)
        self.description = text
        self.epilog = "\n\n".join([describe_inputs(self._stage), describe_config(self._stage), f"example:\n{example}"])
        return super().format_help()


def about(stage: Stage) -> tuple[str, str]:
    """Return the docstring of the module that declares a stage, and the command lines in it as examples."""
    entry = find_entry(stage.name)
    module = importlib.import_module(entry.module) if entry else None
    lines = ((module and inspect.getdoc(module)) or f"{stage.name}: makes {stage.produces}").splitlines()
    examples = [f"  {line.strip()}" for line in lines if line.strip().startswith("sim2edge ")]
    rest = "\n".join(line for line in lines if not line.strip().startswith("sim2edge "))
    while "\n\n\n" in rest:
        rest = rest.replace("\n\n\n", "\n\n")
    return rest.strip(), "\n".join(examples) or f"  sim2edge {stage.name} --partition demo-1"


def describe_inputs(stage: Stage) -> str:
    """Return a line for each input role, and one for the output."""
    roles = [f"  {role:<12} {describe_input(what)}" for role, what in stage.inputs.items()]
    return "\n".join(["inputs:", *(roles or ["  none"]), f"makes: {stage.produces}"])


def describe_input(what: Input) -> str:
    """Return what a role accepts, in words."""
    count = "any number of " if what.many else ""
    default = f"; by default {what.default}" if what.default else "; optional" if what.optional else ""
    return f"{count}{what.kind}{default}"


def describe_config(stage: Stage) -> str:
    """Return a line for each field of the stage's config: name, default, unit and meaning."""
    rows = list(describe_fields(stage.config()))
    width = max((len(f"{name}={default}") for name, default, _ in rows), default=0)
    lines = [f"  {f'{name}={default}':<{min(width, 40)}}  {meaning}" for name, default, meaning in rows]
    return "\n".join(["config, key=value:", *(lines or ["  none"])])


def describe_fields(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield dotted name, default as JSON and meaning of every field, nested configs included."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from describe_fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value, default=str), field.description or ""
