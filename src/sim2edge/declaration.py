"""Check what a stage declares, so that a mistake is one line that names the field, before anything relies on it.

    find_problem(stage, entry)               what is wrong with a declaration on its own: names, types, forms
    find_conflict(stage, {...})              what is wrong with it beside the other stages
    notes(stages)                            what may be a mistake, but stops nothing

The functions that a declaration names are not imported: that would need the stage's own packages.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import EntryPoint
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from sim2edge.lines import describe_error, first_problem
from sim2edge.manifest import KIND, RESERVED, is_kind
from sim2edge.stage import Input, Stage

NAME = re.compile("[a-z][a-z0-9]{0,30}")
"""Valid as a Python package, a role, an image and a Secret in a cluster alike."""
TAKEN = frozenset("""
    access admin airflow all check coco compare compose config convert cost demo device down env gc hold lineage ls
    mlflow note ota producer reindex reproduce resume retrain s3 schema show stages status summarize trigger up webots
    withdraw
    """.split())  # noqa: SIM905 - a list of 30 lines otherwise
"""Names that a command, a role or an image has."""
PARENTS = ("core", "vision", "rendering", "tables", "learning", "tracked")
"""Images of `containers/Dockerfile` that a stage's image may be built on."""
ROLE = re.compile("[a-z][a-z0-9_]{0,30}")
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
REF = re.compile(r"refs(/([A-Za-z0-9_-]|\{partition\})([A-Za-z0-9._-]|\{partition\})*)+")


def find_problem(stage: object, entry: EntryPoint) -> str | None:
    """Return why what an entry point names is unusable as a stage's declaration; None when it is valid."""
    if not isinstance(stage, Stage):
        return f"{entry.value} is a {type(stage).__name__}, not a sim2edge.stage.Stage"
    wrong = (find_mismatch(getattr(stage, each.name), each.type, each.name) for each in fields(Stage))
    found = next((problem for problem in wrong if problem), None)
    return found or next(_broken_rules(stage, entry.name), None)


def find_mismatch(value: Any, hint: Any, where: str) -> str | None:
    """Return how a value, or one inside it, differs from its annotation, as `where: expected ..., not ...`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:  # of a type and None
        return None if value is None else find_mismatch(value, args[0], where)
    if not _is_of(value, origin or hint, args):
        return f"{where}: expected {_words(hint)}, not {_shorten(value)}"
    if origin is Mapping:
        inner = [(key, args[0], f"{where}: key") for key in value]
        inner += [(each, args[1], f"{where}.{key}") for key, each in value.items()]
    elif origin is Sequence:
        inner = [(each, args[0], where) for each in value]
    elif is_dataclass(hint):
        inner = [(getattr(value, each.name), each.type, f"{where}.{each.name}") for each in fields(hint)]
    else:
        return None
    return next((problem for each in inner if (problem := find_mismatch(*each))), None)


def _is_of(value: Any, kind: Any, args: tuple[Any, ...]) -> bool:
    if kind is Callable:
        return callable(value)
    if kind is type:
        return isinstance(value, type) and issubclass(value, args[0])
    if kind is Sequence:
        return isinstance(value, list | tuple)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _words(hint: Any) -> str:
    """Return what an annotation asks for, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Mapping:
        return f"a dict of {args[1].__name__}"
    if origin is Sequence:
        return f"a tuple of {args[0].__name__}"
    if origin is type:
        return f"a subclass of {args[0].__name__}"
    return "a function" if origin is Callable else f"{hint.__name__}"


def _shorten(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _broken_rules(stage: Stage, name: str) -> Iterator[str]:
    yield from _wrong_name(stage, name)
    if stage.version < 1:
        yield f"version: {stage.version} is below 1"
    yield from _wrong_kind(stage.produces, "produces")
    yield from _wrong_inputs(stage.inputs)
    if stage.ref is not None:
        yield from _wrong_ref(stage.ref, "ref")
    yield from _wrong_functions(stage)
    yield from _wrong_config(stage)
    for action in ("write", "create", "delete"):
        if any(pattern.startswith("*") for pattern in getattr(stage.grants, action)):
            yield f"grants.{action}: a pattern begins with '*': name the folder"
    if stage.image.parent not in PARENTS:
        yield f"image.parent: '{stage.image.parent}' is not one of: {', '.join(PARENTS)}"


def _wrong_name(stage: Stage, name: str) -> Iterator[str]:
    if stage.name != name:
        yield f"name: declares '{stage.name}', but is registered as '{name}'"
    if name in TAKEN:
        yield f"name: '{name}' is taken by a command, a role or an image"
    if not NAME.fullmatch(name):
        yield f"name: '{name}' is not of the form {NAME.pattern}"


def _wrong_inputs(inputs: Mapping[str, Input]) -> Iterator[str]:
    for role, each in inputs.items():
        if not ROLE.fullmatch(role):
            yield f"inputs: role '{role}' is not of the form {ROLE.pattern}"
        yield from _wrong_kind(each.kind, f"inputs.{role}.kind")
        if each.default is not None and each.default != "refs/*":
            yield from _wrong_ref(each.default.removesuffix("/*"), f"inputs.{role}.default")


def _wrong_kind(kind: str, where: str) -> Iterator[str]:
    if kind in RESERVED:
        yield f"{where}: '{kind}' is a folder of the bucket without artifacts, as are {', '.join(sorted(RESERVED))}"
    elif not is_kind(kind):
        yield f"{where}: '{kind}' is not of the form {KIND.pattern}"


def _wrong_ref(ref: str, where: str) -> Iterator[str]:
    if not REF.fullmatch(ref):
        yield f"{where}: '{ref}' is not a ref: refs/<name>/..., in which only {{partition}} is filled in"


def _wrong_functions(stage: Stage) -> Iterator[str]:
    named = {each: getattr(stage, each) for each in ("entry", "resolve", "choose", "post_commit")}
    if stage.gather:
        named["gather.entry"] = stage.gather.entry
    if stage.source:
        named |= {f"source.{each}": getattr(stage.source, each) for each in ("pin", "fetch", "deliver")}
    for where, path in named.items():
        if path is not None and not FUNCTION.fullmatch(path):
            yield f"{where}: '{path}' is not of the form module:function"


def _wrong_config(stage: Stage) -> Iterator[str]:
    named = {"gather.units": [stage.gather.units] if stage.gather else []}
    named["source.pins"] = list(stage.source.pins) if stage.source else []
    for where, names in named.items():
        for each in names:
            if each not in stage.config.model_fields:
                yield f"{where}: {stage.config.__name__} has no field '{each}'"
    try:
        config = stage.config()
        config.model_dump_json()
    except ValidationError as error:
        yield f"config: {stage.config.__name__}: every field needs a valid default: {first_problem(error)}"
    except Exception as error:
        yield f"config: {stage.config.__name__}() cannot be written as JSON: {describe_error(error)}"
    else:
        units = getattr(config, stage.gather.units, 1) if stage.gather else 1
        if not isinstance(units, int):
            yield f"gather.units: expected a field with a whole number, not {_shorten(units)}"


def find_conflict(stage: Stage, accepted: Mapping[str, Stage]) -> str | None:
    """Return why a valid declaration cannot be used beside those `accepted` before; None when it can.

    A maker of a kind may write all of its artifacts: a second one has to name the first (`instead_of`).
    """
    of_kind = [each for each in accepted.values() if each.produces == stage.produces]
    makers = [each.name for each in sorted(of_kind, key=lambda each: each.instead_of is not None)]
    if stage.instead_of is None and makers:
        return (
            f"produces: '{stage.produces}' is made by stage '{makers[0]}': name it in instead_of to be an alternative"
        )
    if stage.instead_of is not None:
        if stage.instead_of not in accepted:
            return f"instead_of: no usable stage '{stage.instead_of}' is installed"
        other = accepted[stage.instead_of]
        if other.produces != stage.produces:
            return f"instead_of: stage '{other.name}' makes {other.produces}, not {stage.produces}"
        if other.instead_of:
            return f"instead_of: stage '{other.name}' is itself instead of '{other.instead_of}': name that"
    owners = [each for each in accepted.values() if each.ref == stage.ref and each.produces != stage.produces]
    owners.sort(key=lambda each: each.instead_of is not None)
    if stage.ref and owners:
        return f"ref: '{stage.ref}' is that of stage '{owners[0].name}'"
    return None


def notes(stages: Sequence[Stage]) -> Iterator[str]:
    """Yield what may be a mistake: inputs of kinds that nobody makes, and kinds that are made from themselves."""
    made = {stage.produces for stage in stages}
    reads = {stage.name: {each.kind for each in stage.inputs.values()} for stage in stages}
    for stage in stages:
        for kind in sorted(reads[stage.name] - made):
            yield f"stage '{stage.name}' reads {kind}, which no installed stage makes"
    above: dict[str, set[str]] = {kind: set() for kind in made}
    for stage in stages:
        above[stage.produces] |= reads[stage.name] & made
    for kind in sorted(made):
        if kind in _reachable(kind, above):
            yield f"{kind} is made, directly or indirectly, from itself"


def _reachable(kind: str, above: Mapping[str, set[str]]) -> set[str]:
    found, pending = set[str](), [kind]
    while pending:
        new = above[pending.pop()] - found
        found |= new
        pending += new
    return found
