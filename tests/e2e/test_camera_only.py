"""Logs of images and another tool's annotations, without LiDAR, pose or command, learned from and judged."""

import json

import foxglove
import numpy as np
import pyarrow.parquet as pq
import pytest
from foxglove import channels, messages
from perception_data import draw_frame, run_stage

from sim2edge import cli
from sim2edge.recipes.perception import CLASSES

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 48, 64
START_NS, HOUR_NS, TICK_NS = 1_700_000_000_000_000_000, 3_600_000_000_000, 100_000_000
ROUND = (("min", "min"), ("max", "min"), ("max", "max"), ("min", "max"))
LABELS = "topics.labels=/camera/annotations"


def write_log(path, seed: int, ticks: int = 10) -> None:
    """Write pictures with their outlines and texts: a drive of its own, an hour after the one of the seed before."""
    random, context = np.random.default_rng(seed), foxglove.Context()
    with foxglove.open_mcap(path, context=context):
        image = channels.CompressedImageChannel("/camera/image", context=context)
        notes = channels.ImageAnnotationsChannel("/camera/annotations", context=context)
        for tick in range(ticks):
            now = START_NS + seed * HOUR_NS + tick * TICK_NS
            stamp = messages.Timestamp(now // 10**9, now % 10**9)
            data, _, boxes = draw_frame(random, HEIGHT, WIDTH)
            image.log(messages.CompressedImage(timestamp=stamp, data=data, format="jpeg"), log_time=now)
            outlines, texts = [outline(stamp, box) for box in boxes], [caption(stamp, box) for box in boxes]
            notes.log(messages.ImageAnnotations(timestamp=stamp, points=outlines, texts=texts), log_time=now)


def outline(stamp: messages.Timestamp, box: dict) -> messages.PointsAnnotation:
    corners = [(box[f"x_{x}"] * WIDTH, box[f"y_{y}"] * HEIGHT) for x, y in ROUND]
    points = [messages.Point2(x=x, y=y) for x, y in corners]
    return messages.PointsAnnotation(timestamp=stamp, type=messages.PointsAnnotationType.LineLoop, points=points)


def caption(stamp: messages.Timestamp, box: dict) -> messages.TextAnnotation:
    place = messages.Point2(x=box["x_min"] * WIDTH, y=box["y_min"] * HEIGHT)
    return messages.TextAnnotation(timestamp=stamp, position=place, text=f"{box['class'].upper()} 0.9")


def test_a_model_learns_from_a_camera_and_annotations_alone(s3, partition, tmp_path):
    (tmp_path / "logs").mkdir()
    for seed in range(24):
        write_log(tmp_path / "logs" / f"{seed:02d}.mcap", seed)
    names = json.dumps({name.upper(): name for name in CLASSES})
    words = (LABELS, f"classes.map={names}", "floor=wood", "--partition", partition)
    assert cli.main(["ingest", str(tmp_path / "logs"), *words]) == 0
    episodes = s3.read_ref(f"refs/batches/{partition}").target
    frames, _ = run_stage(s3, "clean", {"episodes": [episodes]}, f"height={HEIGHT}", f"width={WIDTH}")
    assert (frames.summary["frames"], frames.summary["lidar"]) == (240, None)
    assert frames.summary["roles"] == {"scan": 0, "pose": 0, "command": 0}
    dataset, _ = run_stage(s3, "augment", {"frames": [frames.reference]}, "copies=1", "validation=0.3", "test=0.3")
    rows = pq.read_table(s3.fetch(dataset, tmp_path / "dataset").path("train.parquet")).to_pylist()
    assert {box["distance_m"] for row in rows for box in row["boxes"]} == {None}
    model, _ = run_stage(
        s3, "train", {"dataset": [dataset.reference]}, "width_multiplier=0.25", "epochs=6", "batch_size=32"
    )
    losses = json.loads(s3.fetch(model, tmp_path / "model").path("history.json").read_text())
    assert losses[-1]["train_total_loss"] < losses[0]["train_total_loss"]
    assert {row["train_distance_loss"] for row in losses} == {0}
    floors = ("floors.floor_accuracy=0", "floors.map_50=0", "floors.class_ap_50={default: 0}")
    given = {"model": [model.reference], "dataset": [dataset.reference]}
    verdict, _ = run_stage(s3, "validate", given, *floors)
    assert verdict.summary["distance_error_m"] is None
    assert verdict.summary["floor_accuracy"] > 0
