"""Measure the device's detector against the bare interpreter call on the same frames, on one core.

Measured from a frame of the network's size, BGR, to named obstacles, without and with the service's bookkeeping. HTTP
is for information: there, the frame arrives as a JPEG. The network is barely trained: its threshold is lowered until it
reports as many obstacles as a good one, or post-processing would have nothing to do.
"""

import hashlib
import http.client
import itertools
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.bare_runtime import load_bare
from benchmarks.results import Result
from benchmarks.service_process import TOKEN, running_service
from benchmarks.timing import one_core, take_turns, time_once
from benchmarks.workplace import Workplace
from sim2edge.edge.bundle import RELEASE_FILE, SIGNATURE_FILE, Bundle, unpack_bundle
from sim2edge.edge.detector.camera_source import Image
from sim2edge.edge.detector.service import DetectorService
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.export.judged import camera_images
from sim2edge.recipes.perception_frames import DatasetTable, read_frames

ROUNDS = 1500
SEEN = 3.0
"""Mean obstacles per frame of a well-trained network."""
BISECTIONS = 30
MAXIMUM = 1.2
PEER = "bare interpreter call"
REQUESTS = 200


def measure(place: Workplace) -> Iterator[Result]:
    """Yield milliseconds per frame of detector, service and HTTP, each against the bare call."""
    bundle = unpack_bundle(place.fetch("export").path("bundle.tar"), place.new_folder("slot") / "a")
    images = test_images(place)
    make_it_see(bundle.folder, images)
    millis = time_calls(bundle, images)
    found = count_obstacles(ObstacleDetector(bundle.folder), images)
    notes = {
        "detect": f"{bundle.model.name}, {len(images)} frames, {found:.1f} obstacles a frame",
        "service": "with lock, health and metrics",
    }
    for name, note in notes.items():
        yield Result(f"detector.{name}", millis[name], "ms", PEER, millis["bare"], most=MAXIMUM, note=note)
    latency = time_requests(bundle.folder, images)
    yield Result("detector.http", latency, "ms", PEER, millis["bare"], note="POST /predict of a JPEG")


def time_calls(bundle: Bundle, images: Sequence[Image]) -> dict[str, float]:
    """Return median milliseconds of the bare call, the detector and the service, alternating, on one core."""
    bare, values = load_bare(bundle.model), network_input(images[0])
    detector = ObstacleDetector(bundle.folder)
    service = DetectorService(detector)
    frames = itertools.cycle(images)
    contestants: dict[str, Callable[[], object]] = {
        "bare": lambda: bare(values),
        "detect": lambda: detector.detect(next(frames)),
        "service": lambda: service.infer(next(frames)),
    }
    cv2.setNumThreads(1)
    with one_core():
        return {name: 1000 * value for name, value in take_turns(contestants, ROUNDS).items()}


def make_it_see(folder: Path, images: Sequence[Image]) -> None:
    """Set the score threshold of an unpacked bundle, by bisection, to report about `SEEN` obstacles per frame."""
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        set_threshold(folder, middle)
        seen = count_obstacles(ObstacleDetector(folder), images)
        if abs(seen - SEEN) < 0.5:
            return
        low, high = (middle, high) if seen > SEEN else (low, middle)


def set_threshold(folder: Path, score: float) -> None:
    """Change the score threshold of an unpacked bundle, and the hash of the changed file."""
    signature, release = (json.loads((folder / name).read_bytes()) for name in (SIGNATURE_FILE, RELEASE_FILE))
    signature["postprocess"]["score_threshold"] = score
    text = json.dumps(signature).encode()
    release["files"][SIGNATURE_FILE] = hashlib.sha256(text).hexdigest()
    (folder / SIGNATURE_FILE).write_bytes(text)
    (folder / RELEASE_FILE).write_text(json.dumps(release))


def count_obstacles(detector: ObstacleDetector, images: Sequence[Image]) -> float:
    """Return the mean number of obstacles per frame."""
    return statistics.mean(len(detector.detect(image).obstacles) for image in images)


def test_images(place: Workplace) -> Sequence[Image]:
    """Return the frames of the test split."""
    dataset = place.fetch("augment")
    table = DatasetTable.read(dataset.path("dataset.json"))
    return camera_images(read_frames(dataset.path("test.parquet"), table))


def network_input(image: Image) -> NDArray[np.float32]:
    """Convert a BGR frame of the network's size to the bare call's input, float32 NHWC, RGB in 0..1."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[None] / np.float32(255), np.float32)


def time_requests(folder: Path, images: Sequence[Image]) -> float:
    """Return median milliseconds of a prediction over HTTP, on one keep-alive connection."""
    bodies = [cv2.imencode(".jpg", image)[1].tobytes() for image in images]
    with running_service(folder) as process:
        connection = http.client.HTTPConnection("127.0.0.1", process.port)

        def ask(body: bytes) -> None:
            connection.request("POST", "/predict", body, {"Authorization": f"Bearer {TOKEN}"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"/predict: {answer.status}: {text.decode()}")

        seconds = [time_once(lambda: ask(bodies[number % len(bodies)])) for number in range(REQUESTS)]  # noqa: B023
    return 1000 * statistics.median(seconds)
