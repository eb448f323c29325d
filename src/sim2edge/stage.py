"""The stage contract: what a stage declares, what its function gets, and what it gives back.

A stage is a package `sim2edge.<name>` whose `STAGE` names its config, its inputs and the kind of artifact it makes. Its
function gets a `Job` and leaves files in `job.output`; it knows neither Airflow nor S3. `runner.py` does the rest.

    def run(job: Job[CleanConfig]) -> Outcome:
        for episodes in job.inputs["episodes"]:
            ...
            job.progress.update(done, total, kept=kept)
        return Outcome({"frames": kept})
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sim2edge.config import StageConfig
from sim2edge.errors import BadInput
from sim2edge.shards import Shard

if TYPE_CHECKING:
    from sim2edge.manifest import Manifest

STAGE_NAMES = ("capture", "clean", "augment", "train", "validate", "export", "push")
"""The chain, in its order."""
SIDE_STAGES = {"ingest": "sim2edge.capture.ingest"}
"""Stages beside the chain, which do the work of one of them in another way: their packages, below that one's."""

C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True)
class Input:
    """One role a stage reads: which kind, how many, and the ref (or `refs/.../*`) used when none is named."""

    kind: str
    many: bool = False
    optional: bool = False
    default: str | None = None
    files: Sequence[str] = ("*",)
    """Glob patterns of the payload files to fetch; the rest of the artifact is not downloaded."""


@dataclass(frozen=True)
class Gather:
    """How a stage's work is cut into shards, and how the shards become the artifact."""

    units: str
    """The field of the config that counts what is shared out."""
    entry: str
    """`"module:function"`: gets a `Job` whose `parts` are the shards, leaves the files that only the whole has."""
    files: Sequence[str] = ("*",)
    """Glob patterns of the shards' files that `entry` reads; the rest is not downloaded."""


@dataclass(frozen=True)
class Stage:
    """A stage as declared in `sim2edge/<name>/__init__.py`. Light to import: heavy code is named, not imported.

    `entry`, `resolve`, `choose` and `post_commit` are `"module:function"` strings:
    `ref` is the pointer that names the stage's latest artifact (`{partition}` is filled in).

    `entry(job) -> Outcome` does the work. Two hooks run when a plan is made, before the id is computed, in the light
    core: `resolve(config) -> config` fills in what the deployment declares, such as tables of `conf/` (idempotent);
    `choose(bus, references) -> references` may adjust which inputs are used. `post_commit(bus, manifest, progress)`
    carries an effect outside the artifact (moves refs, publishes): it runs after the commit and again at every cache
    hit, so it has to be idempotent.
    """

    name: str
    version: int
    produces: str
    config: type[StageConfig]
    entry: str
    inputs: Mapping[str, Input] = field(default_factory=dict)
    deterministic: Callable[[Any], bool] = lambda _: True
    """Whether another run with this config gives the same bytes."""
    tolerances: Mapping[str, float] = field(default_factory=dict)
    """Where it does not: how far figures of the summary may differ from run to run, in their own unit."""
    ref: str | None = None
    resolve: str | None = None
    choose: str | None = None
    post_commit: str | None = None
    gather: Gather | None = None
    """Of a stage whose work may be shared out to several runs."""
    deliver: str | None = None
    """Of a stage that works on a batch of the inbox (its config is an `InboxConfig`): `deliver(bus, batch, folder,
    config, progress)` puts a folder that the command line names there."""


@dataclass(frozen=True)
class Artifact:
    """An input on local disk: its manifest and the folder that holds its verified files."""

    manifest: "Manifest"
    folder: Path

    def path(self, name: str) -> Path:
        """The local path of payload file `name`.

        Raises:
            BadInput: the artifact has no such file.
        """
        path = self.folder / name
        if not path.is_file():
            raise BadInput(f"{self.manifest.reference}: has no file '{name}'")
        return path


class Progress(Protocol):
    """Where a stage says how far it is: a bar on a terminal, one JSON object a line elsewhere."""

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """`done` of `total` units of work are finished; `metrics` are shown beside them."""

    def log(self, message: str, **fields: object) -> None:
        """Say one sentence."""


class Checkpoints(Protocol):
    """Files that outlive a killed run of the same artifact id; removed when the artifact is committed."""

    def save(self, path: Path) -> None:
        """Keep a copy of the file under its name, replacing an older one."""

    def restore(self, name: str, into: Path) -> Path | None:
        """Fetch the kept file `name` into folder `into`; None when there is none."""


@dataclass(frozen=True)
class Job(Generic[C]):
    """All that a stage's function gets."""

    config: C
    partition: str
    reference: str
    """`<kind>/<partition>/<id>` of the artifact being made."""
    inputs: Mapping[str, Sequence[Artifact]]
    """Role to artifacts; an optional role that was not given is an empty sequence."""
    output: Path
    """An empty folder; every file left in it becomes payload, under its relative path."""
    scratch: Path
    """A folder that is removed afterwards."""
    measurements: Path
    """An empty folder for what another run would measure otherwise (times, latencies): kept beside the payload."""
    progress: Progress
    checkpoints: Checkpoints
    dry_run: bool = False
    """The run is compared with an earlier one and thrown away: it tells nobody, and needs no key to publish with."""
    shard: Shard | None = None
    """Which share of the work this run does; None: all of it."""
    inbox: Path | None = None
    """The checked files of a batch of the inbox, `READY.json` included, for a stage that works on one."""
    parts: Sequence[Artifact] = ()
    """To a gather function: the shards, in order, with the files it asked for."""

    def share(self, units: int) -> range:
        """The indices of the units of work, out of `units`, that are this run's."""
        return self.shard.share(units) if self.shard else range(units)

    def input(self, role: str) -> Artifact:
        """The only artifact of a role that takes one."""
        (artifact,) = self.inputs[role]
        return artifact


@dataclass(frozen=True)
class Outcome:
    """What a stage gives back besides its files: counts and metrics (JSON), and why a gate refused, if one did."""

    summary: Mapping[str, Any]
    refused: str | None = None


def get_stage(name: str) -> Stage:
    """The stage called `name`.

    Raises:
        BadInput: there is no such stage.
    """
    if name not in (*STAGE_NAMES, *SIDE_STAGES):
        raise BadInput(f"stage '{name}' is not one of: {', '.join((*STAGE_NAMES, *SIDE_STAGES))}")
    stage: Stage = importlib.import_module(SIDE_STAGES.get(name, f"sim2edge.{name}")).STAGE
    return stage


def extra_of(name: str) -> str:
    """The optional dependencies, by the name of their extra, that the stage called `name` runs on."""
    return SIDE_STAGES.get(name, f"sim2edge.{name}").split(".")[1]


def load_function(path: str) -> Callable[..., Any]:
    """The function behind a `"module:function"` string of a `Stage`."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
