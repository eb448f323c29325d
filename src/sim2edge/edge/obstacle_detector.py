"""Detect obstacles on the device: one camera image in; floor type and obstacles (class, box, distance) out.

    detector = ObstacleDetector(Path("/data/slots/a"))      # an unpacked bundle
    detection = detector.detect(image)                      # uint8 [height, width, 3], BGR, of any size

The bundle's `signature.json` defines how images are prepared and outputs decoded; nothing about the network is hard
coded. Loading ends with a self-check: a fixed picture has to yield the outputs recorded when the release was built.

Not thread-safe: use one detector per thread.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.edge.bundle import CLASSES_FILE, SIGNATURE_FILE, open_bundle
from sim2edge.edge.camera_source import Image
from sim2edge.edge.runtime import Runtime, load_runtime
from sim2edge.errors import BadInput
from sim2edge.recipes import perception

WARM_UP_RUNS = 3
"""The first runs allocate memory and fault pages in; no camera frame should pay for that."""


@dataclass(frozen=True)
class Obstacle:
    """One obstacle in an image."""

    label: str
    confidence: float
    """0..1."""
    box: tuple[float, float, float, float]
    """x_min, y_min, x_max, y_max in pixels of the given image."""
    distance_m: float
    """Along the ground, from the camera to its nearest point."""


@dataclass(frozen=True)
class Detection:
    """The floor and the obstacles found in an image."""

    floor: str
    floor_confidence: float
    """0..1."""
    obstacles: tuple[Obstacle, ...]
    """By falling confidence."""


class ObstacleDetector:
    """A bundle's model with its pre- and post-processing."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load the bundle in `folder` and check it.

        Raises:
            BadInput: the bundle is damaged, its parts do not fit each other, or the self-check fails.
        """
        self.bundle = open_bundle(folder)
        self._threads = threads
        signature = self.bundle.read_json(SIGNATURE_FILE)
        names = self.bundle.read_json(CLASSES_FILE)
        self._runtime = load_runtime(self.bundle.model, threads)
        try:
            self._postprocess: Mapping[str, Any] = signature["postprocess"]
            self._classes = name_classes(names["classes"], self._postprocess)
            self._floors = tuple(names["floors"])
            expected = np.asarray(signature["self_check"]["floor"], np.float32)
            tolerance = float(signature["self_check"]["tolerance"])
            check_signature(signature, self._runtime)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{SIGNATURE_FILE} or {CLASSES_FILE}: {error!r} is missing or of the wrong type") from error
        self._preprocessor = Preprocessor(*self._runtime.input_shape[1:3])
        self._self_check(expected, tolerance)

    def cpu_seconds(self) -> float:
        """Return the processor time that inferences have used, and more: only differences count.

        With one thread that of the calling thread, so that other threads of the process do not count.
        """
        return time.thread_time() if self._threads == 1 else time.process_time()

    def detect(self, image: Image) -> Detection:
        """Find floor and obstacles in `image`.

        Raises:
            ValueError: the image is not uint8 [height, width, 3], or the floor output is not finite.
        """
        outputs = self._runtime.run(self._preprocessor.prepare(image))
        (found,) = perception.decode(outputs["floor"], outputs["obstacles"], **self._postprocess)
        return name_detections(found, self._classes, self._floors, image.shape[1], image.shape[0])

    def _self_check(self, expected: NDArray[np.float32], tolerance: float) -> None:
        height, width = self._runtime.input_shape[1:3]
        picture = check_picture(height, width)
        try:
            for _ in range(WARM_UP_RUNS):
                self.detect(picture)
        except (ValueError, TypeError, LookupError) as error:
            raise BadInput(f"{self.bundle.release.model_file}: the self-check failed: {error}") from error
        floor = self._runtime.run(self._preprocessor.prepare(picture))["floor"][0]
        apart = float(np.abs(floor - expected).max()) if floor.shape == expected.shape else math.inf
        if apart > tolerance:
            raise BadInput(
                f"{self.bundle.release.model_file}: the self-check failed: floor logits are {apart:.3g} from those of "
                f"the release, more than {tolerance:.3g}"
            )


class Preprocessor:
    """Turns camera images into the network's input, in buffers reused for every image."""

    def __init__(self, height: int, width: int) -> None:
        self._size = (width, height)
        self._resized: Image = np.empty((height, width, 3), np.uint8)
        self._rgb: Image = np.empty((height, width, 3), np.uint8)
        self._input = np.empty((1, height, width, 3), np.float32)

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """Resize `image` if needed, convert BGR to RGB and 0..255 to 0..1; the result is valid until the next call.

        Raises:
            ValueError: `image` is not uint8 [height, width, 3].
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"expected an image uint8 [height, width, 3], not {image.dtype} {list(image.shape)}")
        if image.shape[1::-1] != self._size:
            shrinks = image.shape[1] > self._size[0]
            cv2.resize(image, self._size, self._resized, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            image = self._resized
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, self._rgb)
        self._input[0] = self._rgb
        self._input *= np.float32(1 / 255)
        return self._input


def check_signature(signature: Mapping[str, Any], runtime: Runtime) -> None:
    """Check that the model's input and outputs match `signature`.

    Raises:
        BadInput: they do not.
        KeyError: the signature lacks a part.
    """
    if list(runtime.input_shape) != list(signature["input"]["shape"]):
        raise BadInput(
            f"the model takes {list(runtime.input_shape)}, {SIGNATURE_FILE} declares {signature['input']['shape']}"
        )
    for output in signature["outputs"]:
        shape = runtime.output_shapes.get(output["name"])
        if shape is None or list(shape) != list(output["shape"]):
            given = None if shape is None else list(shape)
            raise BadInput(
                f"output '{output['name']}': the model returns {given}, {SIGNATURE_FILE} declares {output['shape']}"
            )


def check_picture(height: int, width: int) -> Image:
    """Return the picture of the self-check: uint8 [height, width, 3], the same on every machine."""
    row, column, channel = np.ogrid[0:height, 0:width, 0:3]
    picture: Image = ((row * 7 + column * 3 + channel * 29) % 256).astype(np.uint8)
    return picture


def name_classes(names: Sequence[str], postprocess: Mapping[str, Any] | None) -> Mapping[int, str]:
    """Map the class indices of the network to names; classes that are not announced have none.

    Raises:
        ValueError: `announced` is not a list of indices, one for each name.
    """
    announced = (postprocess or {}).get("announced", range(len(names)))
    if not all(isinstance(index, int) for index in announced):
        raise ValueError(f"postprocess.announced: {announced} are not all indices")
    return dict(zip(announced, names, strict=True))


def name_detections(
    found: perception.Detections, classes: Mapping[int, str], floors: tuple[str, ...], width: int, height: int
) -> Detection:
    """Translate indices to names, and boxes to pixels of an image `width` x `height`.

    Raises:
        ValueError: the floor's probabilities are not finite.
    """
    floor = int(found.floor.argmax())
    confidence = float(found.floor[floor])
    if not math.isfinite(confidence):
        raise ValueError("the model's floor output is not finite")
    boxes, scores, distances = found.boxes.tolist(), found.scores.tolist(), found.distances_m.tolist()
    obstacles = tuple(
        Obstacle(classes[kind], score, (left * width, top * height, right * width, bottom * height), distance)
        for kind, score, (left, top, right, bottom), distance in zip(
            found.classes.tolist(), scores, boxes, distances, strict=True
        )
    )
    return Detection(floors[floor], confidence, obstacles)
