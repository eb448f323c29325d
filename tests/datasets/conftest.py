"""Fixtures: the environments of the other projects, and our commands on a real S3 server."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from captured_batch import capture_batch as capture_batch

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.episodes.moment import Command

ROOT = Path(__file__).parents[2]
Side = Callable[..., str]


def side(name: str) -> Side:
    """Run `<name>_side.py` in the environment of its library; return what it prints."""
    python = ROOT / "build/ci/datasets" / name / "bin/python"
    if not python.exists():
        reason = f"ci/datasets.sh installs {name}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)

    def run(*words: object) -> str:
        script = Path(__file__).parent / f"{name}_side.py"
        done = subprocess.run([python, script, *map(str, words)], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def lerobot() -> Side:
    return side("lerobot")


@pytest.fixture(scope="session")
def donkeycar() -> Side:
    return side("donkeycar")


@pytest.fixture
def command(s3: Bus, monkeypatch, capsys) -> Callable[..., list[str]]:
    """Run `sim2edge WORDS...`; return the lines it prints."""
    monkeypatch.delenv("SIM2EDGE_PRESET", raising=False)

    def run(*words: object) -> list[str]:
        code = cli.main([*map(str, words)])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out.splitlines()

    return run


@pytest.fixture
def ticks(s3: Bus, tmp_path: Path) -> Callable[[str], dict[str, list]]:
    """Fetch a batch and return the ticks of each of its episodes, by id."""
    from sim2edge.convert.episodes import list_episodes

    def read(batch: str) -> dict[str, list]:
        manifest = s3.open(s3.resolve(f"refs/batches/{batch}"))
        folder = s3.fetch(manifest, tmp_path / f"fetched-{batch}").folder
        return {each.folder.name: list(each.ticks()) for each in list_episodes(folder, only_successful=False)}

    return read


def commands(ticks: list) -> np.ndarray:
    found: list[Command] = [tick.command for tick in ticks]
    return np.array(found)
