"""Runs a stage: resolve its inputs, look for the result, do the work, commit.

`plan` needs only the light core, so that whoever schedules stages knows the artifact's reference before any work
starts; `execute` needs the stage's own libraries.

A stage that declares how to `gather` can be made in shards, by several runs anywhere: each shard is an artifact, and
one more run makes the stage's artifact out of them, under the id it has when it is made whole.
"""

import os
import resource
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from sim2edge import config as configs
from sim2edge import inbox
from sim2edge.bus import Bus, describe_files, in_threads
from sim2edge.config import StageConfig
from sim2edge.environment import describe_environment
from sim2edge.errors import BadInput
from sim2edge.manifest import MEASUREMENTS, Cost, File, Manifest, check_partition, latest_partition, split_reference
from sim2edge.shards import Shard, all_shards, check_count, name_shards, parse_shard
from sim2edge.stage import Artifact, Input, Job, Outcome, Progress, Stage, extra_of, get_stage, load_function

Inputs = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Plan:
    """A run of a stage before it starts: everything that decides its result, and that result if it exists already."""

    stage: Stage
    config: StageConfig
    inputs: Inputs
    """Every role of the stage to its references; an optional role may be empty."""
    reference: str
    """What this run makes: for a share of the work, the shard."""
    manifest: Manifest | None
    """The committed artifact, when there is one: a cache hit. A shard's may be the whole, and then nothing is to do."""
    pinned: Sequence[str] = ()
    """`key=value` words for what planning looked up outside of preset and overrides: whoever carries the plan out is
    given them, and does not look again."""
    shard: Shard | None = None
    """The share of the work to do; None: all of it."""
    whole: str = ""
    """Of a shard: the reference of the artifact that it is a share of."""
    parts: Sequence[str] = ()
    """References of the shards that the artifact is to be gathered from; none: it is made whole."""


def plan(
    bus: Bus,
    name: str,
    partition: str | None = None,
    preset: str | None = None,
    overrides: Iterable[str] = (),
    inputs: Inputs | None = None,
    shard: str | None = None,
    gather: str | int | None = None,
) -> Plan:
    """Decide what a run of stage `name` would make.

    Args:
        bus: where inputs and results lie.
        name: the stage.
        partition: the batch id; fills `{partition}` in default inputs. A stage without inputs files its artifact under
            it; any other files it under the latest partition among its inputs.
        preset: name of a file in `conf/`.
        overrides: `key=value` words for the stage's config.
        inputs: role to references, refs or ids; roles that are left out take the stage's default or choice, a role
            that is given none stays empty.
        shard: do this share of the work only, `3/8`.
        gather: make the artifact out of this many committed shards.

    Raises:
        BadInput: bad config, unknown role, missing or superfluous input, one that is not on the bus, wrong kind, work
            that cannot be cut so.
    """
    stage = get_stage(name)
    config = configs.load(stage.config, name, preset, overrides)
    if stage.resolve:
        config = load_function(stage.resolve)(config)
    if partition is not None:
        check_partition(partition)
    references = choose_inputs(bus, stage, partition, inputs or {})
    used = [reference for role in references.values() for reference in role]
    filed_under = latest_partition(used) if used else partition
    if filed_under is None:
        raise BadInput(f"{name}: --partition is missing: name the batch")
    if not used:
        check_owner(bus, stage, filed_under)
    pinned: Sequence[str] = ()
    if stage.deliver:
        config, pinned = pin_delivery(bus, stage, config, filed_under)
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
    )


def pin_delivery(bus: Bus, stage: Stage, config: StageConfig, batch: str) -> tuple[StageConfig, Sequence[str]]:
    """Resolve which delivery to the inbox a stage works on: the config that names it, and the words that pin it.

    Raises:
        BadInput: see `inbox.pin`.
    """
    resolved = inbox.pin(bus, stage, config, batch)
    assert isinstance(resolved, inbox.InboxConfig)  # noqa: S101 (`pin` saw to it; tells the type checker)
    return resolved, [f"ready={resolved.ready}"]


def find_made(bus: Bus, planned: Plan) -> Manifest | None:
    """Look for what a plan was to make: the committed artifact, or, of a shard, the whole that made it superfluous."""
    whole = bus.find(planned.whole) if planned.whole else None
    return whole or bus.find(planned.reference)


def choose_inputs(bus: Bus, stage: Stage, partition: str | None, given: Inputs) -> dict[str, Sequence[str]]:
    """Resolve the inputs; the stage's own choice fills only roles that were not given.

    Raises:
        BadInput: see `resolve_inputs`.
    """
    references = resolve_inputs(bus, stage, partition, given)
    if stage.choose and stage.inputs.keys() - given.keys():
        chosen = load_function(stage.choose)(bus, references)
        references |= {role: chosen[role] for role in stage.inputs if role not in given}
    return references


def check_inputs(bus: Bus, name: str, inputs: Inputs) -> None:
    """Check that every input is on the bus.

    Raises:
        BadInput: one is not; names the first.
    """
    named = [(role, reference) for role, references in inputs.items() for reference in references]
    sizes = in_threads(lambda pair: bus.size(f"{pair[1]}/manifest.json"), named)
    for (role, reference), size in zip(named, sizes, strict=True):
        if size is None:
            raise BadInput(f"{name}: input '{role}': {reference}: no such artifact on the bus")


def check_owner(bus: Bus, stage: Stage, batch: str) -> None:
    """A batch belongs to the stage that made it first: its id stands for one set of data.

    Raises:
        BadInput: it is another's.
    """
    ref = bus.read_ref(stage.ref.format(partition=batch)) if stage.ref else None
    made = bus.find(ref.target) if ref else None
    if made and made.stage != stage.name:
        raise BadInput(f"batch '{batch}' is {made.reference}, made by {made.stage}: name another batch")


def check_cut(stage: Stage, config: StageConfig, shard: Shard | None, gather: int | None) -> None:
    """Check that the stage's work can be cut as is asked, each shard getting some.

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
    """Compute the id of what a manifest says the artifact was made of: another one than its own if it was forged."""
    stage = get_stage(manifest.stage)
    config = configs.build(stage.config, manifest.config, stage.name)
    used = any(manifest.inputs.values())
    shard = parse_shard(manifest.shard) if manifest.shard else None
    return artifact_id(stage, config, manifest.inputs, None if used else manifest.partition, shard)


def artifact_id(
    stage: Stage, config: StageConfig, inputs: Inputs, partition: str | None, shard: Shard | None = None
) -> str:
    """16 hex digits that name a result: a hash of stage, version, config, input ids (or else the partition), shard."""
    made_from: Any = {role: [split_reference(r)[2] for r in references] for role, references in inputs.items()}
    decided_by = configs.cache_key_fields(config)
    which = [str(shard)] if shard else []
    return configs.digest([stage.name, stage.version, decided_by, made_from, partition, *which])[:16]


def resolve_inputs(bus: Bus, stage: Stage, partition: str | None, given: Inputs) -> dict[str, Sequence[str]]:
    """Turn what was named, or the defaults, into sorted artifact references per role: their order does not matter.

    Raises:
        BadInput: unknown role, missing input, too many, or one of the wrong kind.
    """
    for role in given:
        if role not in stage.inputs:
            known = ", ".join(stage.inputs) or "none"
            raise BadInput(f"{stage.name}: input '{role}' is not one of: {known}")
    return {role: _resolve_role(bus, stage.name, role, what, partition, given) for role, what in stage.inputs.items()}


def _resolve_role(bus: Bus, stage: str, role: str, what: Input, partition: str | None, given: Inputs) -> Sequence[str]:
    default = _expand_default(bus, what.default, partition) if what.default and role not in given else ()
    names = given.get(role, default)
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


def _expand_default(bus: Bus, default: str, partition: str | None) -> list[str]:
    if "{partition}" in default:
        if partition is None:
            return []
        default = default.format(partition=partition)
    if default.endswith("/*"):
        return [ref.artifact for ref in bus.list_refs(default.removesuffix("/*"))]
    ref = bus.read_ref(default)
    return [ref.artifact] if ref else []


def execute(bus: Bus, planned: Plan, progress: Progress) -> Manifest:
    """Return the plan's artifact, making it first if it is not there, and carry out its effects.

    Raises:
        BadInput: bad data in an input, or the scratch folder is full.
    """
    manifest = planned.manifest or produce(bus, planned, progress)
    conclude(bus, planned, manifest, progress)
    return manifest


def conclude(bus: Bus, planned: Plan, manifest: Manifest, progress: Progress) -> None:
    """Carry out what a committed artifact changes outside itself, whoever made or found it (idempotent).

    It is listed in the catalog, the stage's ref names it, and the stage's own hook, which takes the stage's libraries,
    runs. A shard is only listed.
    """
    bus.index(manifest)
    if planned.shard:
        return
    if planned.stage.ref:
        bus.move_ref(planned.stage.ref.format(partition=manifest.partition), manifest.reference)
    if planned.stage.post_commit:
        load_function(planned.stage.post_commit)(bus, manifest, progress)


def produce(bus: Bus, planned: Plan, progress: Progress) -> Manifest:
    """Fetch the inputs, or the shards, run the stage's function in a folder of its own, upload and commit."""
    shards = find_shards(bus, planned) if planned.parts else []
    work = Path(tempfile.mkdtemp(prefix=f"{planned.stage.name}-", dir=scratch_folder()))
    clock = Clock()
    try:
        job = make_job(bus, planned, work, progress, shards)
        entry = planned.stage.gather.entry if planned.stage.gather and shards else planned.stage.entry
        outcome = clock.time(lambda: load_function(entry)(job))  # a stage's imports are part of its work
        return commit(bus, planned, job, outcome, clock)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def find_shards(bus: Bus, planned: Plan) -> Sequence[Manifest]:
    """The manifests of the shards that a plan gathers.

    Raises:
        BadInput: some are not committed; names them.
    """
    found = in_threads(bus.find, planned.parts)
    shards = all_shards(len(found))
    missing = [shard for shard, manifest in zip(shards, found, strict=True) if manifest is None]
    if missing:
        partition = split_reference(planned.reference)[1]
        raise BadInput(
            f"{planned.stage.name} of {partition}: {len(missing)} of {len(found)} shards are not there "
            f"({name_shards(missing)}): make each with --shard {missing[0]} and the same config"
        )
    return [manifest for manifest in found if manifest]


def dry_run(bus: Bus, planned: Plan, progress: Progress, work: Path) -> tuple[Sequence[File], Outcome]:
    """Run the stage's function in folder `work` without committing anything; the files it made, and what it said."""
    job = replace(make_job(bus, planned, work, progress), dry_run=True, checkpoints=NoCheckpoints())
    outcome: Outcome = load_function(planned.stage.entry)(job)
    return describe_files(job.output), outcome


def scratch_folder() -> Path | None:
    """Where stages work: `SIM2EDGE_SCRATCH`, or the system's temporary folder.

    Raises:
        BadInput: the folder cannot be made.
    """
    named = os.environ.get("SIM2EDGE_SCRATCH")
    if not named:
        return None
    try:
        Path(named).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"SIM2EDGE_SCRATCH '{named}': {error.strerror}") from error
    return Path(named)


class Clock:
    """When a run started, and what it has taken so far."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self._start = time.monotonic()
        self._work = 0.0

    def time(self, work: Callable[[], Outcome]) -> Outcome:
        """Run the stage's own function, remembering how long it took."""
        start = time.monotonic()
        try:
            return work()
        finally:
            self._work = time.monotonic() - start

    def cost(self, bytes_in: int, bytes_out: int) -> Cost:
        """The cost up to now."""
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Cost(
            wall_s=round(time.monotonic() - self._start, 3),
            work_s=round(self._work, 3),
            cpu_s=round(sum(each.ru_utime + each.ru_stime for each in usage), 3),
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )


def make_job(
    bus: Bus, planned: Plan, work: Path, progress: Progress, shards: Sequence[Manifest] = ()
) -> Job[StageConfig]:
    """Fetch the inputs, or else the shards to gather, into `work` and lay out the folders of a run."""

    def fetch(manifests: Iterable[Manifest], role: str, patterns: Sequence[str]) -> list[Artifact]:
        folders = (work / "inputs" / role / str(index) for index in count())
        return [bus.fetch(m, folder, patterns) for m, folder in zip(manifests, folders, strict=False)]

    stage = planned.stage
    parts = fetch(shards, "parts", stage.gather.files if stage.gather else ())
    needed = {} if shards else planned.inputs
    inputs = {role: fetch(map(bus.open, names), role, stage.inputs[role].files) for role, names in needed.items()}
    partition = split_reference(planned.reference)[1]
    delivered = fetch_delivery(bus, planned, partition, work) if stage.deliver else None
    output, scratch, measurements = work / "output", work / "scratch", work / "measurements"
    for folder in (output, scratch, measurements):
        folder.mkdir()
    return Job(
        config=planned.config,
        partition=partition,
        reference=planned.reference,
        inputs=inputs,
        output=output,
        scratch=scratch,
        measurements=measurements,
        progress=progress,
        checkpoints=BusCheckpoints(bus, planned.reference),
        shard=planned.shard,
        inbox=delivered,
        parts=parts,
    )


def fetch_delivery(bus: Bus, planned: Plan, partition: str, work: Path) -> Path:
    """Fetch the batch of the inbox that the plan was made for."""
    assert isinstance(planned.config, inbox.InboxConfig)  # noqa: S101 (`pin` saw to it; tells the type checker)
    return inbox.fetch(bus, partition, planned.config.ready, work / "inputs" / "inbox")


def commit(bus: Bus, planned: Plan, job: Job[StageConfig], outcome: Outcome, clock: Clock) -> Manifest:
    """Upload what the run left in its output folder and commit it.

    Returns:
        the manifest on the bus: this run's, or that of a run that was first.
    """
    kind, partition, identity = split_reference(planned.reference)
    attempt = uuid.uuid4().hex[:12]
    if (job.output / MEASUREMENTS).exists():
        raise RuntimeError(f"{planned.stage.name}: payload '{MEASUREMENTS}': measurements belong into job.measurements")
    files = bus.upload(planned.reference, attempt, job.output)
    measurements = bus.upload(planned.reference, f"{attempt}/{MEASUREMENTS}", job.measurements)
    resolved = configs.resolve(planned.config)
    fetched = sum(f.stat().st_size for f in (job.output.parent / "inputs").rglob("*") if f.is_file())
    cost = clock.cost(fetched, sum(file.bytes for file in files))
    manifest = Manifest(
        kind=kind,
        partition=partition,
        id=identity,
        stage=planned.stage.name,
        version=planned.stage.version,
        config=resolved,
        config_hash=configs.digest(resolved),
        seed=resolved.get("seed"),
        inputs={role: list(references) for role, references in planned.inputs.items()},
        parts=list(planned.parts),
        shard=str(planned.shard) if planned.shard else None,
        attempt=attempt,
        files=list(files),
        measurements=list(measurements),
        same_bytes=planned.stage.deterministic(planned.config),
        summary=dict(outcome.summary),
        refused=outcome.refused,
        environment=describe_environment(extra_of(planned.stage.name)),
        started=clock.started,
        finished=datetime.now(UTC),
        cost=sum((part.manifest.cost for part in job.parts), cost),
    )
    committed = bus.commit(manifest)
    bus.delete(bus.list(f"{planned.reference}/checkpoints"))
    return committed


class NoCheckpoints:
    """Of a run that nobody goes on with, and that may not find what another one left."""

    def save(self, path: Path) -> None:
        """Keep nothing."""

    def restore(self, name: str, into: Path) -> None:
        """Find nothing."""


class BusCheckpoints:
    """Checkpoints below the artifact's own folder, where readers never look."""

    def __init__(self, bus: Bus, reference: str) -> None:
        self._bus = bus
        self._folder = f"{reference}/checkpoints"

    def save(self, path: Path) -> None:
        """See `sim2edge.stage.Checkpoints`."""
        self._bus.put(f"{self._folder}/{path.name}", path)

    def restore(self, name: str, into: Path) -> Path | None:
        """See `sim2edge.stage.Checkpoints`."""
        key = f"{self._folder}/{name}"
        if self._bus.size(key) is None:
            return None
        target = into / name
        with target.open("wb") as out:
            for chunk in self._bus.stream(key):
                out.write(chunk)
        return target
