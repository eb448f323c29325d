"""Writes small LeRobot datasets (v3) and tubs as their libraries do; tests/datasets compares with the libraries."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ingest.foreign_logs import picture

CAMERA = "observation.images.front"
NAMES = ("x.vel", "y.vel", "theta.vel")
FPS = 10
HEIGHT, WIDTH = 96, 128
"""FFmpeg's MPEG-4 and AV1 need a few blocks."""


def frame(number: int) -> np.ndarray:
    return picture(number, HEIGHT, WIDTH)


def png(number: int) -> bytes:
    return bytes(cv2.imencode(".png", frame(number)[..., ::-1])[1])


def action(number: int) -> list[float]:
    return [0.1 + 0.01 * number, 0.0, -45.0 + number]


def write_lerobot(
    root: Path, lengths: Sequence[int] = (6, 4), *, video: str | None = None, names: Any = NAMES, width: int = 3
) -> Path:
    """A dataset; with images in its data file, or in a video of a codec (`mp4v`, `av01`)."""
    feature = {"dtype": "video" if video else "image", "shape": [HEIGHT, WIDTH, 3], "names": ["h", "w", "c"]}
    info = {
        "codebase_version": "v3.0", "robot_type": "lekiwi", "fps": FPS, "total_episodes": len(lengths),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {CAMERA: feature, "action": {"dtype": "float32", "shape": [width], "names": names}},
    }  # fmt: skip
    write_json(root / "meta/info.json", info)
    episodes = [episode for episode, length in enumerate(lengths) for _ in range(length)]
    rows = [row for length in lengths for row in range(length)]
    data: dict[str, Any] = {
        "episode_index": episodes, "frame_index": rows, "timestamp": pa.array([r / FPS for r in rows], pa.float32()),
        "action": pa.array([action(n)[:width] for n in range(len(rows))], pa.list_(pa.float32(), width)),
    }  # fmt: skip
    if not video:
        data[CAMERA] = [{"bytes": png(number), "path": f"frame-{number:06d}.png"} for number in range(len(rows))]
    write_rows(root / "data/chunk-000/file-000.parquet", data)
    starts = [sum(lengths[:episode]) / FPS for episode in range(len(lengths))]
    of = f"videos/{CAMERA}/"
    zeros = [0] * len(lengths)
    about: dict[str, Any] = {"episode_index": list(range(len(lengths))), "length": list(lengths)}
    about |= {"data/chunk_index": zeros, "data/file_index": zeros}
    if video:
        about |= {f"{of}chunk_index": zeros, f"{of}file_index": zeros, f"{of}from_timestamp": starts}
        write_video(root / of / "chunk-000/file-000.mp4", len(rows), video)
    write_rows(root / "meta/episodes/chunk-000/file-000.parquet", about)
    return root


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_rows(path: Path, rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), path)


def write_video(path: Path, frames: int, codec: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "av01":
        write_av1(path, frames)
        return
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(frame(number)[..., ::-1])
    writer.release()


def write_av1(path: Path, frames: int) -> None:
    """No encoder of AV1 video is here; an animation in AVIF is one under other names."""
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame(number)[..., ::-1]) for number in range(frames)]
    animation.durations = [1000 // FPS] * frames
    made = path.with_suffix(".avif")
    assert cv2.imwriteanimation(str(made), animation, [cv2.IMWRITE_AVIF_QUALITY, 90, cv2.IMWRITE_AVIF_SPEED, 9])
    meta, moov, tracks = made.read_bytes().replace(b"ftypavis", b"ftypisom", 1).partition(b"moov")
    path.write_bytes(meta + moov + tracks.replace(b"pict", b"vide"))
    made.unlink()


INPUTS = ("cam/image_array", "user/angle", "user/throttle", "user/mode")
START_MS = 1_790_000_000_000


def record(number: int, session: str = "26-11-30_0", time_ms: int | None = None, **other: Any) -> dict[str, Any]:
    return {
        "_index": number, "_session_id": session,
        "_timestamp_ms": START_MS + 50 * number if time_ms is None else time_ms,
        "cam/image_array": f"{number}_cam_image_array_.jpg", "user/angle": -0.5, "user/throttle": 0.25,
        "user/mode": "user", **other,
    }  # fmt: skip


def write_tub(
    root: Path,
    records: Sequence[dict[str, Any]],
    *,
    deleted: Sequence[int] = (),
    inputs: Sequence[str] = INPUTS,
    metadata: dict[str, str] | None = None,
    per_catalog: int = 10,
) -> Path:
    (root / "images").mkdir(parents=True)
    catalogs = []
    for start in range(0, len(records), per_catalog):
        catalogs.append(f"catalog_{len(catalogs)}.catalog")
        lines = [json.dumps(each) + "\n" for each in records[start : start + per_catalog]]
        (root / catalogs[-1]).write_text("".join(lines))
    following = max((each["_index"] for each in records), default=-1) + 1
    about = {"paths": catalogs, "current_index": following, "max_len": per_catalog, "deleted_indexes": list(deleted)}
    lines = [list(inputs), ["image_array", "float", "float", "str"], metadata or {}, {"created_at": 1.0}, about]
    (root / "manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number, each in enumerate(records):
        name = each.get("cam/image_array")
        if name:
            cv2.imwrite(str(root / "images" / name), frame(number)[..., ::-1])
    return root
