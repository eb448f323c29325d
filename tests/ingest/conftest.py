"""Fixtures of the ingest tests: the real command on the real S3 server, and what it leaves on the bus."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from captured_batch import batch as batch
from captured_batch import capture_batch as capture_batch

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.clean.episode_log import TOPICS, read_log
from sim2edge.manifest import Manifest


class Ingested:
    """What a run of the command said and left."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def committed(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return self.events[-1]

    @property
    def lines(self) -> list[str]:
        """What the stage said in words."""
        return [event["message"] for event in self.events if event["event"] == "log"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of logs to deliver."""
    made = tmp_path / "logs"
    made.mkdir()
    return made


@pytest.fixture
def ingest(s3: Bus, partition: str, capsys, tmp_path, monkeypatch) -> Callable[..., Ingested]:
    """Run `sim2edge ingest WORDS --partition <a new one>`, and see that it leaves no scratch."""
    scratch = tmp_path / "scratch"
    monkeypatch.setenv("SIM2EDGE_SCRATCH", str(scratch))
    monkeypatch.delenv("SIM2EDGE_PRESET", raising=False)

    def run(*words: object, batch: str = partition) -> Ingested:
        code = cli.main(["ingest", *map(str, words), "--partition", batch])
        assert not list(scratch.glob("*"))
        return Ingested(code, *capsys.readouterr())

    return run


@pytest.fixture
def fetch(s3: Bus, tmp_path: Path) -> Callable[[Ingested], tuple[Manifest, Path]]:
    """Fetch the artifact that a run committed."""

    def get(run: Ingested) -> tuple[Manifest, Path]:
        manifest = s3.open(run.committed["reference"])
        return manifest, s3.fetch(manifest, tmp_path / "fetched" / manifest.id).folder

    return get


def read_ticks(episode: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Log time and bytes of every message of an episode's log, by topic; labels may be absent."""
    try:
        log = read_log(episode / "simulation.mcap")
    except Exception as error:
        raise AssertionError(f"clean cannot read it: {error}") from error
    return {topic: list(zip(log[topic].times, log[topic].messages, strict=True)) for topic in TOPICS}
