"""The files of a stage that nobody has yet, as docs/stages.md has them: one of ours, or of somebody else's package."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

DECLARATION = '''"""Heat: counts where obstacles are seen.

sim2edge heat --partition demo-1
sim2edge heat --partition demo-1 cells=4
"""

from {package}.config import HeatConfig
from sim2edge.stage import Image, Input, Shown, Stage, named

STAGE = Stage(
    name="heat",
    version=1,
    produces="heatmap",
    config=HeatConfig,
    entry="{package}.run:run",
    inputs={{"frames": Input("frames", default="refs/frames/{{partition}}", files=("frames.csv",))}},
    ref="refs/heatmaps/{{partition}}",
    shown=Shown(named("hottest"), lambda figures: f"hottest {{figures['hottest']}}", report="heat.json"),
    image=Image(parent="vision"{extra}),
)
'''
CONFIG = '''"""The heat stage's config."""

from pydantic import Field

from sim2edge.config import StageConfig


class HeatConfig(StageConfig):
    """What is counted."""

    cells: int = Field(default=8, ge=1, le=64, description="cells along a side of the image")
'''
RUN = '''"""The heat stage's function."""

import json

from sim2edge.stage import Job, Outcome
from {package}.config import HeatConfig


def run(job: Job[HeatConfig]) -> Outcome:
    """Count the rows of the frames in each cell."""
    rows = job.input("frames").path("frames.csv").read_text().splitlines()
    counts = [0] * job.config.cells
    for row in rows:
        counts[int(float(row) * job.config.cells)] += 1
    (job.output / "heat.json").write_text(json.dumps(counts))
    return Outcome({{"rows": len(rows), "hottest": max(counts)}})
'''
TEST = """from sim2edge.stages import get_stage


def test_it_is_declared():
    assert get_stage("heat").produces == "heatmap"
"""
PROJECT = """[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "acme-heat"
version = "1.0"
dependencies = ["sim2edge"]

[project.optional-dependencies]
run = []

[project.entry-points."sim2edge.stages"]
heat = "acme_heat:STAGE"
{more}"""


def write_package(folder: Path, package: str, extra: str = "") -> None:
    """Write the three files of the stage into `folder`, which is that of the package called so."""
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(DECLARATION.format(package=package, extra=extra))
    (folder / "config.py").write_text(CONFIG)
    (folder / "run.py").write_text(RUN.format(package=package))


def lay_out_foreign(site: Path) -> Path:
    """Lay acme-heat out as it is when installed, where nothing can build; the folder to have on the path."""
    write_package(site / "acme_heat", "acme_heat", extra=', extra="run"')
    meta = site / "acme_heat-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-heat\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[sim2edge.stages]\nheat = acme_heat:STAGE\n")
    return site


def install_foreign(place: Path, more: str = "") -> Path:
    """Build acme-heat's wheel and unpack it, as an installer does; the folder to have on the path."""
    write_package(place / "project" / "acme_heat", "acme_heat", extra=', extra="run"')
    (place / "project" / "pyproject.toml").write_text(PROJECT.format(more=more))
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, place], cwd=place / "project", check=True, capture_output=True, timeout=60
    )
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")
    return place / "site"


def commit_frames(bus, partition: str, folder: Path) -> str:
    """Commit frames for the stage to read, and let the batch's ref name them."""
    from datetime import UTC, datetime

    from sim2edge.manifest import Cost, Manifest

    folder.mkdir()
    (folder / "frames.csv").write_text("0.1\n0.1\n0.9\n")
    reference, now = f"frames/{partition}/0123456789abcdef", datetime(2026, 1, 2, tzinfo=UTC)
    bus.commit(
        Manifest(
            kind="frames",
            partition=partition,
            id="0123456789abcdef",
            stage="clean",
            version=2,
            config={},
            config_hash="0",
            inputs={},
            attempt="a-1",
            summary={},
            environment={},
            started=now,
            finished=now,
            cost=Cost(wall_s=1, work_s=1, cpu_s=1, bytes_in=0, bytes_out=9),
            files=list(bus.upload(reference, "a-1", folder)),
        )
    )
    bus.move_ref(f"refs/frames/{partition}", reference)
    return reference


FACTS = """
import json
from sim2edge.access import grants_of
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog, headline
from sim2edge.stages import kinds, stage_names
bus = Bus.from_environment()
catalog = Catalog(bus)
catalog.refresh()
grants = grants_of("heat")
print(json.dumps({
    "order": stage_names(),
    "kinds": kinds(),
    "reads": grants.read,
    "writes": grants.write,
    "airflow": grants_of("airflow").write,
    "cells": [headline(record) for record in catalog.records() if record.kind == "heatmap"],
}))
"""


def events(text: str) -> list[dict]:
    """The JSON lines that a command printed."""
    return [json.loads(line) for line in text.splitlines()]
