"""Verdicts on a bus: what they hold, who becomes champion, and that judging twice is the same run."""

import contextlib
import csv
import io
import json
import shutil

import pytest
import torch
from mlflow import MlflowClient
from perception_data import Diary, make_rows, put_artifact, run_stage, write_dataset, write_split
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sim2edge import registry
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest
from sim2edge.plan import plan
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.registry import ACCEPTED_REF, CHAMPION_REF, accept, crown
from sim2edge.runner import dry_run

NO_FLOORS = (
    "floors.floor_accuracy=0", "floors.map_50=0", "floors.class_ap_50.default=0", "floors.floor_recall.default=0",
)  # fmt: skip
LENIENT = (*NO_FLOORS, "tolerance=1", "distance_tolerance_m=10", "resamples=20")


def judge(bus, model, dataset, *overrides, champion=None):
    inputs = {"model": [model], "dataset": [dataset]} | ({"champion": [champion]} if champion else {})
    return run_stage(bus, "validate", inputs, *overrides)


def test_a_verdict_holds_what_the_format_says(bus, dataset, put_model, tmp_path):
    manifest, diary = judge(bus, put_model("1"), dataset, *LENIENT)
    folder = bus.fetch(manifest, tmp_path / "verdict").folder
    assert {path.name for path in folder.iterdir()} == {
        "verdict.json", "rules.csv", "confusion_matrix.csv", "confusion_matrix.png", "roc.png", "detections.json",
        "truth.json",
    }  # fmt: skip
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["passed"] is True
    assert set(verdict["rules"][0]) == {"rule", "value", "interval", "limit", "passed", "reference", "note"}
    assert verdict["champion"] is verdict["champion_metrics"] is None
    assert verdict["best"] == manifest.summary["best"]
    assert set(verdict["best"].values()) == set(manifest.inputs["model"])
    assert verdict["not_compared"] == {}
    assert verdict["metrics"]["frames"] == manifest.summary["frames"] == 30
    detections = json.loads((folder / "detections.json").read_text())
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "score"}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth := COCO(str(folder / "truth.json")), truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[1] == pytest.approx(verdict["metrics"]["map_50"], abs=1e-4)
    lines = (folder / "confusion_matrix.csv").read_text().splitlines()
    assert lines[0] == "head,truth,predicted,count"
    assert len(lines) == 1 + len(FLOORS) ** 2 + (1 + len(CLASSES)) ** 2
    assert diary.updates[-1] == (1, 1)
    rows = list(csv.DictReader((folder / "rules.csv").open()))
    assert [row["rule"] for row in rows] == [rule["rule"] for rule in verdict["rules"]]
    assert len([message for message in diary.messages if " (limit " in message]) == len(rows)


def test_a_model_below_the_floors_is_refused_and_not_champion(bus, dataset, put_model):
    manifest, _ = judge(bus, put_model("1"), dataset)
    assert manifest.refused.startswith("floor_accuracy >= floor: ")
    assert "map_50 >= floor: " in manifest.refused
    assert "\n" not in manifest.refused
    assert bus.read_ref(CHAMPION_REF) is None


def test_without_a_true_box_no_model_passes_and_the_refusal_says_why(bus, dataset_folder, put_model, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "no-box")
    write_split(folder / "test.parquet", [{**row, "boxes": []} for row in make_rows(30, 2)])
    manifest, _ = judge(bus, put_model("1"), put_artifact(bus, "dataset/toy-2/" + "b" * 16, folder), *LENIENT)
    said = "map_50 >= floor: not a number (limit 0, test.parquet has no box to judge it by)"
    assert manifest.refused.startswith(said)
    assert (manifest.summary["map_50"], manifest.summary["map_50_95"]) == (None, None)
    assert len(manifest.summary["not_judged"]["classes"]) == len(CLASSES)


def test_the_first_model_that_passes_is_accepted_and_judging_it_again_is_a_hit(bus, dataset, put_model):
    model = put_model("1")
    first, _ = judge(bus, model, dataset, *LENIENT)
    assert bus.read_ref(ACCEPTED_REF).target == model
    assert bus.read_ref(CHAMPION_REF) is None, "nothing is released yet"
    again, diary = judge(bus, model, dataset, *LENIENT)
    assert again == first
    assert diary.updates == []


def test_a_challenger_is_compared_with_the_champion_and_follows_it(bus, dataset, put_model, tmp_path):
    old, new = put_model("1"), put_model("2")
    judge(bus, old, dataset, *LENIENT)
    bus.move_ref(CHAMPION_REF, old)
    manifest, diary = judge(bus, new, dataset, *LENIENT)
    assert manifest.inputs["champion"] == [old]
    verdict = json.loads(bus.fetch(manifest, tmp_path / "v").path("verdict.json").read_text())
    assert verdict["champion"] == old
    assert verdict["champion_metrics"]["frames"] == 30
    assert any(rule["rule"] == "map_50 against the best" for rule in verdict["rules"])
    ref = bus.read_ref(ACCEPTED_REF)
    assert (ref.target, ref.previous) == (new, old)
    assert f"{new} is accepted; it is champion once it is released" in diary.messages
    bus.move_ref(CHAMPION_REF, new)
    again, diary = judge(bus, new, dataset, *LENIENT)
    assert (again, diary.updates) == (manifest, [])


def test_a_champion_that_moved_meanwhile_is_left_alone(bus, dataset, put_model):
    old, new, newest = put_model("1"), put_model("2"), put_model("3")
    judge(bus, old, dataset, *LENIENT)
    bus.move_ref(CHAMPION_REF, newest)
    manifest, diary = judge(bus, new, dataset, *LENIENT, champion=old)
    assert manifest.refused is None
    assert bus.read_ref(CHAMPION_REF).target == newest
    assert any("is " + newest + " now: not accepted" in message for message in diary.messages)


def test_a_champion_of_older_classes_does_not_stand_in_the_way(bus, dataset, put_model, tmp_path):
    old, new = put_model("1", classes=["box"]), put_model("2")
    bus.move_ref(CHAMPION_REF, old)
    manifest, diary = judge(bus, new, dataset, *LENIENT)
    verdict = json.loads(bus.fetch(manifest, tmp_path / "v").path("verdict.json").read_text())
    assert (verdict["champion"], verdict["champion_metrics"]) == (old, None)
    assert list(verdict["not_compared"]) == [old]
    assert "classes is ['box'], but the dataset's is" in verdict["not_compared"][old]
    assert any(message.startswith(f"not compared with {old}: ") for message in diary.messages)
    assert set(verdict["best"].values()) == {new}
    assert bus.read_ref(ACCEPTED_REF).target == new


def test_a_class_that_training_never_saw_is_named_and_not_held_against_the_model(bus, dataset, put_model, tmp_path):
    """The model's own dataset counts, not the one that it is judged on."""
    trained_on = write_dataset(tmp_path / "elsewhere", train=60, validation=2, test=2)
    content = json.loads((trained_on / "dataset.json").read_text())
    content["class_counts"] |= {"box": 0, "chair": 1}
    content["floor_counts"].pop("wood")
    (trained_on / "dataset.json").write_text(json.dumps(content))
    elsewhere = put_artifact(bus, "dataset/toy-0/" + "e" * 16, trained_on)
    inputs = {"model": [put_model("1")], "dataset": [dataset], "trained_on": [elsewhere]}
    words = ("min_examples=1", "min_episodes=1", "floors.floor_accuracy=0", "floors.map_50=0")
    manifest, _ = run_stage(bus, "validate", inputs, *words, "resamples=20")
    verdict = json.loads(bus.fetch(manifest, tmp_path / "v").path("verdict.json").read_text())
    assert "box" in verdict["not_judged"]["classes"]
    assert "chair" not in verdict["not_judged"]["classes"]
    assert "wood" in verdict["not_judged"]["floors"]
    states = {rule["rule"]: (rule["passed"], rule["note"]) for rule in verdict["rules"]}
    assert states["ap_50 of box >= floor"] == (None, "no training examples")
    assert states["ap_50 of chair >= floor"] == (False, "")
    assert manifest.summary["not_judged"] == verdict["not_judged"]
    assert "; not judged: box, " in manifest.refused
    manifest, _ = run_stage(bus, "validate", inputs, *words, "resamples=20", "unjudged=fail")
    assert "ap_50 of box >= floor: " in manifest.refused
    assert "no training examples" in manifest.refused


def test_a_dataset_that_counts_nothing_is_bad_input(bus, put_model, dataset_folder, tmp_path):
    folder = shutil.copytree(dataset_folder, tmp_path / "uncounted")
    content = json.loads((folder / "dataset.json").read_text())
    del content["floor_counts"]
    (folder / "dataset.json").write_text(json.dumps(content))
    dataset = put_artifact(bus, "dataset/toy-0/" + "b" * 16, folder)
    with pytest.raises(BadInput, match=r"dataset\.json: field 'floor_counts' is missing"):
        judge(bus, put_model("1"), dataset, *LENIENT)


def test_a_floor_for_a_class_that_the_dataset_lacks_is_bad_input(bus, dataset, put_model):
    with pytest.raises(BadInput, match=r"validate\.floors\.class_ap_50: 'cabel' is not one of: default, box, "):
        judge(bus, put_model("1"), dataset, *LENIENT, "floors.class_ap_50.cabel=0.1")


def test_the_same_verdict_made_again_has_the_same_bytes(bus, dataset, put_model, tmp_path):
    old, new = put_model("1"), put_model("2")
    judge(bus, old, dataset, *LENIENT)
    planned = plan(bus, "validate", overrides=LENIENT, inputs={"model": [new], "dataset": [dataset]})
    torch.set_num_threads(2)
    first, second = (dry_run(bus, planned, Diary(), tmp_path / name) for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["box"]}, r"model\.json: classes is \['box'\], but the dataset's is"),
        ({"height": 96}, r"model\.json: height is 96, but the dataset's is 48"),
        ({"postprocess": {}}, r"model\.json: not a model's description"),
    ],
)
def test_a_model_of_another_kind_is_named(bus, dataset, put_model, changes, message):
    with pytest.raises(BadInput, match=message):
        judge(bus, put_model("1", **changes), dataset, *LENIENT)


def test_mlflow_learns_which_model_is_accepted_and_which_is_champion(bus, dataset, put_model, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(registry, "SECONDS_BETWEEN_TRIES", 0.0)
    client, model = MlflowClient(uri), put_model("1")
    client.create_registered_model("perception")
    _, diary = judge(bus, model, dataset, *LENIENT)
    assert f"WARNING: MLflow has no run of {model}: the verdict is not tracked" in diary.messages
    assert f"WARNING: MLflow has no version of {model}: alias 'accepted' is unchanged" in diary.messages
    version = client.create_model_version(
        "perception", (tmp_path / "files").as_uri(), tags={registry.ARTIFACT_TAG: model}
    )
    manifest, diary = judge(bus, model, dataset, *LENIENT)
    assert client.get_model_version_by_alias("perception", "accepted").version == version.version
    release = manifest.model_copy(update={"inputs": {"model": [model]}})
    with monkeypatch.context() as patch:  # as in the stage that signs releases
        patch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
        crown(bus, release, diary)
    judge(bus, model, dataset, *LENIENT)
    assert client.get_model_version_by_alias("perception", "champion").version == version.version
    client.delete_registered_model_alias("perception", "champion")
    crown(bus, release, diary)
    assert client.get_model_version_by_alias("perception", "champion").version == version.version
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    _, diary = judge(bus, model, dataset, *LENIENT)
    assert any("MLflow failed, alias 'accepted' is not set" in message for message in diary.messages)


def test_a_race_to_be_accepted_is_lost_quietly(bus, dataset, put_model, monkeypatch):
    """Another validation moves the ref between this one's look and its swap."""
    mine, other = put_model("1"), put_model("2")
    manifest, _ = judge(bus, mine, dataset)
    passed = Manifest(**{**manifest.model_dump(), "refused": None})
    look, diary = bus.read_ref, Diary()

    def look_then_lose(name):
        seen = look(name)
        if name != ACCEPTED_REF:
            return seen
        monkeypatch.setattr(bus, "read_ref", look)
        bus.move_ref(ACCEPTED_REF, other)
        return seen

    monkeypatch.setattr(bus, "read_ref", look_then_lose)
    accept(bus, passed, diary)
    assert bus.read_ref(ACCEPTED_REF).target == other
    assert diary.messages == [f"{mine} passed, but another was accepted meanwhile: not accepted"]
