"""The stage contract: what a stage declares, what its function gets, and what it gives back.

A stage is a package whose `STAGE` declares it; an entry point of the group `sim2edge.stages` makes it known
(`stages.py`). Everything else follows from the declaration: access, credentials, image, pages, command line. Its
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
class Grants:
    """What may be done in the bucket: patterns of keys; `*` stands for any characters, slashes included."""

    read: Sequence[str] = ()
    """Get and list."""
    write: Sequence[str] = ()
    """Put, over an older object, too."""
    create: Sequence[str] = ()
    """Put where nothing is yet; SeaweedFS does not know the difference, and lets the object be replaced."""
    delete: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """What a stage reads besides artifacts, such as a batch of the inbox; `"module:function"` strings."""

    pin: str
    """`pin(bus, stage, config, partition) -> config`: names in the config what is there now, so that it decides the id;
    runs when a plan is made, in the light core."""
    pins: Sequence[str]
    """The fields that `pin` fills in: whoever carries the plan out is given their values, and does not look again."""
    fetch: str
    """`fetch(bus, config, partition, folder)`: downloads and checks it, for `job.source`."""
    deliver: str | None = None
    """`deliver(bus, partition, folder, config, progress)`: puts a folder there that the command line names."""


@dataclass(frozen=True)
class Shown:
    """What the pages show of what a stage makes."""

    figures: Mapping[str, str] = field(default_factory=dict)
    """Figures kept of every artifact's summary, numbers or words: name to where it is, `splits.train.frames`."""
    headline: Callable[[Mapping[str, Any]], str] = lambda _: ""
    """The one figure that says how good it is, from `figures`; one that is missing leaves it empty."""
    report: str | None = None
    """The file to look at first."""


def named(*names: str) -> Mapping[str, str]:
    """Return `Shown.figures` of fields that lie at the top of the summary, under their own names."""
    return dict(zip(names, names, strict=True))


@dataclass(frozen=True)
class Image:
    """How the stage's image is built (`containers/Dockerfile`, docs/images.md)."""

    parent: str = "core"
    """What its packages come on top of: `core`, `vision`, `rendering`, `tables`, `learning` or `tracked`."""
    extra: str | None = None
    """The extra of its distribution that it runs on; None: that of the stage's name."""


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
    source: Source | None = None
    """Of a stage that reads something besides artifacts."""
    instead_of: str | None = None
    """The stage whose kind of artifact it makes in another way: it shares that one's column in the pages."""
    grants: Grants = Grants()
    """What its hooks (`choose`, `post_commit`, `source`) touch in the bucket besides its inputs, its kind, its ref."""
    signs: bool = False
    """Whether it is given the keys that releases are signed with."""
    tracked: bool = False
    """Whether its runs are in MLflow, under `summary["mlflow"]`."""
    shown: Shown = Shown()
    image: Image = Image()

    @property
    def extra(self) -> str:
        """The name of the extra whose packages it runs on."""
        return self.image.extra or self.name


@dataclass(frozen=True)
class Artifact:
    """An input on local disk: its manifest and the folder that holds its verified files."""

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
    source: Path | None = None
    """What the stage's `source` fetched, for a stage that has one."""
    parts: Sequence[Artifact] = ()
    """To a gather function: the shards, in order, with the files it asked for."""

    def share(self, units: int) -> range:
        """Return the indices of the units of work, out of `units`, that are this run's."""
        return self.shard.share(units) if self.shard else range(units)

    def input(self, role: str) -> Artifact:
        """Return the only artifact of a role that takes one."""
        (artifact,) = self.inputs[role]
        return artifact


@dataclass(frozen=True)
class Outcome:
    """What a stage gives back besides its files: counts and metrics (JSON), and why a gate refused, if one did."""

    summary: Mapping[str, Any]
    refused: str | None = None


def load_function(path: str) -> Callable[..., Any]:
    """Return the function behind a `"module:function"` string of a `Stage`."""
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
