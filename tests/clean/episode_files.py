"""Writes small episodes in the documented format, and breaks them in the ways tests ask for."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import foxglove
import numpy as np
from foxglove import channels, messages
from foxglove.mcap import MCAPWriteOptions

from sim2edge.recipes.perception import CLASSES, FLOORS

BEAMS = 36
HEIGHT, WIDTH = 60, 80
TICK_NS = 100_000_000

Change = Callable[[int, dict[str, Any]], None]


def make_tick(episode: int, tick: int) -> dict[str, Any]:
    """What is logged at one tick; tests change it before it is written."""
    rng = np.random.default_rng([episode, tick])
    low, high = rng.uniform(5, 30, 2), rng.uniform(35, 55, 2)
    image = np.full((HEIGHT, WIDTH, 3), rng.integers(40, 200, 3), np.uint8)
    cv2.rectangle(image, low.astype(int).tolist(), high.astype(int).tolist(), rng.integers(0, 255, 3).tolist(), -1)
    box = {
        "class": CLASSES[(episode + tick) % len(CLASSES)], "instance": 1,
        "x_min": float(low[0]), "y_min": float(low[1]), "x_max": float(high[0]), "y_max": float(high[1]),
        "distance_m": float(rng.uniform(0.3, 5)), "bearing_rad": float(rng.uniform(-0.5, 0.5)),
    }  # fmt: skip
    ranges = rng.uniform(0.2, 6, BEAMS)
    ranges[3] = math.inf
    return {
        "time": tick * TICK_NS,
        "jpeg": cv2.imencode(".jpg", image)[1].tobytes(),
        "ranges": ranges.tolist(),
        "scan_time": tick * TICK_NS,
        "pose": (0.1 * tick, -0.2, 0.3),
        "control": {"linear_m_s": 0.5, "angular_rad_s": -0.1},
        "labels": {"floor": FLOORS[episode % len(FLOORS)], "boxes": [box]},
    }


def write_episode(
    batch: Path, index: int = 0, ticks: int = 5, change: Change | None = None, result: dict[str, Any] | None = None
) -> Path:
    """Write one episode of batch `toy`; `change(tick, content)` edits what is logged, `result` edits result.json."""
    folder = batch / f"toy.{index:04d}"
    folder.mkdir(parents=True)
    context = foxglove.Context()
    options = MCAPWriteOptions(compression_threads=0)
    with foxglove.open_mcap(folder / "simulation.mcap", context=context, writer_options=options):
        write = make_channels(context)
        for tick in range(ticks):
            content = make_tick(index, tick)
            if change:
                change(tick, content)
            write(content)
    outcome = {"episode_id": folder.name, "success": True, "failure_reason": "", "frames": ticks} | (result or {})
    (folder / "result.json").write_text(json.dumps(outcome))
    return folder


def make_channels(context: foxglove.Context) -> Callable[[dict[str, Any]], None]:
    """Open the channels of a log; the function that writes one tick to them."""
    image = channels.CompressedImageChannel("/camera/image", context=context)
    scan = channels.LaserScanChannel("/lidar/scan", context=context)
    pose = channels.PoseInFrameChannel("/robot/pose", context=context)
    control = foxglove.Channel("/robot/control", schema={"type": "object"}, context=context)
    labels = foxglove.Channel("/labels", schema={"type": "object"}, context=context)
    last = math.pi - math.tau / BEAMS

    def write(content: dict[str, Any]) -> None:
        time = content["time"]
        image.log(messages.CompressedImage(data=content["jpeg"], format="jpeg"), log_time=time)
        if content["ranges"] is not None:
            reading = messages.LaserScan(start_angle=-math.pi, end_angle=last, ranges=content["ranges"])
            scan.log(reading, log_time=content["scan_time"])
        if content["pose"] is not None:
            pose.log(messages.PoseInFrame(frame_id="room", pose=make_pose(*content["pose"])), log_time=time)
        if content["control"] is not None:
            control.log(json.dumps(content["control"]).encode(), log_time=time)
        labels.log(json.dumps(content["labels"]).encode(), log_time=time)

    return write


def make_pose(x: float, y: float, yaw: float) -> messages.Pose:
    turn = messages.Quaternion(x=0, y=0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return messages.Pose(position=messages.Vector3(x=x, y=y, z=0), orientation=turn)


def only_camera(tick: int, content: dict[str, Any]) -> None:
    """Leave out scan, pose and command: a drive of a robot with a camera and nothing else."""
    content.update(ranges=None, pose=None, control=None)


CAMERA_ONLY = {"absent": ["scan", "pose", "command"]}
"""What `result.json` of such a drive declares."""
