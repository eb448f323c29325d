"""Hypothesis without deadlines, as the machine may be busy; the stage, run on batches."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.run import run
from sim2edge.progress import JsonProgress
from sim2edge.stage import Artifact, Job

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

SHARES: dict[str, Any] = {"validation": 0.25, "test": 0.25}


@pytest.fixture
def augment(tmp_path: Path):
    """Run the stage; the folder it leaves."""
    runs = iter(range(100))

    def call(*batches: Artifact, **fields: Any) -> Path:
        output = tmp_path / f"dataset{next(runs)}"
        output.mkdir()
        job = Job(
            config=AugmentConfig(**{**SHARES, **fields}),
            partition="one",
            reference="dataset/one/" + "0" * 16,
            inputs={"frames": batches},
            output=output,
            scratch=tmp_path,
            measurements=tmp_path,
            progress=JsonProgress("augment"),
            checkpoints=None,  # type: ignore[arg-type]
        )
        outcome = run(job)
        assert outcome.summary == json.loads((output / "dataset.json").read_text())
        return output

    return call
