"""Measure the augment stage, from a table of frames to a table of varied copies, against bare OpenCV, on one core."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pyarrow as pa

from benchmarks.results import Result
from benchmarks.timing import one_core, take_turns
from benchmarks.workplace import QUICK, Workplace
from sim2edge import config as configs
from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.frames_reader import open_frames
from sim2edge.augment.run import find_mirror
from sim2edge.augment.survey import survey
from sim2edge.augment.variation import Variation, vary_table

ROUNDS = 7


def measure(place: Workplace) -> Iterator[Result]:
    """Yield frames/s against decoding them, and copies/s against decoding and encoding as many."""
    config = configs.load(AugmentConfig, "augment", overrides=[*QUICK["augment"], "workers=1"])
    batches, _ = open_frames([place.fetch("clean")])
    lidar, found = batches[0].stats.lidar, survey(batches, config)
    variation = Variation(config, found.factors(config), find_mirror(lidar, config))
    table = pa.concat_tables(batches[0].tables())
    images = [np.frombuffer(image, np.uint8) for image in table["image"].to_pylist()]
    cv2.setNumThreads(1)
    with one_core(), ThreadPoolExecutor(1) as pool:
        copies = len(vary_table(table, variation, pool))
        contestants = {
            "stage": lambda: vary_table(table, variation, pool),
            "decode": lambda: [cv2.imdecode(image, cv2.IMREAD_COLOR) for image in images],
            "whole": lambda: recode(images, copies, config.jpeg_quality),
        }
        seconds = take_turns(contestants, ROUNDS)
    rate = {name: len(images) / value for name, value in seconds.items()}
    note = f"{len(images)} frames, {copies} copies: decode, flip, crop, light, blur, noise, LiDAR, encode, tabulate"
    yield Result("augment.frames", rate["stage"], "frames/s", "cv2 decode", rate["decode"], note=note)
    each = copies / len(images)
    yield Result(
        "augment.copies", rate["stage"] * each, "copies/s", "cv2 decode once, encode each copy", rate["whole"] * each
    )


def recode(images: Sequence[np.ndarray], copies: int, quality: int) -> None:
    """Decode every image and encode `copies` of them, without other work."""
    decoded = [np.asarray(cv2.imdecode(image, cv2.IMREAD_COLOR), np.uint8) for image in images]
    for number in range(copies):
        cv2.imencode(".jpg", decoded[number % len(decoded)], [cv2.IMWRITE_JPEG_QUALITY, quality])
