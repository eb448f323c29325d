"""The export stage from a trained network to a bundle that a device installs."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.edge.detector.footprint import measure_footprint
from sim2edge.edge.detector.runtime import load_runtime
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.errors import BadInput
from sim2edge.export.choose import Target, Variant
from sim2edge.export.config import ExportConfig
from sim2edge.export.device_profile import DeviceVariant
from sim2edge.export.forms import FORMS
from sim2edge.export.judged import keep_boxes
from sim2edge.export.latency import measure_latency
from sim2edge.export.model_card import write_card
from sim2edge.export.parity import Distance, Quality
from sim2edge.export.release_bundle import Checks, ReleaseFacts, assemble
from sim2edge.export.run import check_memory, collect_facts, read_json, read_table, run
from sim2edge.export.self_test_pictures import choose_pictures, read_pictures
from sim2edge.export.variants import run_all
from sim2edge.recipes import perception
from sim2edge.recipes.perception_frames import read_frames
from sim2edge.stage import Artifact, Job, Outcome

pytestmark = pytest.mark.slow

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
        assert variants[name]["distance"]["agreement"] == 1
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
    assert bundle.release.trained == ""
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
    assert footprint["memory_mb"] <= bundle.release.memory_mb
    with pytest.raises(RuntimeError, match="took 1000 MB, the release states 128"):
        check_memory(bundle, 1000)


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


def test_what_is_measured_here_is_no_payload(released: Released) -> None:
    job, outcome = released
    found = json.loads((job.measurements / "latency.json").read_text())
    assert set(found["latency_ms"]) == {form.name for form in FORMS if form.on_device}
    assert all(0 < each["p50_ms"] <= each["p95_ms"] for each in found["latency_ms"].values())
    differences = json.loads((job.measurements / "differences.json").read_text())
    for name in ("onnx", "torchscript", "tflite-float32"):
        assert max(differences[name].values()) < 1e-3
    assert max(differences["tflite-float16"].values()) < 0.1
    assert outcome.summary["latency"] == "unmeasured on raspberry-pi-4"
    assert outcome.summary["latency_ms"] is None


def test_what_was_not_judged_is_not_announced(released: Released, tmp_path: Path) -> None:
    job, _ = released
    verdict = {"passed": True, "not_judged": {"classes": ["cable", "box"], "floors": ["carpet"]}}
    facts = collect_facts(job, read_json(job.input("model"), "model.json"), verdict)
    model = job.output / "variants" / "model.onnx"
    test = read_frames(job.input("dataset").path("test.parquet"), read_table(job.input("dataset"), facts))
    assert set(test.classes.tolist()) == {0}
    assert len(keep_boxes(test, facts.announced).boxes) == 0
    variant = choose_variant(facts)
    about = read_json(job.input("dataset"), "dataset.json")
    card = write_card(facts, variant, Target("pi", {"onnx": 1.5}, "by hand"), variant.quality, about, 48, 128, 80.0)
    assert "| cable |" not in card
    assert "Obstacles: cylinder, chair, table, plant, person, shoe, door_frame." in card
    assert "Not judged for want of test examples, hence not reported: cable, box." in card
    assert "Floors: wood, tile, concrete, rug. " in card
    assert "Floors not judged, hence reported as unknown: carpet." in card
    assert "Latency of one detection: 1.5 ms on pi. Measured: by hand." in card
    pictures = read_pictures(job.input("dataset").path("test.parquet"), choose_pictures(test))
    write_bundle(tmp_path / "bundle.tar", assemble(facts, model, {}, card, Checks(80.0, pictures)))
    bundle = unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot")
    assert bundle.read_json("classes.json") == {
        "classes": ["cylinder", "chair", "table", "plant", "person", "shoe", "door_frame"],
        "floors": ["wood", "tile", "unknown", "concrete", "rug"],
    }
    floors = {ObstacleDetector(bundle.folder).detect(image).floor for image in camera_images(job)}
    assert "unknown" in floors
    assert "carpet" not in floors


def choose_variant(facts: ReleaseFacts) -> Variant:
    """An ONNX file of some quality."""
    quality = Quality(0.9, 0.5, 0.5, 0.5, 0.5, dict.fromkeys(facts.classes, 0.5))
    return Variant("onnx", "model.onnx", "float32", 700, True, quality, Distance({}, 1.0, 1.0))


@pytest.mark.parametrize(
    ("not_judged", "lack"),
    [
        ({"classes": list(perception.CLASSES)}, "classes that were judged 0 below 1"),
        ({"floors": list(perception.FLOORS)}, "floor types that were judged 0 below 1"),
    ],
)
def test_a_network_of_which_nothing_was_judged_is_refused(
    make_job: MakeJob, artifacts: dict[str, list[Artifact]], tmp_path: Path, not_judged: dict[str, list[str]], lack: str
) -> None:
    change = {"passed": True, "not_judged": not_judged}
    verdict = rewrite(artifacts["verdict"][0], tmp_path / "verdict", "verdict.json", lambda _: change)
    job = make_job(inputs={"verdict": [verdict]})
    outcome = run(job)
    assert outcome.refused == f"too little may be announced: {lack}"
    assert not (job.output / "bundle.tar").exists()


def test_the_release_holds_no_setting_that_decides_nothing(released: Released, tmp_path: Path) -> None:
    bundle = unpack_bundle(released[0].output / "bundle.tar", tmp_path / "slot")
    settings = yaml.safe_load((bundle.folder / "config.yaml").read_text())["export"]
    assert settings["device_class"] == "raspberry-pi-4"
    assert not {"latency_rounds", "latency_calls"} & set(settings)


@pytest.mark.parametrize(
    ("role", "name", "change", "problem"),
    [
        ("verdict", "verdict.json", lambda _: {"passed": False}, "did not pass validation"),
        ("verdict", "verdict.json", lambda _: {}, "did not pass validation"),
        ("verdict", "verdict.json", lambda _: [], "verdict.json: not a JSON object"),
        ("verdict", "verdict.json", lambda c: c | {"not_judged": ["box"]}, "verdict.json: not_judged: expected"),
        ("verdict", "verdict.json", lambda c: c | {"not_judged": {"classes": ["dragon"]}}, "not_judged.classes: expec"),
        ("verdict", "verdict.json", lambda c: c | {"not_judged": {"floors": "rug"}}, "not_judged.floors: expected"),
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


@pytest.mark.parametrize(("role", "given"), [("model", "1" * 16), ("dataset", "3" * 16)])
def test_a_verdict_about_something_else_is_refused(
    make_job: MakeJob, artifacts: dict[str, list[Artifact]], role: str, given: str
) -> None:
    verdict = artifacts["verdict"][0]
    other = verdict.manifest.inputs | {role: [f"{role}/b-1/" + "9" * 16]}
    changed = verdict.manifest.model_copy(update={"inputs": other})
    with pytest.raises(BadInput, match=f"is about {role}/b-1/9999999999999999, not {role}/b-1/{given}"):
        run(make_job(inputs={"verdict": [replace(verdict, manifest=changed)]}))


def test_nothing_is_written_outside_the_job(released: Released) -> None:
    job, _ = released
    assert {path.name for path in job.output.parent.iterdir()} == {"output", "scratch", "measurements"}
    assert not [path for path in Path.cwd().iterdir() if path.suffix in (".tflite", ".onnx", ".mlir")]


def test_a_profile_may_name_what_a_device_loads() -> None:
    assert set(get_args(DeviceVariant)) == {form.name for form in FORMS if form.on_device}
