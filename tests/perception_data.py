"""A small dataset in the documented format, drawn with cv2: floors are textures, obstacles are coloured blobs."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sim2edge.bus import Bus
from sim2edge.manifest import Cost, Manifest
from sim2edge.plan import plan
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.runner import execute
from sim2edge.train.cnn_model import NetworkShape, PerceptionNet

DATASET = "dataset/toy-1/" + "a" * 16
TINY = ("width_multiplier=0.25", "batch_size=8", "threads=1", "learning_rate=0.004")
"""Settings that train in a second."""

COLOURS = ((220, 60, 60), (60, 200, 80), (70, 90, 230), (230, 210, 60), (40, 140, 130), (220, 120, 220))
BOX = pa.struct(
    [("class", pa.string())]
    + [(name, pa.float32()) for name in ("x_min", "y_min", "x_max", "y_max", "distance_m", "bearing_rad")]
)
SCHEMA = pa.schema(
    [
        ("episode_id", pa.string()),
        ("frame", pa.int32()),
        ("image", pa.binary()),
        ("floor", pa.string()),
        ("boxes", pa.list_(BOX)),
        ("augmentation", pa.string()),
    ]
)


def draw_floor(kind: int, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A texture for each floor: planks, tiles, noise, plain grey."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.array([(150, 105, 60), (200, 200, 205), (120, 60, 60), (128, 128, 128)][kind], np.float32)
    shade = [(x // 8 % 2) * 25, ((x // 12 + y // 12) % 2) * 40, random.normal(0, 18, (height, width)), 0 * x][kind]
    return np.clip(base + np.asarray(shade)[..., None] + random.normal(0, 3, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


def draw_frame(random: np.random.Generator, height: int, width: int) -> tuple[bytes, str, list[dict]]:
    """JPEG, floor and boxes of one random frame."""
    floor = int(random.integers(4))  # those that draw_floor knows
    image, boxes = draw_floor(floor, height, width, random), []
    for _ in range(random.integers(1, 4)):
        kind, size = int(random.integers(len(COLOURS))), float(random.uniform(0.12, 0.5))
        half_w, half_h = size * height / 2 * random.uniform(0.6, 1.2), size * height / 2
        cx, cy = random.uniform(half_w, width - half_w), random.uniform(half_h, height - half_h)
        corners = np.array([cx - half_w, cy - half_h, cx + half_w, cy + half_h])
        low, high = corners[:2].astype(int), corners[2:].astype(int)
        if kind % 2:
            cv2.ellipse(image, ((low + high) // 2).tolist(), ((high - low) // 2).tolist(), 0, 0, 360, COLOURS[kind], -1)
        else:
            cv2.rectangle(image, low.tolist(), high.tolist(), COLOURS[kind], -1)
        sides = np.clip(corners / [width, height, width, height], 0, 1).tolist()
        distance = float(np.clip(0.6 / size, 0.2, 6))
        names = ("x_min", "y_min", "x_max", "y_max", "distance_m", "bearing_rad")
        boxes.append({"class": CLASSES[kind], **dict(zip(names, [*sides, distance, 0.0], strict=True))})
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    return encoded, FLOORS[floor], boxes


def make_rows(frames: int, seed: int, height: int = 48, width: int = 64) -> list[dict]:
    """Random frames, ten an episode."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(frames):
        image, floor, boxes = draw_frame(random, height, width)
        episode = f"toy-{seed}.{index // 10:04d}"
        rows.append({"episode_id": episode, "frame": index % 10, "image": image, "floor": floor, "boxes": boxes})
    return [{**row, "augmentation": ""} for row in rows]


def write_split(path: Path, rows: list[dict]) -> None:
    """Write rows as a split of a dataset."""
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)


def count_names(rows: list[dict]) -> dict[str, dict[str, int]]:
    """How often each class and floor is in rows, as `dataset.json` has it."""
    classes = Counter(box["class"] for row in rows for box in row["boxes"])
    floors = Counter(row["floor"] for row in rows)
    return {
        "class_counts": {name: classes[name] for name in CLASSES},
        "floor_counts": {name: floors[name] for name in FLOORS},
    }


def write_dataset(folder: Path, train: int, validation: int, test: int, height: int = 48, width: int = 64) -> Path:
    """Write a whole dataset of random frames."""
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, dict[str, int]] = {}
    for seed, (name, count) in enumerate((("train", train), ("validation", validation), ("test", test))):
        rows = make_rows(count, seed, height, width)
        write_split(folder / f"{name}.parquet", rows)
        counts = counts or count_names(rows)  # of the training split, which is the first
    content = {
        "classes": list(CLASSES),
        "floors": list(FLOORS),
        "height": height,
        "width": width,
        "lidar_beams": 360,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "class_weights": dict.fromkeys(CLASSES, 1.0),
        **counts,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def put_artifact(bus: Bus, reference: str, folder: Path) -> str:
    """Commit a folder as the artifact `reference`."""
    kind, partition, identity = reference.split("/")
    files, now = bus.upload(reference, "attempt", folder), datetime.now(UTC)
    cost = Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0)
    fixed = {"stage": "test", "version": 1, "config": {}, "config_hash": "", "inputs": {}, "environment": {}}
    bus.commit(
        Manifest(
            kind=kind,
            partition=partition,
            id=identity,
            attempt="attempt",
            files=list(files),
            summary={},
            started=now,
            finished=now,
            cost=cost,
            **fixed,
        )
    )
    return reference


class Diary:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, int]] = []
        self.messages: list[str] = []

    def update(self, done: int, total: int, **metrics: float | int | str) -> None:
        self.updates.append((done, total))

    def log(self, message: str, **fields: object) -> None:
        self.messages.append(message)


def run_stage(bus: Bus, name: str, inputs: dict[str, list[str]], *overrides: str) -> tuple[Manifest, Diary]:
    """Plan and execute a stage as the command line does."""
    diary = Diary()
    return execute(bus, plan(bus, name, overrides=overrides, inputs=inputs), diary), diary


def small_network(seed: int = 0, height: int = 48, width: int = 64) -> PerceptionNet:
    """An untrained network of a quarter of the width."""
    torch.manual_seed(seed)
    return PerceptionNet(NetworkShape(height=height, width=width, width_multiplier=0.25))
