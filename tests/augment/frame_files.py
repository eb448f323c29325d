"""Writes small cleaned batches in the documented format, without running the stage that makes them."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sim2edge.frames.columns import frames_schema
from sim2edge.manifest import Cost, Manifest
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.stage import Artifact

BEAMS, HEIGHT, WIDTH = 36, 24, 32


def make_row(episode_id: str, frame: int) -> dict[str, Any]:
    """One frame; its content follows from its name."""
    rng = np.random.default_rng([*episode_id.encode(), frame])
    image = np.full((HEIGHT, WIDTH, 3), rng.integers(30, 220, 3), np.uint8)
    left, top = rng.uniform(0, 0.6, 2)
    box = {
        "class": CLASSES[int(rng.integers(3)) if frame else 5], "x_min": left, "y_min": top, "x_max": left + 0.3,
        "y_max": top + 0.3, "distance_m": rng.uniform(0.5, 4), "bearing_rad": rng.uniform(-0.5, 0.5),
    }  # fmt: skip
    lidar = rng.uniform(0.2, 5, BEAMS)
    lidar[4] = math.inf
    return {
        "episode_id": episode_id, "frame": frame, "time_s": frame / 10, "lidar": lidar, "linear_m_s": 0.4,
        "image": cv2.imencode(".jpg", image)[1].tobytes(), "angular_rad_s": 0.25, "x_m": 1.0, "y_m": -0.5,
        "yaw_rad": 0.125, "floor": FLOORS[len(episode_id) % 4], "boxes": [box] if frame % 4 else [box, dict(box)],
    }  # fmt: skip


def make_stats(**changes: Any) -> dict[str, Any]:
    lidar = {"beams": BEAMS, "start_rad": -math.pi, "step_rad": math.tau / BEAMS}
    stats = {"frames": 10, "height": HEIGHT, "width": WIDTH, "lidar": lidar}
    return {**stats, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], **changes}


def write_batch(
    folder: Path, batch: str, episodes: int = 12, frames: int = 6, table: pa.Table | None = None, **stats: Any
) -> Artifact:
    """Write a cleaned batch; `table` replaces its frames, keyword arguments replace fields of stats.json."""
    place = folder / batch
    place.mkdir()
    rows = [make_row(f"{batch}.{episode:04d}", frame) for episode in range(episodes) for frame in range(frames)]
    written = table if table is not None else pa.Table.from_pylist(rows, frames_schema())
    pq.write_table(written, place / "frames.parquet", row_group_size=25)
    (place / "stats.json").write_text(json.dumps(make_stats(**{"frames": len(rows), **stats})))
    cost = Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0)
    manifest = Manifest(
        kind="frames", partition=batch, id="0" * 16, stage="clean", version=1, config={}, config_hash="", inputs={},
        attempt="a", files=[], summary={}, environment={}, started=0, finished=0, cost=cost,
    )  # fmt: skip
    return Artifact(manifest, place)


def rows_of(folder: Path, split: str) -> list[dict[str, Any]]:
    """The rows of a split of a dataset."""
    return pq.read_table(folder / f"{split}.parquet").to_pylist()
