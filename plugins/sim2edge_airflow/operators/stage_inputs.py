"""Resolve the inputs of a task's stage, from its DAG's declaration and the event that started the run.

A DAG declares, for each role:

    episodes/demo-1/3f2a9c0d11e4b7a6    a reference, usually the output of an upstream task
    refs/models/champion                a ref
    verdict/{partition}/latest          the newest accepted artifact filed under that batch
    verdict.model                       the inputs `model` of the artifact given for `verdict`

The artifact whose event started the run replaces a ref or a `latest` of its kind.
"""

from collections.abc import Iterable, Mapping, Sequence

from airflow.sdk import XComArg

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.manifest import split_reference
from sim2edge.stages import get_stage
from sim2edge_airflow.run_settings import RunSettings

Inputs = Mapping[str, str | Sequence[str]]
"""Inputs at run time: the outputs of upstream tasks are references by then."""
DeclaredInputs = Mapping[str, str | Sequence[str] | XComArg]
"""Inputs as a DAG declares them."""
LATEST = "/latest"


def name_inputs(bus: Bus, stage: str, given: Inputs, settings: RunSettings) -> dict[str, list[str]]:
    """Return role to references and refs, for `plan.plan`.

    Raises:
        BadInput: the task upstream left no artifact, a latest one does not exist, or `role.role` resolves to nothing.
    """
    for role, value in given.items():
        check_left(value, f"input '{role}'")
    given_words = {role: [value] if isinstance(value, str) else list(value) for role, value in given.items()}
    named = {role: [word.format(partition=settings.partition) for word in words] for role, words in given_words.items()}
    if settings.started_by:
        named |= stand_in(stage, named, settings.started_by)
    return {role: [found for word in words for found in follow(bus, word, named)] for role, words in named.items()}


def check_left(value: object, what: str) -> None:
    """Check that a task upstream has left its output: one that was marked as success by hand has not.

    Raises:
        BadInput: it has left none.
    """
    if value is None:
        raise BadInput(
            f"{what}: the task upstream has left no artifact; if it was marked as success without having run, clear it"
        )


def stand_in(stage: str, named: Mapping[str, Sequence[str]], started_by: str) -> dict[str, list[str]]:
    """Return the roles of `stage` filled by the artifact that started the run."""
    kind = split_reference(started_by)[0]
    fits = {role for role, what in get_stage(stage).inputs.items() if what.kind == kind and not what.many}
    return {role: [started_by] for role in fits if all(is_movable(word) for word in named.get(role, ()))}


def is_movable(word: str) -> bool:
    """Return whether `word` may resolve to another artifact later."""
    return word.startswith("refs/") or word.endswith(LATEST)


def follow(bus: Bus, word: str, named: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Return the references and refs that `word` resolves to.

    Raises:
        BadInput: see `name_inputs`.
    """
    if word.endswith(LATEST):
        return [latest(bus, *word.removesuffix(LATEST).split("/"))]
    role, dot, theirs = word.partition(".")
    if not dot or "/" in word:
        return [word]
    if role not in named:
        raise BadInput(f"input '{word}': nothing is given for '{role}'")
    references = [bus.resolve(name) for source in named[role] for name in follow(bus, source, named)]
    if found := [reference for made in references for reference in bus.open(made).inputs.get(theirs, ())]:
        return found
    raise BadInput(f"input '{word}': {', '.join(references)} was made without '{theirs}'")


def latest(bus: Bus, kind: str, partition: str) -> str:
    """Return the newest complete, accepted artifact of a kind and batch.

    Raises:
        BadInput: there is no such artifact.
    """
    accepted = [each for each in bus.manifests(kind, partition) if not each.refused and not each.shard]
    if not accepted:
        raise BadInput(f"no accepted {kind} is filed under batch {partition}")
    return accepted[-1].reference
