"""The export stage from a trained network to a bundle that a device installs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.edge.footprint import measure_footprint
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.edge.runtime import load_runtime
from sim2edge.errors import BadInput
from sim2edge.export.choose import choose
from sim2edge.export.config import ExportConfig, Limits
from sim2edge.export.latency import measure_latency
from sim2edge.export.parity import Quality
from sim2edge.export.run import run
from sim2edge.export.variants import FORMS, run_all
from sim2edge.recipes import perception
from sim2edge.stage import Artifact, Job, Outcome

Released = tuple[Job[ExportConfig], Outcome]
MakeJob = Callable[..., Job[ExportConfig]]


def read_report(job: Job[ExportConfig]) -> dict[str, Any]:
    return json.loads((job.output / "export_report.json").read_text())


def camera_images(job: Job[ExportConfig]) -> list[np.ndarray]:
    column = pq.read_table(job.input("dataset").path("test.parquet"))["image"].to_pylist()
    return [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in column]


def rewrite(artifact: Artifact, folder: Path, name: str, change: Callable[[Any], Any]) -> Artifact:
    """A copy of `artifact` whose JSON file `name` is changed; its other files are linked."""
    folder.mkdir()
    for path in artifact.folder.iterdir():
        (folder / path.name).symlink_to(path)
    content = json.loads((folder / name).read_text())
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(change(content)))
    return Artifact(artifact.manifest, folder)


def test_release_holds_every_form_and_the_report(released: Released) -> None:
    job, outcome = released
    assert outcome.refused is None
    files = sorted(str(path.relative_to(job.output)) for path in job.output.rglob("*") if path.is_file())
    assert files == sorted(["bundle.tar", "export_report.json", *(f"variants/{form.file}" for form in FORMS)])
    report = read_report(job)
    assert report["chosen"] == outcome.summary["chosen"]
    assert {variant["name"] for variant in report["variants"]} == {form.name for form in FORMS}
    decided = [variant for variant in report["variants"] if variant["decision"].startswith("chosen")]
    assert [variant["name"] for variant in decided] == [report["chosen"]]


def test_every_form_agrees_with_the_trained_network(released: Released) -> None:
    variants = {variant["name"]: variant for variant in read_report(released[0])["variants"]}
    for name in ("onnx", "torchscript", "tflite-float32"):
        assert max(variants[name]["distance"]["difference"].values()) < 1e-3
        assert variants[name]["distance"]["agreement"] == 1
    assert max(variants["tflite-float16"]["distance"]["difference"].values()) < 0.1
    for variant in variants.values():
        assert variant["distance"]["floor_agreement"] >= 0.95
    assert variants["tflite-int8"]["bytes"] < variants["tflite-float16"]["bytes"] < variants["tflite-float32"]["bytes"]


def test_litert_and_onnx_runtime_give_the_same(released: Released) -> None:
    job, _ = released
    images = camera_images(job)[:8]
    onnx = run_all(load_runtime(job.output / "variants" / "model.onnx"), images)
    tflite = run_all(load_runtime(job.output / "variants" / "model.float32.tflite", threads=2), images)
    for name in onnx:
        assert np.allclose(onnx[name], tflite[name], atol=1e-3), name


def test_outputs_of_litert_belong_to_the_caller(released: Released) -> None:
    runtime = load_runtime(released[0].output / "variants" / "model.int8.tflite")
    first = runtime.run(np.ones(runtime.input_shape, np.float32))["floor"]
    kept = first.copy()
    runtime.run(np.zeros(runtime.input_shape, np.float32))
    assert np.array_equal(first, kept)


def test_a_device_installs_the_bundle_and_sees(released: Released, tmp_path: Path) -> None:
    job, outcome = released
    bundle = unpack_bundle(job.output / "bundle.tar", tmp_path / "slot")
    assert bundle.release.id == job.reference.rpartition("/")[2]
    assert bundle.release.trained == "2026-01-02T03:04:05+00:00"
    assert set(bundle.release.lineage) == {"model", "verdict", "dataset"}
    detector = ObstacleDetector(bundle.folder)
    floors = [perception.FLOORS.index(detector.detect(image).floor) for image in camera_images(job)]
    right = np.mean([floor == number % 4 for number, floor in enumerate(floors)])
    assert right == pytest.approx(outcome.summary["floor_accuracy"], abs=1e-3)
    card = (bundle.folder / "MODEL_CARD.md").read_text()
    for word in (bundle.release.id, "Intended use", "Limits", *perception.CLASSES, *bundle.release.lineage.values()):
        assert word in card


def test_the_stated_memory_covers_what_the_detector_takes(released: Released, tmp_path: Path) -> None:
    job, _ = released
    bundle = unpack_bundle(job.output / "bundle.tar", tmp_path / "slot")
    footprint = measure_footprint(bundle.folder)
    print(f"[footprint] {footprint}")
    assert footprint["memory_mb"] < bundle.release.memory_mb + 32


def test_the_same_release_gives_the_same_bundle(released: Released, tmp_path: Path) -> None:
    job, _ = released
    bundle = unpack_bundle(job.output / "bundle.tar", tmp_path / "slot")
    write_bundle(tmp_path / "again.tar", {path.name: path.read_bytes() for path in bundle.folder.iterdir()})
    assert (tmp_path / "again.tar").read_bytes() == (job.output / "bundle.tar").read_bytes()


def test_detectors_take_turns(released: Released, tmp_path: Path) -> None:
    job, _ = released
    slot = unpack_bundle(job.output / "bundle.tar", tmp_path / "slot").folder
    detectors = {"one": ObstacleDetector(slot), "two": ObstacleDetector(slot)}
    times = measure_latency(detectors, camera_images(job), rounds=5, calls=5)
    assert all(0 < latency.p50_ms <= latency.p95_ms for latency in times.values())
    assert 0.2 < times["one"].p50_ms / times["two"].p50_ms < 5


def test_a_tampered_model_fails_the_self_check(released: Released, tmp_path: Path) -> None:
    """The hashes are right, but the model is another one: the picture of the self-check gives it away."""
    import hashlib

    job, _ = released
    bundle = unpack_bundle(job.output / "bundle.tar", tmp_path / "slot")
    files = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    signature = json.loads(files["signature.json"])
    signature["self_check"]["floor"] = [-logit for logit in signature["self_check"]["floor"]]
    files["signature.json"] = json.dumps(signature).encode()
    release = json.loads(files.pop("release.json"))
    release["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    write_bundle(tmp_path / "bundle.tar", files | {"release.json": json.dumps(release).encode()})
    with pytest.raises(BadInput, match="the self-check failed"):
        ObstacleDetector(unpack_bundle(tmp_path / "bundle.tar", tmp_path / "other").folder)


def test_a_gate_that_nothing_passes_refuses(released: Released) -> None:
    report = read_report(released[0])
    strict = Limits(min_floor_accuracy=1.0, max_floor_accuracy_drop=0.0)
    worse = Quality(**report["trained"] | {"floor_accuracy": 0.5})
    assert choose([], worse, strict, 0.05).chosen is None


@pytest.mark.parametrize(
    ("role", "name", "change", "problem"),
    [
        ("verdict", "verdict.json", lambda _: {"passed": False}, "did not pass validation"),
        ("verdict", "verdict.json", lambda _: {}, "did not pass validation"),
        ("verdict", "verdict.json", lambda _: [], "verdict.json: not a JSON object"),
        ("model", "model.json", lambda c: {k: v for k, v in c.items() if k != "recipe"}, "field 'recipe' is missing"),
        ("dataset", "dataset.json", lambda c: c | {"classes": ["box"]}, "classes: not those of model/"),
        ("dataset", "dataset.json", lambda c: c | {"height": 64}, "image is 48x32, not 48x64"),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    make_job: MakeJob,
    artifacts: dict[str, list[Artifact]],
    tmp_path: Path,
    role: str,
    name: str,
    change: Callable[[Any], Any],
    problem: str,
) -> None:
    changed = rewrite(artifacts[role][0], tmp_path / role, name, change)
    with pytest.raises(BadInput, match=problem) as caught:
        run(make_job(inputs={role: [changed]}))
    assert "\n" not in str(caught.value)


def test_a_verdict_about_another_model_is_refused(make_job: MakeJob, artifacts: dict[str, list[Artifact]]) -> None:
    verdict = artifacts["verdict"][0]
    other = verdict.manifest.model_copy(update={"inputs": {"model": ["model/b-1/" + "9" * 16]}})
    with pytest.raises(BadInput, match="is about model/b-1/9999999999999999, not model/b-1/1111111111111111"):
        run(make_job(inputs={"verdict": [replace(verdict, manifest=other)]}))


def test_nothing_is_written_outside_the_job(released: Released) -> None:
    job, _ = released
    assert {path.name for path in job.output.parent.iterdir()} == {"output", "scratch"}
    assert not [path for path in Path.cwd().iterdir() if path.suffix in (".tflite", ".onnx", ".mlir")]
