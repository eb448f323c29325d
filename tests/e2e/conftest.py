"""A tiny but real pipeline on a real S3 server: every stage as the process, and with the keys, of production."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forwarder import Forwarder

from sim2edge.bus import Bus
from sim2edge.stages import chain

CHAIN = [stage.name for stage in chain()]

BATCH = "tiny-1"
TINY = {
    "capture": ["episodes=14", "episode_seconds=2", "room.obstacles=[4, 5]"],
    "clean": ["max_quarantined_fraction=0.9", "report_frames=4"],
    "augment": ["copies=1", "test=0.25", "validation=0.25"],
    "train": ["epochs=2", "batch_size=32"],
    "validate": [
        "floors.floor_accuracy=0",
        "floors.map_50=0",
        "floors.class_ap_50.default=0",
        "floors.floor_recall.default=0",
        "min_examples=1",
        "min_episodes=1",
    ],
    "export": [
        "parity_frames=20",
        "calibration_frames=16",
        "latency_rounds=3",
        "limits.min_floor_accuracy=0",
        "limits.max_floor_accuracy_drop=1",
        "limits.max_map50_drop=1",
        "limits.min_agreement=0",
    ],
    "push": [],
}
INPUTS = {
    "train": {"dataset": "augment"},
    "validate": {"model": "train", "dataset": "augment"},
    "export": {"model": "train", "verdict": "validate", "dataset": "augment"},
    "push": {"release": "export"},
}
"""Role to the stage that makes it; the other stages take their defaults."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict]:
        """The JSON lines it printed."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def committed(self) -> dict:
        """The event that names the artifact."""
        return next(event for event in reversed(self.events) if event["event"] == "committed")


class Pipeline:
    """Runs `sim2edge` commands against one S3 server: a stage with the keys of its role, the rest with the admin's.

    Without `role`, everything runs with the keys of `environment`.
    """

    def __init__(self, environment: dict[str, str], role: Callable[[str], dict[str, str]] = lambda _: {}) -> None:
        self.environment = environment
        self.references: dict[str, str] = {}
        self._role = role

    @property
    def bus(self) -> Bus:
        """The bus of this pipeline, for the process that tests."""
        os.environ.update(self.environment)
        return Bus.from_environment()

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `sim2edge words`."""
        command = [sys.executable, "-m", "sim2edge", *words]
        keys = self._role(words[0]) if words[0] in CHAIN else {}
        return subprocess.Popen(
            command,
            env=self.environment | keys,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> Ended:
        """Run `sim2edge words` to its end."""
        process = self.start(*words)
        out, err = process.communicate(timeout=280)
        return Ended(process.returncode, out, err)

    def words(self, stage: str, batch: str = BATCH, **instead: str) -> list[str]:
        """The command line of a stage of the tiny pipeline; `instead` names other inputs by role."""
        made = {role: self.references[maker] for role, maker in INPUTS.get(stage, {}).items()}
        inputs = [f"--input={role}={reference}" for role, reference in {**made, **instead}.items()]
        return [stage, "--partition", batch, *inputs, *TINY[stage]]

    def make(self, stage: str, *more: str, batch: str = BATCH) -> Ended:
        """Run a stage of the tiny pipeline; it has to succeed."""
        ended = self.run(*self.words(stage, batch), *more)
        assert ended.code == 0, ended.err
        self.references[stage] = ended.committed["reference"]
        return ended


@pytest.fixture(scope="session")
def on_server(tmp_path_factory) -> Callable[[Any], Pipeline]:
    """Sets up the tiny pipeline on an S3 server, before its first stage."""

    def set_up(server: Any) -> Pipeline:
        home = tmp_path_factory.mktemp("pipeline")
        environment = {**os.environ, **server.environment(), "SIM2EDGE_KEYS": str(home / "keys")}
        environment["SIM2EDGE_SCRATCH"] = str(home / "scratch")
        environment.pop("MLFLOW_TRACKING_URI", None)
        environment.pop("SIM2EDGE_PRESET", None)
        made = Pipeline(environment, server.role)
        assert made.run("ota", "init").code == 0
        return made

    return set_up


@pytest.fixture(scope="session")
def pipeline(s3_server, on_server) -> Pipeline:
    """The tiny pipeline, run from capture to push."""
    made = on_server(s3_server)
    for stage in CHAIN:
        made.make(stage)
    return made


@pytest.fixture
def pipeline_on_network(pipeline, s3_server) -> Iterator[tuple[Pipeline, Forwarder]]:
    """The tiny pipeline, and the network on which its commands reach the S3 server."""
    with Forwarder("127.0.0.1", int(s3_server.endpoint.rpartition(":")[2])) as network:
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{network.port}"}
        there = Pipeline(pipeline.environment | endpoint, lambda role: s3_server.role(role) | endpoint)
        there.references.update(pipeline.references)
        yield there, network


@pytest.fixture
def scratch(pipeline) -> Path:
    """The folder where the stages of the pipeline work."""
    return Path(pipeline.environment["SIM2EDGE_SCRATCH"])


@pytest.fixture
def elsewhere(pipeline, tmp_path) -> Pipeline:
    """The command line of somebody else: another home, time zone and language, and no keys to publish with."""
    other = {"HOME": str(tmp_path), "TZ": "Pacific/Apia", "LANG": "C", "SIM2EDGE_KEYS": str(tmp_path / "none")}
    return Pipeline(pipeline.environment | other)
