"""Write a converted log as the folder of an episode, with the files that capture writes.

This is the only module of ingest that knows the files of an episode: `OutsideLog`, `lidar.csv`, `result.json`.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim2edge.config import cache_key_fields
from sim2edge.episodes.formats import beam_angles, write_csv
from sim2edge.episodes.moment import RATE_HZ, ROBOT_RADIUS_M, ImageBox, path_length
from sim2edge.episodes.result import EpisodeResult
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.messages import Labels
from sim2edge.ingest.outside_log import OutsideLog, OutsideTick
from sim2edge.ingest.source_log import pictures
from sim2edge.ingest.understand import Understood, floor_at
from sim2edge.manifest import File

SIMULATOR = "ingest"
UNLABELLED = "unlabelled"
"""The failure reason of an episode without ground truth, so that clean leaves it out."""


def write_episode(
    folder: Path, episode_id: str, source: File, understood: Understood, config: IngestConfig
) -> EpisodeResult:
    """Write the folder of an episode; `source` is the file it comes from.

    Raises:
        BadLog: an image cannot be decoded.
    """
    folder.mkdir(parents=True)
    made_by = {"simulator": SIMULATOR, "camera_backend": ""}
    identity = {"episode_id": episode_id, "seed": seed_of(source)}
    content = made_by | {"config": cache_key_fields(config), "episode": identity | {"source": source.model_dump()}}
    text = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    metadata = identity | made_by | {"source": source.path, "source_sha256": source.sha256}
    absent = list(understood.log.absent)
    if absent:
        metadata["absent"] = ", ".join(absent)
    ticks = _write_log(folder / "simulation.mcap", metadata, understood, config)
    result = _result(ticks, identity | made_by, understood.log.labelled, config.lidar.max_range_m)
    scans = {tick.times_ns["scan"]: tick.ranges for tick in ticks if tick.ranges is not None}
    if scans:
        write_csv(folder / "lidar.csv", [time / 1e9 for time in scans], list(scans.values()))
    declared = result.model_dump() | ({"absent": absent} if absent else {})
    text = json.dumps(declared, indent=2, allow_nan=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    return result


def declare_origin(folder: Path, drive: str | None, recorded_from_s: float | None) -> None:
    """Add to `result.json` the drive that an episode is a piece of, and when it was recorded, as far as known."""
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    origin = {"drive": drive, "recorded_from_s": recorded_from_s}
    result |= {name: value for name, value in origin.items() if value is not None}
    path.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def seed_of(source: File) -> str:
    """Return the substitute for a seed of an episode that was not drawn at random.

    It is the head of its file's SHA-256, 32 hex digits.
    """
    return source.sha256[:32]


def _write_log(path: Path, metadata: dict[str, str], understood: Understood, config: IngestConfig) -> list[OutsideTick]:
    """Write `simulation.mcap`, and return the ticks without their images."""
    log = OutsideLog(path, beam_angles(config.lidar), metadata)
    try:
        return [_write_tick(log, tick) for tick in _ticks(understood, config)]
    finally:
        log.close()


def _write_tick(log: OutsideLog, tick: OutsideTick) -> OutsideTick:
    log.write(tick)
    return OutsideTick(tick.index, tick.times_ns, b"", tick.ranges, tick.pose, tick.command, tick.floor, tick.boxes)


def _ticks(understood: Understood, config: IngestConfig) -> Iterator[OutsideTick]:
    chosen, streams = understood.ticks.chosen, understood.log.streams
    jpegs = pictures(understood.log, chosen["image"].tolist(), config.jpeg_quality)
    times = {role: moments.tolist() for role, moments in understood.ticks.times_to_write.items()}
    for at, (index, jpeg) in enumerate(zip(understood.ticks.index.tolist(), jpegs, strict=True)):
        value = {role: streams[role].values[numbers[at]] for role, numbers in chosen.items()}
        boxes = _boxes(value["labels"]) if "labels" in value else None
        floor = floor_at(understood, at, config)
        now = {role: moments[at] for role, moments in times.items()}
        yield OutsideTick(index, now, jpeg, value.get("scan"), value.get("pose"), value.get("command"), floor, boxes)


def _boxes(labels: Labels) -> tuple[ImageBox, ...]:
    return tuple(ImageBox(**{"instance": box.instance} | box.model_dump(exclude_unset=True)) for box in labels.boxes)


def _result(ticks: list[OutsideTick], known: dict[str, Any], labelled: bool, reach: float) -> EpisodeResult:
    """Return the content of `result.json`; `reach` is the largest range of the LiDAR, metres."""
    nearest = [float(np.min(tick.ranges)) for tick in ticks if tick.ranges is not None]
    path = [tick.pose for tick in ticks if tick.pose is not None]
    return EpisodeResult(
        **known,
        success=labelled,
        failure_reason="" if labelled else UNLABELLED,
        duration_s=(ticks[-1].index + 1) / RATE_HZ,
        frames=len(ticks),
        path_length_m=round(path_length(path), 4) if path else None,
        checkpoints_passed=0,
        checkpoints=0,
        collisions=0,
        collided_with=(),
        time_to_collision_s=None,
        distance_to_collision_m=None,
        near_misses=0,
        min_clearance_m=round(max(0.0, min(reach, *nearest) - ROBOT_RADIUS_M), 4) if nearest else None,
        driver="",
        layout="",
        floor=ticks[0].floor,
        style="",
        trace_sha256=_trace(ticks),
    )


def _trace(ticks: list[OutsideTick]) -> str:
    trace = hashlib.sha256()
    for tick in ticks:
        parts = (part for part in (tick.pose, tick.command, tick.ranges) if part is not None)
        trace.update(np.array([*tick.times_ns.values(), *chain.from_iterable(parts)]).tobytes())
    return trace.hexdigest()
