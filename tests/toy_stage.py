"""A small stage for tests of the bus and the runner: writes a number of lines, from a config or from inputs."""

import os
import time
from pathlib import Path

from pydantic import Field

from sim2edge.config import StageConfig
from sim2edge.errors import BadInput
from sim2edge.stage import Gather, Input, Job, Outcome, Stage


class Range(StageConfig):
    """A nested config."""

    low: float = Field(default=0.0, description="lower end, m")
    high: float = Field(default=1.0, description="upper end, m")


class ToyConfig(StageConfig):
    """What the toy stage takes."""

    lines: int = Field(default=3, ge=0, le=1_000_000, description="lines to write")
    word: str = Field(default="word", description="what a line says")
    range: Range = Field(default=Range(), description="a nested config")
    refuse: bool = Field(default=False, description="refuse the result")
    fail: str = Field(default="", description="which way to fail: bad or bug")
    workers: int = Field(default=1, description="processes", json_schema_extra={"affects_cache_key": False})


def run(job: Job[ToyConfig]) -> Outcome:
    """Write `lines.txt`, and `nested/copies.txt` with what the inputs say."""
    if job.config.fail == "bad":
        raise BadInput("lines.txt: row 7: expected a number")
    if job.config.fail == "bug":
        raise RuntimeError("a bug")
    word = "changed" if "TOY_STAGE_CHANGED" in os.environ else job.config.word
    (job.output / "lines.txt").write_text("".join(f"{word}\n" for _ in job.share(job.config.lines)))
    copies = [artifact.path("lines.txt").read_text() for artifact in job.inputs.get("episodes", ())]
    (job.output / "nested").mkdir()
    (job.output / "nested" / "copies.txt").write_text("".join(copies))
    if "TOY_STAGE_STRAYS" in os.environ:
        (job.output / "measurements").mkdir()
    (job.measurements / "clock.txt").write_text(str(time.time_ns()))
    job.progress.update(job.config.lines, job.config.lines, loss=0.5)
    more = os.environ.get("TOY_STAGE_MORE")
    refused = job.config.refuse and more is None
    return Outcome({"lines": job.config.lines + int(more or 0)}, "too many lines" if refused else None)


def gather(job: Job[ToyConfig]) -> Outcome:
    """Join the `lines.txt` of the shards."""
    lines = "".join(part.path("lines.txt").read_text() for part in job.parts)
    (job.output / "lines.txt").write_text(lines)
    (job.output / "nested").mkdir()
    (job.output / "nested" / "copies.txt").touch()
    return Outcome({"lines": len(lines.splitlines())})


SOURCE = Stage(
    "capture",
    1,
    "episodes",
    ToyConfig,
    f"{__name__}:run",
    ref="refs/batches/{partition}",
    gather=Gather("lines", f"{__name__}:gather", ("lines.txt",)),
)
STEP = Stage(
    "clean",
    1,
    "frames",
    ToyConfig,
    f"{__name__}:run",
    {"episodes": Input("episodes", default="refs/batches/{partition}")},
    ref="refs/frames/{partition}",
)
GATHER = Stage(
    "augment",
    1,
    "dataset",
    ToyConfig,
    f"{__name__}:run",
    {"episodes": Input("episodes", many=True, default="refs/batches/*")},
)
STAGES = {stage.name: stage for stage in (SOURCE, STEP, GATHER)}


def files_below(folder: Path) -> set[str]:
    """Relative paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
