"""Detect obstacles on the device: one camera image in; floor type and obstacles (class, box, distance) out.

    detector = ObstacleDetector(Path("/data/slots/a"))      # an unpacked bundle
    detection = detector.detect(image)                      # uint8 [height, width, 3], BGR, of any size

The bundle's `signature.json` defines how images are prepared and outputs decoded; nothing about the network is hard
coded. Loading ends with the release's self-test: its pictures have to give the results recorded when it was built.

Not thread-safe: use one detector per thread.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sim2edge.edge.bundle import CLASSES_FILE, SIGNATURE_FILE, open_bundle
from sim2edge.edge.detector.camera_source import Image
from sim2edge.edge.detector.detection import Detection as Detection
from sim2edge.edge.detector.detection import Obstacle as Obstacle
from sim2edge.edge.detector.detection import name_classes, name_detections
from sim2edge.edge.detector.runtime import Runtime, load_runtime
from sim2edge.edge.judgement.self_test import (
    MAX_LOGIT_SHARE,
    SelfTest,
    check_tolerance,
    compare_logits,
    find_difference,
    largest,
    parse_self_test,
)
from sim2edge.errors import BadInput
from sim2edge.lines import join_lines
from sim2edge.recipes import perception

WARM_UP_RUNS = 3
"""The first runs allocate memory and fault pages in; no camera frame should pay for that."""
OUTPUTS = ("floor", "obstacles")
OTHER_VALUES = perception.BOX_VALUES + 2
"""Values of a cell besides one for each class: objectness, box, distance."""
UNKNOWN = "unknown"
"""The name of floors that were not judged; the only one that may occur twice."""


class ObstacleDetector:
    """A bundle's model with its pre- and post-processing."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load the bundle in `folder` and check it.

        Raises:
            BadInput: the bundle is damaged, its parts do not fit each other, or the self-test fails.
            MemoryError: this process gets no more memory.
        """
        self.bundle = open_bundle(folder)
        self._threads = threads
        signature = self.bundle.read_json(SIGNATURE_FILE)
        names = self.bundle.read_json(CLASSES_FILE)
        self._runtime = load_runtime(self.bundle.model, threads)
        try:
            check_signature(signature, self._runtime)
            self._postprocess: Mapping[str, Any] = signature["postprocess"]
            check_names(names, self._postprocess, self._runtime.output_shapes)
            self._classes = name_classes(names["classes"], self._postprocess)
            self._floors = tuple(names["floors"])
            expected = tuple(map(float, signature["self_check"]["floor"]))
            tolerance = float(signature["self_check"]["tolerance"])
            self.self_test = parse_self_test(signature["self_test"]) if "self_test" in signature else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{SIGNATURE_FILE} or {CLASSES_FILE}: {error!r} is missing or of the wrong type") from error
        self._preprocessor = Preprocessor(*self._runtime.input_shape[1:3])
        self._self_check(expected, tolerance)
        if self.self_test:
            self._run_self_test(self.self_test)

    def cpu_seconds(self) -> float:
        """Return the processor time that inferences have used, and more: only differences count.

        With one thread that of the calling thread, so that other threads of the process do not count.
        """
        return time.thread_time() if self._threads == 1 else time.process_time()

    def detect(self, image: Image) -> Detection:
        """Find floor and obstacles in `image`.

        Raises:
            ValueError: the image is not uint8 [height, width, 3], or an output of the model is not finite.
        """
        outputs = self._runtime.run(self._preprocessor.prepare(image))
        return self._decode(outputs, image.shape[1], image.shape[0])

    def pictures(self) -> Sequence[Image]:
        """Return the pictures of the self-test, BGR; that of the self-check if the release carries none.

        Raises:
            BadInput: a picture is missing, or not a JPEG.
        """
        if self.self_test:
            return [self._read_picture(answer.picture) for answer in self.self_test.answers]
        return [check_picture(*self._runtime.input_shape[1:3])]

    def _decode(self, outputs: Mapping[str, NDArray[np.float32]], width: int, height: int) -> Detection:
        for name, values in outputs.items():  # decoding leaves out what is not a number: an obstacle less, unnoticed
            if not np.isfinite(values).all():
                raise ValueError(f"the model's output '{name}' is not finite")
        (found,) = perception.decode(outputs["floor"], outputs["obstacles"], **self._postprocess)
        return name_detections(found, self._classes, self._floors, width, height)

    def _self_check(self, expected: Sequence[float], tolerance: float) -> None:
        """Check the floor of a fixed picture: all that releases before version 4 of export can be checked for."""
        check_tolerance(f"{SIGNATURE_FILE}: self_check.tolerance", tolerance, MAX_LOGIT_SHARE * largest(expected))
        picture = check_picture(*self._runtime.input_shape[1:3])
        try:
            for _ in range(WARM_UP_RUNS):
                self.detect(picture)
            outputs = self._runtime.run(self._preprocessor.prepare(picture))
        except MemoryError:
            raise
        except Exception as error:  # the runtimes raise their own C++ exception types, without a common base
            raise BadInput(f"{self._model}: the self-check failed: {join_lines(error)}") from error
        if fault := compare_logits("floor logits", outputs["floor"][0], expected, tolerance):
            raise BadInput(f"{self._model}: the self-check failed: {fault}")

    def _run_self_test(self, test: SelfTest) -> None:
        threshold = float(self._postprocess["score_threshold"])
        for answer, picture in zip(test.answers, self.pictures(), strict=True):
            try:
                outputs = self._runtime.run(self._preprocessor.prepare(picture))
                found = self._decode(outputs, 1, 1).obstacles
            except MemoryError:
                raise
            except Exception as error:  # as above
                raise BadInput(f"{self._model}: the self-test failed: {join_lines(error)}") from error
            if fault := find_difference(answer, outputs, found, test.tolerance, threshold):
                raise BadInput(f"{self._model}: the self-test failed: {answer.picture}: {fault}")

    def _read_picture(self, name: str) -> Image:
        if name not in self.bundle.release.files:
            raise BadInput(f"{SIGNATURE_FILE}: self_test: the bundle has no '{name}'")
        return decode_picture((self.bundle.folder / name).read_bytes(), name)

    @property
    def _model(self) -> str:
        return self.bundle.release.model_file


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
    if sorted(runtime.output_shapes) != sorted(OUTPUTS) or len(signature["outputs"]) != len(OUTPUTS):
        raise BadInput(
            f"the model returns {', '.join(runtime.output_shapes)}; a detector needs {' and '.join(OUTPUTS)}"
        )


def check_names(names: Mapping[str, Any], postprocess: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that there is one name for each class and floor of the model's outputs.

    Raises:
        BadInput: there are more or fewer, or one occurs twice.
        KeyError: a list is missing.
    """
    classes = shapes["obstacles"][-1] - OTHER_VALUES
    announced = postprocess.get("announced")
    if announced is not None and not is_subset(announced, classes):
        raise BadInput(f"{SIGNATURE_FILE}: postprocess.announced: {announced} are not all indices of {classes} classes")
    expected = {
        "classes": classes if announced is None else len(announced),
        "floors": shapes["floor"][-1],
    }
    for what, count in expected.items():
        given = names[what]
        if not isinstance(given, list) or not all(isinstance(name, str) and name for name in given):
            raise BadInput(f"{CLASSES_FILE}: {what}: of the wrong type: not a list of names")
        if len(given) != count:
            raise BadInput(f"{CLASSES_FILE}: {what}: {len(given)} names; the model's outputs have {count}")
        known = [name for name in given if name != UNKNOWN or what == "classes"]
        if len(set(known)) < len(known):
            twice = next(name for name in known if known.count(name) > 1)
            raise BadInput(f"{CLASSES_FILE}: {what}: '{twice}' is named twice")


def is_subset(announced: Any, classes: int) -> bool:
    """Return whether `announced` is a list of different indices of `classes` classes."""
    if not isinstance(announced, list) or not all(isinstance(index, int) for index in announced):
        return False
    return len(set(announced)) == len(announced) and set(announced) <= set(range(classes))


def decode_picture(data: bytes, name: str) -> Image:
    """Return a JPEG as an image, BGR.

    Raises:
        BadInput: it is not a JPEG.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise BadInput(f"{name}: not a JPEG")
    return np.asarray(image, np.uint8)


def check_picture(height: int, width: int) -> Image:
    """Return the picture of the self-check: uint8 [height, width, 3], the same on every machine."""
    row, column, channel = np.ogrid[0:height, 0:width, 0:3]
    picture: Image = ((row * 7 + column * 3 + channel * 29) % 256).astype(np.uint8)
    return picture
