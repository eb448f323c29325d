"""Provide the workplace of measurements: a folder, an S3 server, and artifacts of the real stages on one small batch.

    with open_workplace() as place:
        place.stage("clean").manifest           # runs `sim2edge capture` and `sim2edge clean` first, if needed
        place.fetch("clean").path("frames.parquet")

Each stage runs as a process of its own, as in production, with settings for speed, not quality.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.manifest import Manifest
from sim2edge.services.seaweedfs import start_seaweedfs
from sim2edge.stage import Artifact

BATCH = "bench-2"
"""A batch id whose 4 episodes split, by the hash of their names, into 2 for training, 1 for validation, 1 for test."""

LOGS = "bench-logs"
"""The batch that `ingest` makes of the same drives, delivered as another producer would."""

PICTURES = "bench-pictures"
"""The batch that `annotate` makes of the same frames, exported as a labelling tool would."""

RING = "canary"
SECONDS_A_STAGE = 300

QUICK: Mapping[str, Sequence[str]] = {
    "capture": ("episodes=4", "episode_seconds=5"),
    "clean": ("only_successful=false",),
    "augment": ("validation=0.25", "test=0.25"),
    "train": ("epochs=4", "batch_size=16"),
    "validate": (
        "floors.floor_accuracy=0",
        "floors.map_50=0",
        "floors.class_ap_50.default=0",
        "floors.floor_recall.default=0",
        "min_examples=1",
        "min_episodes=1",
    ),
    "export": (
        *("calibration_frames=16", "parity_frames=16", "latency_rounds=3", "latency_calls=3"),
        *(
            "limits.min_classes=0",
            "limits.min_floors=0",
            "limits.min_floor_accuracy=0",
            "limits.max_floor_accuracy_drop=1",
            "limits.max_map50_drop=1",
        ),
        *("limits.min_agreement=0", "limits.max_difference=100", "limits.max_difference_float16=100"),
    ),
    "push": (f"ring={RING}",),
}
"""Overrides with which a barely trained network passes every gate."""

INPUTS: Mapping[str, Mapping[str, str]] = {
    "annotate": {},
    "capture": {},
    "ingest": {},
    "clean": {"episodes": "capture"},
    "augment": {"frames": "clean"},
    "train": {"dataset": "augment"},
    "validate": {"model": "train", "dataset": "augment"},
    "export": {"model": "train", "verdict": "validate", "dataset": "augment"},
    "push": {"release": "export"},
}
"""Stage to the stages whose artifacts it reads, by role."""


@dataclass(frozen=True)
class StageRun:
    """A completed run of a stage as a process."""

    manifest: Manifest
    process_s: float
    """Seconds from the start of its process to its end."""


class Workplace:
    """Produces artifacts on demand, each once."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.bus = Bus.from_environment()
        self.keys = folder / "keys"
        self._runs: dict[str, StageRun] = {}

    def new_folder(self, name: str) -> Path:
        """Return an empty folder of the workplace."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def run(self, *words: str) -> str:
        """Run `sim2edge <words>` and return its output.

        Raises:
            RuntimeError: it failed.
        """
        command = [sys.executable, "-m", "sim2edge", *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=SECONDS_A_STAGE, check=False
        )
        if done.returncode:
            raise RuntimeError(f"sim2edge {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()[-800:]}")
        return done.stdout

    def stage(self, name: str) -> StageRun:
        """Return the run of a stage; run it and its upstream stages first if needed."""
        if name not in self._runs:
            words = self.stage_command(name)
            if name == "push":
                self.run("ota", "init")
            start = time.perf_counter()
            output = self.run(*words)
            seconds = time.perf_counter() - start
            event = json.loads(output.splitlines()[-1])
            self._runs[name] = StageRun(self.bus.open(event["reference"]), seconds)
        return self._runs[name]

    def stage_command(self, name: str) -> Sequence[str]:
        """Return the arguments that run a stage on the batch; run the stages of its inputs first if needed."""
        if name == "ingest":
            return [name, str(self.logs()), "--partition", LOGS]
        if name == "annotate":
            return [name, str(self.pictures()), "--partition", PICTURES]
        inputs = [f"--input={role}={self.stage(source).manifest.reference}" for role, source in INPUTS[name].items()]
        return [name, "--partition", BATCH, *inputs, *QUICK[name]]

    def logs(self) -> Path:
        """Return a folder with the MCAP log of each captured episode."""
        folder = self.folder / LOGS
        if not folder.exists():
            episodes = self.fetch("capture")
            folder.mkdir()
            for log in episodes.folder.rglob("*.mcap"):
                log.rename(folder / f"{log.parent.name}.mcap")
        return folder

    def pictures(self) -> Path:
        """Return a folder with the frames' pictures and their annotations, in the COCO format."""
        folder = self.folder / PICTURES
        if not folder.exists():
            self.run("coco", self.stage("clean").manifest.reference, str(folder))
        return folder

    def fetch(self, name: str) -> Artifact:
        """Return a stage's artifact, fetched into a folder."""
        return self.bus.fetch(self.stage(name).manifest, self.new_folder(name))


@contextmanager
def open_workplace() -> Iterator[Workplace]:
    """Provide a workplace in a temporary folder; afterwards stop the S3 server and delete all data."""
    with tempfile.TemporaryDirectory(prefix="sim2edge-bench-") as name:
        folder = Path(name)
        with start_seaweedfs(folder / "s3") as server:
            for variable in [each for each in os.environ if each.startswith(("MLFLOW_", "SIM2EDGE_"))]:
                del os.environ[variable]
            os.environ.update(server.environment())
            keys = {"SIM2EDGE_KEYS": str(folder / "keys"), "SIM2EDGE_SCRATCH": str(folder / "scratch")}
            place = Workplace(folder, {**os.environ, **keys})
            place.bus.put("warm-up", b"warm")  # a server's first write creates its volumes
            yield place
