"""Choose the pictures of a release's self-test, and record the model's answers to them.

    rows = choose_pictures(frames)
    pictures = read_pictures(dataset.path("test.parquet"), rows)        # {"self-test-1.jpg": ...}
    describe_self_test(runtime, pictures, postprocess, classes, floors)

The choice depends on the labels alone, not on any model, so it is the same for every form and on every machine.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from sim2edge.edge.detector.detection import name_classes, name_detections
from sim2edge.edge.detector.runtime import Runtime
from sim2edge.edge.judgement.self_test import Outputs, find_peaks
from sim2edge.edge.obstacle_detector import Preprocessor, decode_picture
from sim2edge.errors import BadInput
from sim2edge.recipes import perception
from sim2edge.recipes.perception_frames import Frames

PICTURES = 4
LOGIT_SHARE = 0.1
"""Tolerated difference between processors' int8 sums, as a share of the largest logit; a broken kernel exceeds it."""
SCORE, DISTANCE, IOU = 0.15, 0.25, 0.5
"""Tolerated differences of an obstacle: far more than rounding causes, far less than another model does."""


def choose_pictures(frames: Frames, count: int = PICTURES) -> list[int]:
    """Return rows of at most `count` frames that show the most kinds of obstacles, large ones first, and of floors."""
    areas = class_areas(frames)
    floors = np.eye(int(frames.floors.max()) + 1)[frames.floors] * 0.25
    worth = np.concatenate([areas, floors], axis=1)
    chosen: list[int] = []
    covered = np.zeros(worth.shape[1], bool)
    while len(chosen) < min(count, len(frames)):
        gains = np.where(covered, 0, worth).sum(axis=1)
        gains[chosen] = -1
        if gains.max() <= 0 and covered.any():  # all kinds are shown: begin again with the remaining frames
            covered[:] = False
            continue
        best = int(gains.argmax())
        chosen.append(best)
        covered |= worth[best] > 0
    return chosen


def class_areas(frames: Frames) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the area of the largest box of each class in each frame: [frames, classes], as shares of the image."""
    areas = np.zeros((len(frames), int(frames.classes.max(initial=0)) + 1))
    owners = np.repeat(np.arange(len(frames)), np.diff(frames.starts))
    sizes = np.prod(frames.boxes[:, 2:].astype(np.float64) - frames.boxes[:, :2], axis=1)
    np.maximum.at(areas, (owners, frames.classes), sizes)
    return areas


def read_pictures(path: Path, rows: Sequence[int]) -> dict[str, bytes]:
    """Return the JPEGs of rows of a split, as they are, by their names in the bundle."""
    column = pq.read_table(path, columns=["image"])["image"]
    return {f"self-test-{number}.jpg": column[row].as_py() for number, row in enumerate(rows, start=1)}


def describe_self_test(
    runtime: Runtime,
    pictures: Mapping[str, bytes],
    postprocess: Mapping[str, Any],
    classes: Sequence[str],
    floors: Sequence[str],
) -> dict[str, Any]:
    """Return the self-test: the answers of a model to `pictures`, and the tolerances.

    Args:
        runtime: the loaded model.
        pictures: JPEGs by name.
        postprocess: arguments of `decode` on the device.
        classes: names of the announced classes.
        floors: names of the floors.

    Raises:
        BadInput: an output is not finite.
    """
    threshold = float(postprocess["score_threshold"])
    preprocessor = Preprocessor(*runtime.input_shape[1:3])
    answers, largest = [], 1.0
    for name, data in pictures.items():
        outputs = runtime.run(preprocessor.prepare(decode_picture(data, name)))
        check_finite(outputs, name)
        floor, peaks = outputs["floor"][0], find_peaks(outputs["obstacles"])
        largest = max(largest, float(np.abs(floor).max()), float(np.abs(peaks).max()))
        (found,) = perception.decode(outputs["floor"], outputs["obstacles"], **postprocess)
        seen = name_detections(found, name_classes(classes, postprocess), tuple(floors), 1, 1)
        answers.append(
            {
                "file": name,
                # Further digits depend on the processor's instruction set; the tolerances are far wider.
                "floor": [round(float(logit), 1) for logit in floor],
                "peaks": [round(float(logit), 1) for logit in peaks],
                "obstacles": [
                    {
                        "label": obstacle.label,
                        "score": round(obstacle.confidence, 2),
                        "box": [round(side, 3) for side in obstacle.box],
                        "distance_m": round(obstacle.distance_m, 2),
                    }
                    for obstacle in seen.obstacles
                    if obstacle.confidence >= threshold + SCORE
                ],
            }
        )
    tolerance = {"logits": round(LOGIT_SHARE * largest + 0.05, 1), "score": SCORE, "distance": DISTANCE, "iou": IOU}
    return {"tolerance": tolerance, "pictures": answers}


def check_finite(outputs: Outputs, picture: str) -> None:
    """Check that every output is finite.

    Raises:
        BadInput: one is not.
    """
    for name, output in outputs.items():
        if not np.isfinite(output).all():
            raise BadInput(f"the exported model's output '{name}' is not finite for {picture}")
