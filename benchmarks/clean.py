"""Measure the clean stage, from an episode's log to its table of frames, against bare OpenCV, on one core."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Result
from benchmarks.timing import one_core, take_turns
from benchmarks.workplace import BATCH, QUICK, Workplace
from sim2edge import config as configs
from sim2edge.clean.config import CleanConfig
from sim2edge.clean.data_processor import Task, process_episode
from sim2edge.clean.episode_log import IMAGE, read_log
from sim2edge.clean.episodes import choose_episodes, find_scan

ROUNDS = 7


def measure(place: Workplace) -> Iterator[Result]:
    """Yield frames/s against bare decoding, and against bare decoding, resizing and encoding of the same JPEGs."""
    folder = place.fetch("capture").folder
    config = configs.load(CleanConfig, "clean", overrides=[*QUICK["clean"], "workers=1"])
    wanted = choose_episodes(folder, config, BATCH).wanted
    scan = find_scan(folder, wanted, config, BATCH)
    tasks = [Task(folder / episode_id, episode_id, config, scan) for episode_id in wanted]
    images = [image for task in tasks for image in read_images(task)]
    contestants = {
        "stage": lambda: [process_episode(task) for task in tasks],
        "decode": lambda: [decode(image) for image in images],
        "whole": lambda: [prepare(image, config) for image in images],
    }
    cv2.setNumThreads(1)
    with one_core():
        seconds = take_turns(contestants, ROUNDS)
    rate = {name: len(images) / value for name, value in seconds.items()}
    note = f"{len(images)} frames of {len(tasks)} episodes: read, pair, decode, resize, encode, tabulate"
    yield Result("clean.frames", rate["stage"], "frames/s", "cv2 decode", rate["decode"], note=note)
    yield Result("clean.frames", rate["stage"], "frames/s", "cv2 decode, resize, encode", rate["whole"])


def read_images(task: Task) -> Sequence[bytes]:
    """Return the JPEGs of an episode."""
    stream = read_log(task.folder / "simulation.mcap")[IMAGE]
    return [stream.read(index).data for index in range(len(stream.times))]


def decode(image: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG, without other work."""
    decoded = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.uint8)


def prepare(image: bytes, config: CleanConfig) -> bool:
    """Decode, resize and encode a JPEG, without other work."""
    resized = cv2.resize(decode(image), (config.width, config.height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality])[0]
