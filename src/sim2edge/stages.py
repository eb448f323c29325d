"""List the installed stages, as they declare themselves, in the order of their inputs and outputs.

    get_stage("clean")      the declaration of one
    installed()             all declarations: ours and those of other packages; unusable ones are left out
    problems()              an error line for each unusable one
    chain()                 one stage for each kind of artifact: the columns of the pages

A stage comes after the stages that make the kinds it reads; stages of the same depth are sorted by name.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache, lru_cache

from sim2edge import discovery
from sim2edge.declaration import find_conflict, find_problem
from sim2edge.discovery import distribution_of, is_importable
from sim2edge.errors import BadInput, NotFound, Terminated
from sim2edge.lines import describe_error, quote
from sim2edge.stage import Stage


def get_stage(name: str) -> Stage:
    """Return the stage called `name`.

    Raises:
        NotFound: there is no such stage.
        BadInput: it is unusable; the message names its distribution.
    """
    entry = discovery.find_entry(name)
    if entry is None:
        raise NotFound(f"stage '{name}' is not one of: {', '.join(stage_names())}")
    if name in discovery.own_entries():  # without reading those of others
        return _load(name)
    if name in _installed()[1]:
        raise BadInput(_installed()[1][name])
    return next(stage for stage in installed() if stage.name == name)


@lru_cache(maxsize=256)
def _load(name: str) -> Stage:
    entry = discovery.find_entry(name)
    assert entry is not None  # noqa: S101 (the caller has found it)
    if not is_importable(entry):
        raise BadInput(f"{_whose(name)}: its entry point {quote(entry.value)} is not of the form module:name")
    try:
        with redirect_stdout(sys.stderr):  # what a module prints must not mix with the output of a command
            stage = entry.load()
            problem = find_problem(stage, entry)
    except (Terminated, KeyboardInterrupt):
        raise
    except BaseException as error:  # also SystemExit, and the panic of a package written in Rust
        raise BadInput(f"{_whose(name)} cannot be imported: {describe_error(error)}") from error
    if problem:
        raise BadInput(f"{_whose(name)}: {problem}")
    declared: Stage = stage
    return declared


def _whose(name: str) -> str:
    entry = discovery.find_entry(name)
    return f"stage '{name}' of distribution '{distribution_of(entry) if entry else '?'}'"


@cache
def _installed() -> tuple[tuple[Stage, ...], Mapping[str, str]]:
    """Return the usable stages, and an error line for each other one by its name."""
    loaded: list[Stage] = []
    troubles: dict[str, str] = {}
    for name in discovery.all_entries():
        try:
            loaded.append(_load(name))
        except BadInput as error:
            troubles[name] = " ".join(str(error).split())
    accepted: dict[str, Stage] = {}
    for stage in sorted(loaded, key=lambda stage: stage.instead_of is not None):  # after those that they name
        if problem := find_conflict(stage, accepted):
            troubles[stage.name] = f"{_whose(stage.name)}: {problem}"
        else:
            accepted[stage.name] = stage
    return tuple(in_order(tuple(accepted.values()))), troubles


def installed() -> tuple[Stage, ...]:
    """Return every usable stage, in order."""
    return _installed()[0]


def problems() -> tuple[str, ...]:
    """Return an error line for each unusable stage."""
    return (*discovery.duplicates(), *_installed()[1].values())


def stage_names() -> tuple[str, ...]:
    """Return the names of all usable stages, in order."""
    return tuple(stage.name for stage in installed())


def chain() -> tuple[Stage, ...]:
    """Return one stage for each kind of artifact, in order: the first that is no alternative to another one."""
    firsts: dict[str, Stage] = {}
    for stage in sorted(installed(), key=lambda stage: stage.instead_of is not None):
        firsts.setdefault(stage.produces, stage)
    return tuple(stage for stage in installed() if firsts[stage.produces] is stage)


def kinds() -> tuple[str, ...]:
    """Return every kind of artifact that an installed stage makes, in order."""
    return tuple(stage.produces for stage in chain())


def maker_of(kind: str, stage: str = "") -> Stage | None:
    """Return a stage that makes a kind: the named one if it does, else the first; None when no stage does."""
    makers = [each for each in installed() if each.produces == kind]
    named = [each for each in makers if each.name == stage]
    return next(iter([*named, *(each for each in makers if each.instead_of is None), *makers]), None)


def column_of(stage: Stage) -> str:
    """Return the name of the stage of the chain that makes the same kind: its column in the pages."""
    return next(each.name for each in chain() if each.produces == stage.produces)


def between(first: str, last: str) -> tuple[Stage, ...]:
    """Return the stages of the chain on the paths from one kind to another, the makers of both included."""
    return tuple(stage for stage in chain() if first in upstream(stage.produces) and stage.produces in upstream(last))


def upstream(kind: str) -> frozenset[str]:
    """Return the kinds that a kind depends on, directly or indirectly, itself included."""
    found, pending = {kind}, [kind]
    while pending:
        current = pending.pop()
        read = {each.kind for stage in installed() if stage.produces == current for each in stage.inputs.values()}
        pending += read - found
        found |= read
    return frozenset(found)


def in_order(stages: Sequence[Stage]) -> Sequence[Stage]:
    """Sort stages so that each comes after the makers of its inputs, then by name."""
    depth = depth_by_kind({stage.produces: [] for stage in stages}, stages)
    return sorted(stages, key=lambda stage: (depth(stage.produces), stage.instead_of or stage.name, stage.name))


def depth_by_kind(reads: Mapping[str, list[str]], stages: Sequence[Stage]) -> Callable[[str], int]:
    """Return a function from a kind to the length of the longest path to it; a cycle counts once."""
    for stage in stages:
        reads[stage.produces].extend(each.kind for each in stage.inputs.values() if each.kind in reads)

    @cache
    def depth(kind: str, seen: frozenset[str] = frozenset()) -> int:
        before = (each for each in reads[kind] if each not in seen and each != kind)
        return 1 + max((depth(each, seen | {kind}) for each in before), default=0)

    return depth


def forget() -> None:
    """Clear the caches, after something was installed."""
    discovery.forget()
    _load.cache_clear()
    _installed.cache_clear()
