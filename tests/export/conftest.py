"""One small network that was trained on coloured rectangles, exported once for all tests of the folder."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sim2edge import config as configs
from sim2edge.export import STAGE
from sim2edge.export.config import ExportConfig
from sim2edge.export.run import run
from sim2edge.manifest import Cost, Manifest
from sim2edge.recipes import perception
from sim2edge.stage import Artifact, Job, Outcome
from sim2edge.train.cnn_model import NetworkShape, PerceptionNet, save_model

HEIGHT, WIDTH = 32, 48
SHAPE = NetworkShape(height=HEIGHT, width=WIDTH, width_multiplier=0.25)
FLOOR_COLORS = ((150, 90, 40), (220, 220, 230), (60, 90, 160), (120, 120, 120))
MODEL, VERDICT, DATASET = "model/b-1/" + "1" * 16, "verdict/b-1/" + "2" * 16, "dataset/b-1/" + "3" * 16


class Silence:
    """A progress that nobody watches."""

    def update(self, done: int, total: int, **metrics: object) -> None:
        assert 0 < done <= total

    def log(self, message: str, **fields: object) -> None:
        pass


def make_manifest(reference: str, inputs: Mapping[str, list[str]] | None = None) -> Manifest:
    kind, partition, identity = reference.split("/")
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Manifest(
        kind=kind,
        partition=partition,
        id=identity,
        stage="test",
        version=1,
        config={},
        config_hash="",
        inputs=dict(inputs or {}),
        attempt="a",
        files=[],
        summary={},
        environment={},
        started=now,
        finished=now,
        cost=Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0),
    )


def draw_frames(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a split: a floor's colour, and half of the time a red box in front of it."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        floor = number % len(FLOOR_COLORS)
        image = np.clip(np.array(FLOOR_COLORS[floor]) + rng.normal(0, 8, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        boxes = []
        if number % 2:
            x, y, side = int(rng.integers(0, 30)), int(rng.integers(0, 14)), int(rng.integers(12, 18))
            image[y : y + side, x : x + side] = (230, 20, 20)
            corners = {
                "x_min": x / WIDTH,
                "y_min": y / HEIGHT,
                "x_max": (x + side) / WIDTH,
                "y_max": (y + side) / HEIGHT,
            }
            boxes.append({"class": "box", **corners, "distance_m": 20 / side, "bearing_rad": 0.0})
        jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
        name = perception.FLOORS[floor]
        rows.append({"episode_id": "b-1.0001", "frame": number, "image": jpeg, "floor": name, "boxes": boxes})
    return [{**row, "augmentation": ""} for row in rows]


def load_fixed_network() -> PerceptionNet:
    """The network of `network.npz`, the same on every machine; `train_network.py` made it."""
    network = PerceptionNet(SHAPE)
    with np.load(Path(__file__).with_name("network.npz")) as weights:
        kept = {name: torch.from_numpy(weights[name]).to(value.dtype) for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return network.eval()


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Artifact]]:
    """A model that passed its verdict, and the dataset."""
    folder = tmp_path_factory.mktemp("artifacts")
    for role in ("model", "verdict", "dataset"):
        (folder / role).mkdir()
    for split, seed in (("validation", 1), ("test", 2)):
        pq.write_table(pa.Table.from_pylist(draw_frames(48, seed)), folder / "dataset" / f"{split}.parquet")
    names = {"classes": list(perception.CLASSES), "floors": list(perception.FLOORS)}
    size = {"height": HEIGHT, "width": WIDTH, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    table = {
        **names,
        **size,
        "class_weights": dict.fromkeys(perception.CLASSES, 1.0),
        "class_counts": dict.fromkeys(perception.CLASSES, 8),
        "splits": {"train": {"frames": 96, "episodes": 2}},
        "frames_artifacts": ["frames/b-1/" + "4" * 16],
    }
    (folder / "dataset" / "dataset.json").write_text(json.dumps(table))
    network = load_fixed_network()
    postprocess = perception.signature(HEIGHT, WIDTH)
    meta = {"recipe": "perception", **names, **size, "postprocess": postprocess, "network": asdict(network.shape)}
    save_model(network, meta, folder / "model" / "model.pt")
    (folder / "model" / "model.json").write_text(json.dumps(meta))
    (folder / "verdict" / "verdict.json").write_text(json.dumps({"passed": True}))
    manifests = {
        "model": make_manifest(MODEL),
        "verdict": make_manifest(VERDICT, {"model": [MODEL], "dataset": [DATASET]}),
        "dataset": make_manifest(DATASET),
    }
    return {role: [Artifact(manifest, folder / role)] for role, manifest in manifests.items()}


@pytest.fixture(scope="session")
def make_job(
    artifacts: dict[str, list[Artifact]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Job[ExportConfig]]:
    """Jobs on the artifacts, each in folders of its own."""

    def make(*overrides: str, inputs: Mapping[str, list[Artifact]] | None = None) -> Job[ExportConfig]:
        folder = tmp_path_factory.mktemp("job")
        (folder / "output").mkdir()
        (folder / "scratch").mkdir()
        (folder / "measurements").mkdir()
        return Job(
            config=configs.load(ExportConfig, "export", overrides=["latency_rounds=3", *overrides]),
            partition="b-1",
            reference="release/b-1/" + "5" * 16,
            inputs={**artifacts, **(inputs or {})},
            output=folder / "output",
            scratch=folder / "scratch",
            measurements=folder / "measurements",
            progress=Silence(),
            checkpoints=None,  # type: ignore[arg-type]
        )

    return make


@pytest.fixture(scope="session")
def released(make_job: Callable[..., Job[ExportConfig]]) -> tuple[Job[ExportConfig], Outcome]:
    """An export that went through: its job and what it gave back."""
    assert STAGE.entry == "sim2edge.export.run:run"
    job = make_job()
    return job, run(job)
