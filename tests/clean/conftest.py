"""What the tests of cleaning share: a way to run the stage on a folder of episodes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import settings

from sim2edge.clean.config import CleanConfig
from sim2edge.clean.run import run
from sim2edge.manifest import Cost, Manifest
from sim2edge.progress import JsonProgress
from sim2edge.stage import Artifact, Job

settings.register_profile("no deadline", deadline=None)  # the machine may be busy
settings.load_profile("no deadline")


class Cleaned:
    """What a run left behind."""

    def __init__(self, folder: Path, summary: Any) -> None:
        self.folder = folder
        self.summary = summary

    @property
    def rows(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "frames.parquet").to_pylist()

    @property
    def quarantine(self) -> list[str]:
        return (self.folder / "quarantine.csv").read_text().splitlines()[1:]

    def read(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


def make_manifest(kind: str, partition: str) -> Manifest:
    cost = Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0)
    return Manifest(
        kind=kind, partition=partition, id="0" * 16, stage="capture", version=1, config={}, config_hash="", inputs={},
        attempt="a", files=[], summary={}, environment={}, started=0, finished=0, cost=cost,
    )  # fmt: skip


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    """An empty folder of episodes."""
    folder = tmp_path / "episodes"
    folder.mkdir()
    return folder


@pytest.fixture
def clean(batch: Path, tmp_path: Path) -> Callable[..., Cleaned]:
    """Run the stage on `batch`; keyword arguments are config fields."""
    runs = iter(range(100))

    def call(**fields: Any) -> Cleaned:
        output = tmp_path / f"frames{next(runs)}"
        output.mkdir()
        job = Job(
            config=CleanConfig(**{"height": 30, "width": 40, **fields}),
            partition="toy",
            reference="frames/toy/" + "0" * 16,
            inputs={"episodes": [Artifact(make_manifest("episodes", "toy"), batch)]},
            output=output,
            scratch=tmp_path,
            measurements=tmp_path,
            progress=JsonProgress("clean"),
            checkpoints=None,  # type: ignore[arg-type]
        )
        return Cleaned(output, run(job).summary)

    return call
