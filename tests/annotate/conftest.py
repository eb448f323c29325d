"""The stage, run on a folder of annotated pictures."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.run import run
from sim2edge.other_batches import OTHERS
from sim2edge.progress import JsonProgress
from sim2edge.stage import Job


class Made:
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


@pytest.fixture
def annotate(tmp_path: Path) -> Callable[..., Made]:
    """Run the stage on a folder; keyword arguments are config fields."""
    runs = iter(range(100))

    def call(folder: Path, partition: str = "toy", **fields: Any) -> Made:
        output, source = tmp_path / f"frames{(number := next(runs))}", tmp_path / f"source{number}"
        output.mkdir()
        shutil.copytree(folder, source)
        (source / "READY.json").write_text("{}")
        (source / OTHERS).write_text("")
        job = Job(
            config=AnnotateConfig(**{"height": 30, "width": 40, "report_frames": 1, **fields}),
            partition=partition,
            reference=f"frames/{partition}/" + "0" * 16,
            inputs={},
            output=output,
            scratch=tmp_path,
            measurements=tmp_path,
            progress=JsonProgress("annotate"),
            checkpoints=None,  # type: ignore[arg-type]
            source=source,
        )
        return Made(output, run(job).summary)

    return call
