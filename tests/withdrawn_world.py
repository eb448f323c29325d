"""Three models and two devices, all of which have a batch: what a test of withdrawing needs, with known bytes in it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from benchmarks.made_up import commit

from sim2edge.bus import Bus
from sim2edge.manifest import Manifest

PATTERN = b"\x00the-face-of-a-person\x00"
"""Planted in everything that holds the batch's data."""
WEIGHTS = b"\x00learned-from-it\x00"
"""Planted in everything that holds weights learned from it."""
START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = "lab-2"


@dataclass
class World:
    """The artifacts by a short name: `frames-1`, `model-3`."""

    bus: Bus
    made: dict[str, Manifest] = field(default_factory=dict)
    minutes: int = 0

    def __getitem__(self, name: str) -> str:
        return self.made[name].reference

    def add(
        self,
        name: str,
        stage: str,
        batch: str,
        inputs: Mapping[str, list[str]],
        files: Mapping[str, bytes],
        summary: Mapping[str, object] | None = None,
        refused: str | None = None,
    ) -> str:
        """Commit an artifact, a minute after the last one."""
        self.minutes += 1
        at = START + timedelta(minutes=self.minutes)
        kind = name.rpartition("-")[0]
        self.made[name] = commit(
            self.bus, stage, kind, batch, {role: [self[each] for each in names] for role, names in inputs.items()},
            dict(summary or {}), at, 1.0, files, refused=refused,
        )  # fmt: skip
        return self[name]

    def add_batch(self, number: int) -> None:
        """Commit the episodes and frames of a batch, with its delivery in the inbox."""
        batch = f"lab-{number}"
        content = PATTERN if batch == BATCH else b"harmless"
        listed = {"path": "run.mcap", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        ready = {"version": 1, "batch": batch, "files": [listed]}
        self.bus.put(f"inbox/{batch}/run.mcap", content)
        self.bus.put(f"inbox/{batch}/READY.json", json.dumps(ready).encode())
        files = {"e-0/simulation.mcap": content, "contact_sheet.png": content}
        self.add(f"episodes-{number}", "ingest", batch, {}, files)
        frames = {"frames.parquet": content, "stats.json": b"{}", "report.html": content}
        inputs = {"episodes": [f"episodes-{number}"]}
        summary = {"frames": 9, "frames_seen": 10}
        reference = self.add(f"frames-{number}", "clean", batch, inputs, frames, summary)
        self.bus.move_ref(f"refs/batches/{batch}", self[f"episodes-{number}"])
        self.bus.move_ref(f"refs/frames/{batch}", reference)

    def add_training(self, number: int, batches: list[int], ring: str) -> None:
        """Commit dataset, model, verdict, release and rollout to a ring, and move champion and ring."""
        last, has = f"lab-{max(batches)}", int(BATCH.split("-")[1]) in batches
        data, weights = (PATTERN, WEIGHTS) if has else (b"harmless", b"other weights")
        self.add(
            f"dataset-{number}", "augment", last, {"frames": [f"frames-{each}" for each in batches]},
            {"train.parquet": data, "dataset.json": b"{}"},
        )  # fmt: skip
        where = {"mlflow": {"experiment": "1", "run": f"{number:032x}"}}
        self.add(
            f"model-{number}", "train", last, {"dataset": [f"dataset-{number}"]},
            {"model.pt": weights, "curves.png": b"png"}, where,
        )  # fmt: skip
        self.bus.put(f"mlflow/1/{number:032x}/artifacts/model/model.pt", weights)
        champion = [f"model-{number - 1}"] if number > 1 else []
        self.add(
            f"verdict-{number}", "validate", last,
            {"model": [f"model-{number}"], "dataset": [f"dataset-{number}"], "champion": champion},
            {"detections.json": data}, {"best": {"map_50": self[f"model-{number}"]}},
        )  # fmt: skip
        inputs = {"model": [f"model-{number}"], "verdict": [f"verdict-{number}"], "dataset": [f"dataset-{number}"]}
        self.add(f"release-{number}", "export", last, inputs, {"bundle.tar": weights})
        identity = self[f"release-{number}"].rpartition("/")[2]
        self.bus.put(f"ota/targets/releases/{number:064x}.{identity}.tar", weights)
        self.add(
            f"rollout-{number}", "push", last, {"release": [f"release-{number}"]}, {"rollout.json": b"{}"},
            {"ring": ring, "release": identity},
        )  # fmt: skip
        self.bus.move_ref("refs/models/champion", self[f"model-{number}"])
        self.bus.move_ref(f"refs/rings/{ring}", self[f"rollout-{number}"])
        self.bus.move_ref("refs/datasets/current", self[f"dataset-{number}"])

    def release(self, number: int) -> str:
        """Return the id of a release."""
        return self[f"release-{number}"].rpartition("/")[2]

    def report(self, device: str, ring: str, release: int, previous: int | None = None) -> None:
        """Write the status of a device."""
        status = {
            "device": device, "ring": ring, "release": self.release(release), "state": "running", "inferences": 9,
            "previous": self.release(previous) if previous else None,
        }  # fmt: skip
        self.bus.put(f"fleet/{device}/status.json", json.dumps(status).encode())


def build(bus: Bus) -> World:
    """Build it: model 1 has lab-1 alone; models 2, 3 and 4 have lab-2 too; a device runs 3, another 4."""
    world = World(bus)
    for number in range(1, 4):
        world.add_batch(number)
    world.add_training(1, [1], "stable")
    world.add_training(2, [1, 2], "canary")
    world.add_training(3, [2], "stable")
    world.add_training(4, [1, 2, 3], "canary")
    world.report("pi-1", "stable", release=3, previous=1)
    world.report("pi-2", "canary", release=4, previous=2)
    world.report("pi-3", "spare", release=1)
    return world


def search(bus: Bus, pattern: bytes) -> set[str]:
    """Return the keys of all objects in the bucket that contain a pattern."""
    return {key for key in bus.list("") if pattern in bus.get(key)}
