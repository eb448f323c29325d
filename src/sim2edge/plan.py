"""Decide what a run of a stage would produce: its config, its inputs, and the reference of its artifact.

It needs only the light core, so that a scheduler knows the reference before any work starts. `runner.py` carries a
plan out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sim2edge import config as configs
from sim2edge.alternates import check_settings_of_batch, has_own_ref
from sim2edge.bus import Bus, in_threads
from sim2edge.config import StageConfig
from sim2edge.errors import BadInput, NotFound
from sim2edge.manifest import Manifest, check_partition, latest_partition, split_reference
from sim2edge.shards import Shard, all_shards, check_count, parse_shard
from sim2edge.stage import Input, Source, Stage, load_function
from sim2edge.stages import get_stage
from sim2edge.withdrawal import Withdrawn

Inputs = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Plan:
    """A run of a stage before it starts: everything that determines its result, and the result if it is committed."""

    stage: Stage
    config: StageConfig
    inputs: Inputs
    """Every role of the stage to its references; an optional role may be empty."""
    reference: str
    """The artifact that this run produces: for a share of the work, the shard."""
    manifest: Manifest | None
    """The committed artifact, if any: a cache hit. For a shard it may be the whole artifact; nothing is left to do."""
    pinned: Sequence[str] = ()
    """`key=value` words for what planning resolved outside of preset and overrides: they are passed to the run that
    carries the plan out, which does not resolve it again."""
    shard: Shard | None = None
    """The share of the work to do; None: all of it."""
    whole: str = ""
    """For a shard: the reference of the artifact that it is a share of."""
    parts: Sequence[str] = ()
    """References of the shards to gather the artifact from; empty: it is produced by one run."""
    replace: bool = False
    """Whether the result takes the place of its batch's data made with other settings (`alternates.py`)."""


def plan(
    bus: Bus,
    name: str,
    partition: str | None = None,
    preset: str | None = None,
    overrides: Iterable[str] = (),
    inputs: Inputs | None = None,
    shard: str | None = None,
    gather: str | int | None = None,
    replace: bool = False,
) -> Plan:
    """Decide what a run of stage `name` would produce.

    Args:
        bus: the bucket with inputs and results.
        name: the stage.
        partition: the batch id; fills `{partition}` in default inputs. A stage without inputs files its artifact under
            it; any other files it under the latest partition among its inputs.
        preset: name of a file in `conf/`.
        overrides: `key=value` words for the stage's config.
        inputs: role to references, refs or ids; a role that is left out takes the stage's default or choice, a role
            with an empty list stays empty.
        shard: do this share of the work only, `3/8`.
        gather: build the artifact from this many committed shards.
        replace: take the place of the batch's data made with other settings.

    Raises:
        BadInput: bad config, unknown role, missing or superfluous input, an input that is not on the bus or of the
            wrong kind, work that cannot be cut that way, a batch that was begun with other settings, or that is
            withdrawn, also of a committed artifact.
    """
    stage = get_stage(name)
    config = load_config(stage, preset, overrides)
    if partition is not None:
        check_partition(partition)
    withdrawn = Withdrawn(bus)
    references = choose_inputs(bus, stage, partition, inputs or {}, withdrawn)
    used = [reference for role in references.values() for reference in role]
    filed_under = latest_partition(used) if used else partition
    if filed_under is None:
        raise BadInput(f"{name}: --partition is missing: name the batch")
    withdrawn.check(name, references)
    if not used:
        check_begun(bus, stage, config, filed_under, withdrawn, replace)
    pinned: Sequence[str] = ()
    if stage.source:
        config, pinned = pin_source(bus, stage, stage.source, config, filed_under)
    one, many = parse_shard(shard) if shard else None, check_count(gather) if gather is not None else None
    check_cut(stage, config, one, many)
    identity = partial(artifact_id, stage, config, references, None if used else filed_under)
    folder = f"{stage.produces}/{filed_under}"
    whole = f"{folder}/{identity()}"
    reference = f"{folder}/{identity(one)}" if one else whole
    found = bus.find(whole) or (bus.find(reference) if one else None)
    if found is None:
        check_inputs(bus, name, references)
    return Plan(
        stage,
        config,
        references,
        reference,
        found,
        pinned=pinned,
        shard=one,
        whole=whole if one else "",
        parts=[f"{folder}/{identity(each)}" for each in all_shards(many)] if many else (),
        replace=replace and has_own_ref(stage),
    )


def load_config(stage: Stage, preset: str | None, overrides: Iterable[str]) -> StageConfig:
    """Return the config of a run, with what the deployment declares filled in.

    Raises:
        BadInput: it is invalid.
    """
    config = configs.load(stage.config, stage.name, preset, overrides)
    if stage.resolve:
        config = load_function(stage.resolve)(config)
        check_config(stage, stage.resolve, config)
    return config


def check_begun(bus: Bus, stage: Stage, config: StageConfig, batch: str, withdrawn: Withdrawn, replace: bool) -> None:
    """Check that a batch may be begun, or begun again.

    Raises:
        BadInput: it is withdrawn, or was begun with other settings.
    """
    withdrawn.check_batch(stage.name, batch)
    if not replace:
        check_settings_of_batch(bus, stage, config, batch)


def pin_source(
    bus: Bus, stage: Stage, source: Source, config: StageConfig, partition: str
) -> tuple[StageConfig, Sequence[str]]:
    """Resolve what a stage reads besides artifacts; return the config that records it, and the words that set it.

    Raises:
        BadInput: it does not exist, or may not be read.
    """
    pinned: StageConfig = load_function(source.pin)(bus, stage, config, partition)
    check_config(stage, source.pin, pinned)
    return pinned, [f"{name}={getattr(pinned, name)}" for name in source.pins]


def check_config(stage: Stage, hook: str, returned: object) -> None:
    """Check that a hook returned a config of the stage.

    Raises:
        BadInput: it returned something else.
    """
    if not isinstance(returned, stage.config):
        raise BadInput(f"{hook} returned a {type(returned).__name__}, not a {stage.config.__name__}")


def find_made(bus: Bus, planned: Plan) -> Manifest | None:
    """Return the plan's committed artifact, or, for a shard, the whole that made it superfluous; None if neither is."""
    whole = bus.find(planned.whole) if planned.whole else None
    return whole or bus.find(planned.reference)


def choose_inputs(
    bus: Bus, stage: Stage, partition: str | None, given: Inputs, withdrawn: Withdrawn
) -> dict[str, Sequence[str]]:
    """Resolve the inputs; the stage's own choice fills only roles that were not given.

    Raises:
        BadInput: see `resolve_inputs`.
    """
    references = resolve_inputs(bus, stage, partition, given, withdrawn)
    if stage.choose and stage.inputs.keys() - given.keys():
        chosen = load_function(stage.choose)(bus, references)
        if not isinstance(chosen, Mapping) or stage.inputs.keys() - chosen.keys():
            raise BadInput(f"{stage.choose} returned no references for each of: {', '.join(stage.inputs)}")
        references |= {role: chosen[role] for role in stage.inputs if role not in given}
    return references


def check_inputs(bus: Bus, name: str, inputs: Inputs) -> None:
    """Check that every input is on the bus.

    Raises:
        BadInput: one is not; the message names the first.
    """
    named = [(role, reference) for role, references in inputs.items() for reference in references]
    sizes = in_threads(lambda pair: bus.size(f"{pair[1]}/manifest.json"), named)
    for (role, reference), size in zip(named, sizes, strict=True):
        if size is None:
            raise NotFound(f"{name}: input '{role}': {reference}: no such artifact on the bus")


def check_cut(stage: Stage, config: StageConfig, shard: Shard | None, gather: int | None) -> None:
    """Check that the stage's work can be cut as requested, with work for every shard.

    Raises:
        BadInput: it cannot.
    """
    of = shard.of if shard else gather
    if of is None:
        return
    if shard and gather:
        raise BadInput(f"{stage.name}: a run makes a shard or gathers shards: leave out --shard or --gather")
    if stage.gather is None:
        raise BadInput(f"{stage.name}: its work cannot be cut into shards")
    units = getattr(config, stage.gather.units)
    if of > units:
        raise BadInput(f"{stage.name}: {of} shards, but {stage.gather.units}={units}: at most {units}")


def recorded_id(manifest: Manifest) -> str:
    """Compute the id from what the manifest records; it differs from the manifest's own id if that was forged."""
    stage = get_stage(manifest.stage)
    config = configs.build(stage.config, manifest.config, stage.name)
    used = any(manifest.inputs.values())
    shard = parse_shard(manifest.shard) if manifest.shard else None
    return artifact_id(stage, config, manifest.inputs, None if used else manifest.partition, shard)


def artifact_id(
    stage: Stage, config: StageConfig, inputs: Inputs, partition: str | None, shard: Shard | None = None
) -> str:
    """Return the id of a result, 16 hex digits: a hash of stage, version, config, input ids (or partition), shard."""
    made_from: Any = {role: [split_reference(r)[2] for r in references] for role, references in inputs.items()}
    decided_by = configs.cache_key_fields(config)
    which = [str(shard)] if shard else []
    return configs.digest([stage.name, stage.version, decided_by, made_from, partition, *which])[:16]


def resolve_inputs(
    bus: Bus, stage: Stage, partition: str | None, given: Inputs, withdrawn: Withdrawn
) -> dict[str, Sequence[str]]:
    """Resolve the given names, or the defaults, to sorted references per role; the order given does not matter.

    A default that names all refs of a folder leaves out those of withdrawn batches.

    Raises:
        BadInput: unknown role, missing input, too many, or one of the wrong kind.
    """
    for role in given:
        if role not in stage.inputs:
            known = ", ".join(stage.inputs) or "none"
            raise BadInput(f"{stage.name}: input '{role}' is not one of: {known}")
    found = {}
    for role, what in stage.inputs.items():
        default = _expand_default(bus, what.default, partition, withdrawn) if what.default and role not in given else ()
        found[role] = _resolve_role(bus, stage.name, role, what, partition, given.get(role, default))
    return found


def _resolve_role(
    bus: Bus, stage: str, role: str, what: Input, partition: str | None, names: Sequence[str]
) -> Sequence[str]:
    references = sorted({bus.resolve(name) for name in names})
    if not references and not what.optional:
        raise BadInput(f"{stage}: input '{role}' is missing: --input {role}=<reference>{_hint(what, partition)}")
    if len(references) > 1 and not what.many:
        raise BadInput(f"{stage}: input '{role}' takes one artifact, {len(references)} were given")
    for reference in references:
        if split_reference(reference)[0] != what.kind:
            raise BadInput(f"{stage}: input '{role}' takes {what.kind}, not {reference}")
    return references


def _hint(what: Input, partition: str | None) -> str:
    if not what.default:
        return ""
    if "{partition}" in what.default and partition is None:
        return ", or --partition <batch>"
    return f" (nothing at {what.default.format(partition=partition)})"


def _expand_default(bus: Bus, default: str, partition: str | None, withdrawn: Withdrawn) -> list[str]:
    if "{partition}" in default:
        if partition is None:
            return []
        default = default.format(partition=partition)
    if default.endswith("/*"):
        found = [ref.artifact for ref in bus.list_refs(default.removesuffix("/*"))]
        return [reference for reference in found if not withdrawn.find(reference)]
    ref = bus.read_ref(default)
    return [ref.artifact] if ref else []
