"""Verdicts on a bus: what they hold, who becomes champion, and that judging twice is the same run."""

import json

import pytest
from mlflow import MlflowClient
from perception_data import Diary, run_stage

from sim2edge import registry
from sim2edge.errors import BadInput
from sim2edge.manifest import Manifest
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.registry import CHAMPION_REF, choose_champion, settle_verdict

LENIENT = ("floors.floor_accuracy=0", "floors.map_50=0", "floors.worst_class_ap_50=0", "tolerance=1")
LENIENT_TOO = (*LENIENT, "distance_tolerance_m=10")


def judge(bus, model, dataset, *overrides, champion=None):
    inputs = {"model": [model], "dataset": [dataset]} | ({"champion": [champion]} if champion else {})
    return run_stage(bus, "validate", inputs, *overrides)


def test_a_verdict_holds_what_the_format_says(bus, dataset, put_model, tmp_path):
    manifest, diary = judge(bus, put_model("1"), dataset, *LENIENT_TOO)
    folder = bus.fetch(manifest, tmp_path / "verdict").folder
    assert {path.name for path in folder.iterdir()} == {
        "verdict.json", "confusion_matrix.csv", "confusion_matrix.png", "roc.png", "detections.json",
    }  # fmt: skip
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["passed"] is True
    assert set(verdict["rules"][0]) == {"rule", "value", "limit", "passed"}
    assert verdict["champion"] is verdict["champion_metrics"] is None
    assert verdict["metrics"]["frames"] == manifest.summary["frames"] == 30
    detections = json.loads((folder / "detections.json").read_text())
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "score"}
    lines = (folder / "confusion_matrix.csv").read_text().splitlines()
    assert lines[0] == "head,truth,told,count"
    assert len(lines) == 1 + len(FLOORS) ** 2 + (1 + len(CLASSES)) ** 2
    assert diary.updates[-1] == (1, 1)


def test_a_model_below_the_floors_is_refused_and_not_champion(bus, dataset, put_model):
    manifest, _ = judge(bus, put_model("1"), dataset)
    assert manifest.refused.startswith("floor_accuracy >= floor: ")
    assert "map_50 >= floor: " in manifest.refused
    assert "\n" not in manifest.refused
    assert bus.read_ref(CHAMPION_REF) is None


def test_the_first_model_that_passes_is_champion_and_judging_it_again_is_a_hit(bus, dataset, put_model):
    model = put_model("1")
    first, _ = judge(bus, model, dataset, *LENIENT_TOO)
    assert bus.read_ref(CHAMPION_REF).target == model
    again, diary = judge(bus, model, dataset, *LENIENT_TOO)
    assert again == first
    assert diary.updates == []


def test_a_challenger_is_compared_with_the_champion_and_follows_it(bus, dataset, put_model, tmp_path):
    old, new = put_model("1"), put_model("2")
    judge(bus, old, dataset, *LENIENT_TOO)
    manifest, diary = judge(bus, new, dataset, *LENIENT_TOO)
    assert manifest.inputs["champion"] == [old]
    verdict = json.loads(bus.fetch(manifest, tmp_path / "v").path("verdict.json").read_text())
    assert verdict["champion"] == old
    assert verdict["champion_metrics"]["frames"] == 30
    assert any(rule["rule"] == "map_50 against champion" for rule in verdict["rules"])
    ref = bus.read_ref(CHAMPION_REF)
    assert (ref.target, ref.previous) == (new, old)
    assert f"{new} is champion" in diary.messages
    again, diary = judge(bus, new, dataset, *LENIENT_TOO)
    assert (again, diary.updates) == (manifest, [])


def test_a_champion_that_moved_meanwhile_is_left_alone(bus, dataset, put_model):
    old, new, newest = put_model("1"), put_model("2"), put_model("3")
    judge(bus, old, dataset, *LENIENT_TOO)
    bus.move_ref(CHAMPION_REF, newest)
    manifest, diary = judge(bus, new, dataset, *LENIENT_TOO, champion=old)
    assert manifest.refused is None
    assert bus.read_ref(CHAMPION_REF).target == newest
    assert any("is " + newest + " by now: left as it is" in message for message in diary.messages)


def test_a_champion_that_was_collected_is_no_champion(bus, put_model):
    model, gone = put_model("1"), "model/toy-1/" + "f" * 16
    bus.move_ref(CHAMPION_REF, gone)
    assert choose_champion(bus, {"model": [model], "dataset": []})["champion"] == []


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
        judge(bus, put_model("1", **changes), dataset, *LENIENT_TOO)


def test_mlflow_learns_who_is_champion(bus, dataset, put_model, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(registry, "SECONDS_BETWEEN_TRIES", 0.0)
    client, model = MlflowClient(uri), put_model("1")
    client.create_registered_model("perception")
    _, diary = judge(bus, model, dataset, *LENIENT_TOO)
    assert f"WARNING: MLflow has no version of {model}: alias 'champion' stays where it is" in diary.messages
    version = client.create_model_version(
        "perception", (tmp_path / "files").as_uri(), tags={registry.ARTIFACT_TAG: model}
    )
    judge(bus, model, dataset, *LENIENT_TOO)
    assert client.get_model_version_by_alias("perception", "champion").version == version.version
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    _, diary = judge(bus, model, dataset, *LENIENT_TOO)
    assert any("MLflow failed, alias 'champion' is not set" in message for message in diary.messages)


def test_a_race_for_the_champion_is_lost_quietly(bus, dataset, put_model, monkeypatch):
    """Another validation moves the ref between this one's look and its swap."""
    mine, other = put_model("1"), put_model("2")
    manifest, _ = judge(bus, mine, dataset)
    passed = Manifest(**{**manifest.model_dump(), "refused": None})
    look, diary = bus.read_ref, Diary()

    def look_then_lose(name):
        seen = look(name)
        monkeypatch.setattr(bus, "read_ref", look)
        bus.move_ref(CHAMPION_REF, other)
        return seen

    monkeypatch.setattr(bus, "read_ref", look_then_lose)
    settle_verdict(bus, passed, diary)
    assert bus.read_ref(CHAMPION_REF).target == other
    assert diary.messages == [f"{mine} passed, but the champion moved meanwhile: left as it is"]
