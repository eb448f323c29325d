"""Carry out a plan: fetch, run, commit, run the post-commit hook.

A stage that declares how to `gather` can be run in shards, by several runs anywhere: each shard is an artifact, and
one more run combines them into the stage's artifact, under the id it has when it is made by one run.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from pydantic_core import to_json

from sim2edge import config as configs
from sim2edge.alternates import FOLDER as ALTERNATES
from sim2edge.alternates import choose_ref
from sim2edge.bookkeeping import BusCheckpoints, Clock, NoCheckpoints
from sim2edge.bus import Bus, describe_files, in_threads
from sim2edge.config import StageConfig
from sim2edge.discovery import distribution_name
from sim2edge.environment import describe_environment
from sim2edge.errors import BadInput, Misconfigured, Terminated
from sim2edge.lines import describe_error
from sim2edge.manifest import MEASUREMENTS, File, Manifest, split_reference
from sim2edge.plan import Plan
from sim2edge.shards import all_shards, name_shards
from sim2edge.stage import Artifact, Job, Outcome, Progress, load_function
from sim2edge.withdrawal import check_run


def execute(bus: Bus, planned: Plan, progress: Progress) -> Manifest:
    """Return the plan's artifact, producing it first if it is not committed, and run the post-commit steps.

    Raises:
        BadInput: bad data in an input, or the scratch folder is full.
    """
    manifest = planned.manifest or produce(bus, planned, progress)
    finalize(bus, planned, manifest, progress)
    return manifest


def finalize_cached(bus: Bus, planned: Plan, progress: Progress) -> bool:
    """Run the post-commit steps of a cached artifact, if the light core is enough for them.

    Returns:
        whether they ran; False: the artifact is not committed yet, or the stage has a hook of its own, which needs its
        libraries (`execute`).
    """
    if planned.manifest is None or planned.stage.post_commit:
        return False
    finalize(bus, planned, planned.manifest, progress)
    return True


def finalize(bus: Bus, planned: Plan, manifest: Manifest, progress: Progress) -> None:
    """Run the post-commit steps of an artifact, new or cached (idempotent).

    The catalog indexes it, the stage's ref is moved to it, or that of an alternate, and the stage's own hook, which
    needs the stage's libraries, runs. A shard is only indexed.
    """
    bus.index(manifest)
    if planned.shard:
        return
    if ref := choose_ref(bus, planned.stage, manifest, planned.config, replace=planned.replace):
        bus.move_ref(ref, manifest.reference)
        if ref.startswith(ALTERNATES):
            progress.log(f"kept beside the data of its batch, which trainings read: {ref}")
    if planned.stage.post_commit:
        load_function(planned.stage.post_commit)(bus, manifest, progress)


def produce(bus: Bus, planned: Plan, progress: Progress) -> Manifest:
    """Fetch the inputs, or the shards, run the stage's function in a temporary folder, upload and commit.

    Raises:
        Misconfigured: the S3 server ignores conditions, so the commit would be worth nothing.
    """
    bus.check_conditions()
    shards = find_shards(bus, planned) if planned.parts else []
    work = Path(tempfile.mkdtemp(prefix=f"{planned.stage.name}-", dir=scratch_folder()))
    clock = Clock()
    try:
        job = make_job(bus, planned, work, progress, shards)
        entry = planned.stage.gather.entry if planned.stage.gather and shards else planned.stage.entry
        outcome = clock.time(lambda: run_function(entry, job))  # a stage's imports are part of its work
        return commit(bus, planned, job, outcome, clock)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def find_shards(bus: Bus, planned: Plan) -> Sequence[Manifest]:
    """Return the manifests of the shards that a plan gathers.

    Raises:
        BadInput: some are not committed; the message names them.
    """
    found = in_threads(bus.find, planned.parts)
    shards = all_shards(len(found))
    missing = [shard for shard, manifest in zip(shards, found, strict=True) if manifest is None]
    if missing:
        partition = split_reference(planned.reference)[1]
        raise BadInput(
            f"{planned.stage.name} of {partition}: {len(missing)} of {len(found)} shards are missing "
            f"({name_shards(missing)}): make each with --shard {missing[0]} and the same config"
        )
    return [manifest for manifest in found if manifest]


def dry_run(bus: Bus, planned: Plan, progress: Progress, work: Path) -> tuple[Sequence[File], Outcome]:
    """Run the stage's function in folder `work` without committing; return its files and outcome."""
    job = replace(make_job(bus, planned, work, progress), dry_run=True, checkpoints=NoCheckpoints())
    outcome = run_function(planned.stage.entry, job)
    return describe_files(job.output), outcome


def run_function(entry: str, job: Job[StageConfig]) -> Outcome:
    """Run a stage's function and check what it returns.

    Raises:
        BadInput: there is no such function, or it returns no valid outcome, or it calls `sys.exit`, whose code would be
            taken for that of a run: another run would do the same.
    """
    try:
        outcome: object = load_function(entry)(job)
    except Terminated:
        raise
    except SystemExit as error:
        raise BadInput(f"{entry} ended the process: {describe_error(error)}") from error
    if problem := find_outcome_problem(outcome):
        raise BadInput(f"{entry} returned {problem}")
    assert isinstance(outcome, Outcome)  # noqa: S101 - else there is a problem
    return outcome


def find_outcome_problem(outcome: object) -> str | None:
    """Return what is wrong with the value that a stage's function returned; None when nothing is."""
    if not isinstance(outcome, Outcome):
        return f"a {type(outcome).__name__}, not a sim2edge.stage.Outcome"
    if not isinstance(outcome.summary, Mapping):
        return f"a summary that is a {type(outcome.summary).__name__}, not a dict"
    if not isinstance(outcome.refused, str | None):
        return f"refused={outcome.refused!r}: expected the reason, or None"
    for name, value in outcome.summary.items():
        if not isinstance(name, str):
            return f"a summary with the key {name!r}: expected words"
        try:
            to_json(value)
        except ValueError as error:  # of pydantic, which writes the manifest
            return f"a summary that is not JSON: '{name}': {error}"
    return None


def scratch_folder() -> Path | None:
    """Return the folder for temporary files of stages: `SIM2EDGE_SCRATCH`, or None for the system's.

    Raises:
        Misconfigured: the folder cannot be created.
    """
    named = os.environ.get("SIM2EDGE_SCRATCH")
    if not named:
        return None
    try:
        Path(named).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"SIM2EDGE_SCRATCH '{named}': {error.strerror}") from error
    return Path(named)


def make_job(
    bus: Bus, planned: Plan, work: Path, progress: Progress, shards: Sequence[Manifest] = ()
) -> Job[StageConfig]:
    """Fetch the inputs, or else the shards to gather, into `work` and create the folders of a run."""

    def fetch(manifests: Iterable[Manifest], role: str, patterns: Sequence[str]) -> list[Artifact]:
        folders = (work / "inputs" / role / str(index) for index in count())
        return [bus.fetch(m, folder, patterns) for m, folder in zip(manifests, folders, strict=False)]

    stage = planned.stage
    parts = fetch(shards, "parts", stage.gather.files if stage.gather else ())
    needed = {} if shards else planned.inputs
    inputs = {role: fetch(map(bus.open, names), role, stage.inputs[role].files) for role, names in needed.items()}
    partition = split_reference(planned.reference)[1]
    source = fetch_source(bus, planned, work / "inputs" / "source") if stage.source else None
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
        source=source,
        parts=parts,
    )


def fetch_source(bus: Bus, planned: Plan, folder: Path) -> Path | None:
    """Fetch what the stage reads besides artifacts, as the plan has resolved it."""
    source, partition = planned.stage.source, split_reference(planned.reference)[1]
    if source:
        load_function(source.fetch)(bus, planned.config, partition, folder)
    return folder if source else None


def commit(bus: Bus, planned: Plan, job: Job[StageConfig], outcome: Outcome, clock: Clock) -> Manifest:
    """Upload the run's output folder and commit it.

    Returns:
        the manifest on the bus: this run's, or that of the run that was first.

    Raises:
        BadInput: the payload has a folder of the name that measurements get, or a batch was withdrawn meanwhile.
    """
    kind, partition, identity = split_reference(planned.reference)
    try:
        check_run(bus, planned.stage.name, planned.inputs, partition)
    except BadInput:
        bus.delete(bus.list(f"{planned.reference}/checkpoints"))
        raise
    attempt = uuid.uuid4().hex[:12]
    if (job.output / MEASUREMENTS).exists():
        raise BadInput(f"{planned.stage.name}: payload '{MEASUREMENTS}': measurements belong in job.measurements")
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
        environment=describe_environment(planned.stage.extra, distribution_name(planned.stage.name)),
        started=clock.started,
        finished=datetime.now(UTC),
        cost=sum((part.manifest.cost for part in job.parts), cost),
    )
    committed = bus.commit(manifest)
    bus.delete(bus.list(f"{planned.reference}/checkpoints"))
    return committed
