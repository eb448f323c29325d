"""Define the stage contract: what a stage declares, what its function receives, and what it returns.

A stage is a package whose `STAGE` declares it; an entry point of the group `sim2edge.stages` registers it
(`stages.py`). Everything else follows from the declaration: access, credentials, image, pages, command line. Its
function receives a `Job` and leaves files in `job.output`; it knows neither Airflow nor S3. `runner.py` does the rest.

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

C = TypeVar("C", bound=StageConfig)


@dataclass(frozen=True)
class Input:
    """An input role: kind, number, and the ref (or `refs/.../*`) used when no artifact is given."""

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
    """The field of the config that counts the units of work."""
    entry: str
    """`"module:function"`: receives a `Job` whose `parts` are the shards, leaves the files that only the whole has."""
    files: Sequence[str] = ("*",)
    """Glob patterns of the shards' files that `entry` reads; the rest is not downloaded."""


@dataclass(frozen=True)
class Grants:
    """Permissions in the bucket: patterns of keys; `*` matches any characters, slashes included."""

    read: Sequence[str] = ()
    """Get and list."""
    write: Sequence[str] = ()
    """Put, overwriting included."""
    create: Sequence[str] = ()
    """Put if the object does not exist; SeaweedFS does not support the condition, and allows overwriting."""
    delete: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """A stage's input besides artifacts, such as a batch of the inbox; `"module:function"` strings."""

    pin: str
    """`pin(bus, stage, config, partition) -> config`: records the current source in the config, so that it affects the
    id; runs during planning, in the light core."""
    pins: Sequence[str]
    """The fields that `pin` sets: the run that carries the plan out gets their values, already resolved."""
    fetch: str
    """`fetch(bus, config, partition, folder)`: downloads and checks the source, for `job.source`."""
    deliver: str | None = None
    """`deliver(bus, partition, folder, config, progress)`: uploads a folder given on the command line to the source."""
    files: Sequence[str] = ()
    """Glob patterns of files by which a delivery in the inbox is known to be for this stage; none: the default one."""


@dataclass(frozen=True)
class Shown:
    """What the pages show of a stage's artifacts."""

    figures: Mapping[str, str] = field(default_factory=dict)
    """Values kept of every artifact's summary, numbers or words: name to its path, `splits.train.frames`."""
    headline: Callable[[Mapping[str, Any]], str] = lambda _: ""
    """Returns the main quality figure, from `figures`; a missing figure leaves it empty."""
    report: str | None = None
    """The file to open first."""
    documented: str = ""
    """The page of `docs/` about the stage, without `.md`."""


def named(*names: str) -> Mapping[str, str]:
    """Return `Shown.figures` for top-level fields of the summary, under their own names."""
    return dict(zip(names, names, strict=True))


@dataclass(frozen=True)
class Image:
    """How the stage's image is built (`containers/Dockerfile`, docs/images.md)."""

    parent: str = "core"
    """The parent image of its packages: `core`, `vision`, `rendering`, `tables`, `learning` or `tracked`."""
    extra: str | None = None
    """The extra of its distribution that it requires; None: the stage's name."""


@dataclass(frozen=True)
class Stage:
    """A stage as declared in `sim2edge/<name>/__init__.py`. Light to import: heavy code is named, not imported.

    `entry`, `resolve`, `choose` and `post_commit` are `"module:function"` strings.
    `ref` is the pointer that names the stage's latest artifact (`{partition}` is filled in).

    `entry(job) -> Outcome` does the work. Two hooks run during planning, before the id is computed, in the light core:
    `resolve(config) -> config` fills in what the deployment declares, such as tables of `conf/` (idempotent);
    `choose(bus, references) -> references` may change the inputs. `post_commit(bus, manifest, progress)` has effects
    outside the artifact (moves refs, publishes): it runs after the commit and again at every cache hit, so it has to be
    idempotent.
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
    """If not: how far figures of the summary may differ from run to run, in their own unit."""
    ref: str | None = None
    resolve: str | None = None
    choose: str | None = None
    post_commit: str | None = None
    gather: Gather | None = None
    """For a stage whose work can be cut into shards."""
    source: Source | None = None
    """For a stage with an input besides artifacts."""
    instead_of: str | None = None
    """The stage that it is an alternative to: both make the same kind and share a column in the pages."""
    grants: Grants = Grants()
    """Bucket permissions of its hooks (`choose`, `post_commit`, `source`) besides its inputs, its kind, its ref."""
    signs: bool = False
    """Whether it gets the keys that sign releases."""
    tracked: bool = False
    """Whether its runs are in MLflow, under `summary["mlflow"]`."""
    shown: Shown = Shown()
    image: Image = Image()

    @property
    def extra(self) -> str:
        """The name of the extra whose packages it requires."""
        return self.image.extra or self.name


@dataclass(frozen=True)
class Artifact:
    """An input on local disk: its manifest and the folder with its verified files."""

    manifest: "Manifest"
    folder: Path

    def path(self, name: str) -> Path:
        """Return the local path of payload file `name`.

        Raises:
            BadInput: the artifact has no such file.
        """
        path = self.folder / name
        if not path.is_file():
            raise BadInput(f"{self.manifest.reference}: has no file '{name}'")
        return path


class Progress(Protocol):
    """Progress reports of a stage: a bar on a terminal, JSON lines elsewhere."""

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        """Report `done` of `total` units of work, with `metrics`."""

    def log(self, message: str, **fields: object) -> None:
        """Log a message."""


class Checkpoints(Protocol):
    """Files that outlive a killed run of the same artifact id; deleted when the artifact is committed."""

    def save(self, path: Path) -> None:
        """Keep a copy of the file under its name, replacing an older one."""

    def restore(self, name: str, into: Path) -> Path | None:
        """Fetch the saved file `name` into folder `into`; None when there is none."""


@dataclass(frozen=True)
class Job(Generic[C]):
    """The arguments of a stage's function."""

    config: C
    partition: str
    reference: str
    """`<kind>/<partition>/<id>` of the artifact being made."""
    inputs: Mapping[str, Sequence[Artifact]]
    """Role to artifacts; an optional role that was not given is an empty sequence."""
    output: Path
    """An empty folder; every file left in it becomes payload, under its relative path."""
    scratch: Path
    """A folder that is deleted afterwards."""
    measurements: Path
    """An empty folder for what differs from run to run (times, latencies): kept beside the payload."""
    progress: Progress
    checkpoints: Checkpoints
    dry_run: bool = False
    """The result is only compared with an earlier one: the run publishes nothing, and needs no key to publish with."""
    shard: Shard | None = None
    """The share of the work that this run does; None: all of it."""
    source: Path | None = None
    """The folder that the stage's `source` fetched, if it has one."""
    parts: Sequence[Artifact] = ()
    """For a gather function: the shards, in order, with the files it declares."""

    def share(self, units: int) -> range:
        """Return the indices of this run's units of work, out of `units`."""
        return self.shard.share(units) if self.shard else range(units)

    def input(self, role: str) -> Artifact:
        """Return the single artifact of a role."""
        (artifact,) = self.inputs[role]
        return artifact


@dataclass(frozen=True)
class Outcome:
    """The result of a stage besides its files: counts and metrics (JSON), and a gate's reason to refuse, if any."""

    summary: Mapping[str, Any]
    refused: str | None = None


def load_function(path: str) -> Callable[..., Any]:
    """Return the function that a `"module:function"` string of a `Stage` names.

    Raises:
        BadInput: its module has no such function.
    """
    module, _, name = path.partition(":")
    function: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise BadInput(f"'{path}': module '{module}' has no function '{name}'")
    return function
