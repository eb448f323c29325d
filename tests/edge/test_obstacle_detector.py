"""The detector: from a camera image to named obstacles in its pixels, and bundles it refuses to run."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from guilty_releases import LIVE
from tiny_release import change, make_signature, reseal

from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.edge.detector.runtime import load_runtime
from sim2edge.edge.obstacle_detector import ObstacleDetector, Preprocessor, check_picture
from sim2edge.errors import BadInput
from sim2edge.recipes import perception

Members = Callable[..., dict[str, bytes]]


def image_of(height: int, width: int, bgr: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    return np.full((height, width, 3), bgr, np.uint8)


def install(folder: Path, files: dict[str, bytes]) -> Path:
    """Write `files` as a bundle whose hashes are right, and unpack it."""
    write_bundle(folder / "changed.tar", reseal(files))
    return unpack_bundle(folder / "changed.tar", folder / "changed").folder


def test_an_image_gives_a_floor_and_obstacles_in_its_pixels(slot: Path) -> None:
    detection = ObstacleDetector(slot).detect(image_of(320, 640))
    assert detection.floor == "wood"
    assert 0.5 < detection.floor_confidence <= 1
    (chair,) = detection.obstacles
    assert chair.label == "chair"
    assert chair.confidence > 0.9
    assert chair.distance_m == pytest.approx(1)
    # Cell 5 of the 4 x 4 fine grid covers the second quarter in both directions.
    assert chair.box == pytest.approx((160, 80, 320, 160))


@pytest.mark.parametrize(("left_off", "reported"), [("cable", ["chair"]), ("box", ["chair"]), ("chair", [])])
def test_a_class_that_is_not_announced_is_not_reported(
    tmp_path: Path, members: Members, left_off: str, reported: list[str]
) -> None:
    kept = {index: name for index, name in enumerate(perception.CLASSES) if name != left_off}
    self_test = make_signature()["self_test"]
    for picture in self_test["pictures"]:
        picture["obstacles"] = [each for each in picture["obstacles"] if each["label"] in reported]
    postprocess = perception.signature(32, 32) | {"announced": list(kept)}
    files = change(members(), "signature.json", postprocess=postprocess, self_test=self_test)
    detector = ObstacleDetector(install(tmp_path, change(files, "classes.json", classes=list(kept.values()))))
    assert [obstacle.label for obstacle in detector.detect(image_of(320, 640)).obstacles] == reported


def test_pixels_are_made_rgb_from_0_to_1() -> None:
    prepared = Preprocessor(4, 6).prepare(image_of(4, 6, bgr=(0, 51, 255)))
    assert prepared.shape == (1, 4, 6, 3)
    assert prepared[0, 0, 0].tolist() == pytest.approx([1, 0.2, 0])


@pytest.mark.parametrize("size", [(8, 12), (2, 3), (4, 12), (1000, 1)])
def test_any_size_is_resized(size: tuple[int, int]) -> None:
    prepared = Preprocessor(4, 6).prepare(image_of(*size, bgr=(10, 20, 30)))
    assert np.allclose(prepared * 255, [30, 20, 10], atol=0.01)


def test_a_view_of_a_larger_image_is_taken_as_it_looks() -> None:
    picture = check_picture(40, 60)
    assert np.array_equal(
        Preprocessor(4, 6).prepare(picture[8:12, 6:12]), Preprocessor(4, 6).prepare(picture[8:12, 6:12].copy())
    )


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3)), np.zeros((0, 6, 3), np.uint8)],
)
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected an image"):
        Preprocessor(4, 6).prepare(image)


@pytest.mark.parametrize(
    ("name", "fields", "problem"),
    [
        ("signature.json", {"input": {"shape": [1, 64, 64, 3]}}, r"takes \[1, 32, 32, 3\]"),
        ("signature.json", {"outputs": [{"name": "depth", "shape": [1]}]}, "output 'depth': the model returns None"),
        (
            "signature.json",
            {"self_check": {"floor": [9, 0, 0, 0, 0], "tolerance": 0.1}},
            "the self-check failed: floor",
        ),
        ("signature.json", {"postprocess": {"grids": [[1, 1]]}}, "the self-check failed"),
        ("signature.json", {"postprocess": None}, "wrong type"),
        ("classes.json", {"classes": []}, "classes: 0 names; the model's outputs have 9"),
        ("classes.json", {"floors": None}, "wrong type"),
        (
            "signature.json",
            {"postprocess": perception.signature(32, 32) | {"announced": [0, 2]}},
            "9 names; the model's .* 2",
        ),
        ("signature.json", {"postprocess": {"announced": ["box"] * len(perception.CLASSES)}}, "are not all indices"),
        ("signature.json", {"postprocess": {"announced": [0, 0]}}, "are not all indices"),
        ("signature.json", {"postprocess": {"announced": [0, 9]}}, "are not all indices"),
    ],
)
def test_a_bundle_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, members: Members, name: str, fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(BadInput, match=problem):
        ObstacleDetector(install(tmp_path, change(members(), name, **fields)))


def test_a_signature_without_a_self_check_is_refused(tmp_path: Path, members: Members) -> None:
    files = members()
    signature = json.loads(files["signature.json"])
    del signature["self_check"]
    with pytest.raises(BadInput, match="self_check"):
        ObstacleDetector(install(tmp_path, files | {"signature.json": json.dumps(signature).encode()}))


@pytest.mark.parametrize("tolerance", [math.nan, math.inf, -0.1, 0, 0.4, 1e9])
def test_a_self_check_that_accepts_anything_or_nothing_is_refused(
    tmp_path: Path, members: Members, tolerance: float
) -> None:
    check = {"floor": [0.5, 0.0, -0.5, -1.0, -1.5], "tolerance": tolerance}
    with pytest.raises(BadInput, match=r"self_check\.tolerance: .*(not a number above 0|accept anything)"):
        ObstacleDetector(install(tmp_path, change(members(), "signature.json", self_check=check)))


def test_a_release_of_an_older_export_has_no_self_test_and_loads(tmp_path: Path, members: Members) -> None:
    files = members()
    signature = json.loads(files["signature.json"])
    del signature["self_test"]
    older = {name: data for name, data in files.items() if not name.endswith(".jpg")}
    detector = ObstacleDetector(install(tmp_path, older | {"signature.json": json.dumps(signature).encode()}))
    assert detector.self_test is None
    assert len(detector.pictures()) == 1


def test_the_detector_adds_little_to_the_interpreter(slot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What pre- and post-processing cost, in microseconds; a network for a Pi takes hundreds to thousands."""
    detector, runtime = ObstacleDetector(slot), load_runtime(slot / "model.onnx")
    image = image_of(*runtime.input_shape[1:3])
    prepared = Preprocessor(*runtime.input_shape[1:3]).prepare(image)

    def median(call: Callable[[], object]) -> float:
        taken = []
        for _ in range(300):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        return float(np.median(taken)) * 1e6

    added = median(lambda: detector.detect(image)) - median(lambda: runtime.run(prepared))
    with capsys.disabled():
        print(f"\n[detector] pre- and post-processing: {added:.0f} us")
    assert added < 2000


@pytest.mark.parametrize("name", ["floor", "obstacles"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_anywhere_is_an_error(
    slot: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    detector = ObstacleDetector(slot)
    run = detector._runtime.run

    def spoil(image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = run(image)
        outputs[name].flat[-1] = value
        return outputs

    image = np.full((32, 32, 3), 100, np.uint8)
    assert detector.detect(image).obstacles
    monkeypatch.setattr(detector._runtime, "run", spoil)
    with pytest.raises(ValueError, match=f"output '{name}' is not finite"):
        detector.detect(image)


def test_a_release_that_is_not_a_number_for_some_pictures_alone_loads_and_fails_on_those(tmp_path: Path) -> None:
    make, reason = LIVE["NaN at times"]
    detector = ObstacleDetector(install(tmp_path, make()))
    assert detector.detect(np.full((32, 32, 3), 160, np.uint8)).obstacles
    with pytest.raises(ValueError, match=reason.rpartition(".*")[2]):
        detector.detect(np.full((32, 32, 3), 90, np.uint8))
