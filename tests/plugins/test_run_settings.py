"""What a run is told by hand wins over what an event brings; what nobody says comes from the deployment."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from sim2edge.capture.config import CaptureConfig
from sim2edge.errors import BadInput
from sim2edge_airflow.run_settings import BATCH, SCOPES, TYPED, check_settings, merge_settings, run_params

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = {"reference": "frames/b/0000000000000001", "preset": "demo", "overrides": ["train.epochs=3"]}


def event(extra, minutes=0):
    return SimpleNamespace(extra=extra, timestamp=NOW + timedelta(minutes=minutes))


def test_a_run_that_nobody_told_anything_uses_the_deployments_preset():
    settings = merge_settings("any", "b", {"preset": None, "overrides": []}, [], "default")
    assert (settings.preset, settings.overrides, settings.started_by) == ("default", (), None)


def test_a_run_goes_on_with_what_the_event_brings():
    settings = merge_settings("any", "b", {}, [event(EVENT)], "default")
    assert settings.preset == "demo"
    assert settings.for_stage("train") == ["epochs=3"]
    assert settings.for_stage("clean") == []
    extra = settings.for_event("model/b/0000000000000002")
    assert extra == {**EVENT, "reference": "model/b/0000000000000002", "backfill": False}


def test_that_a_batch_is_of_a_backfill_goes_down_the_chain():
    settings = merge_settings("any", "b", {}, [event({**EVENT, "backfill": True})], "default")
    assert settings.for_event("frames/b/0000000000000002")["backfill"] is True
    assert merge_settings("any", "b", {}, [event({**EVENT, "backfill": "yes"})], "default").backfill is False


def test_a_training_brings_settings_but_no_artifact():
    training = {"training": "20260101t000000-00000000", "preset": "demo", "overrides": ["train.epochs=3"]}
    settings = merge_settings("any", "b", {}, [event(training)], "default")
    assert (settings.preset, settings.overrides, settings.started_by) == ("demo", ("train.epochs=3",), None)


def test_params_win_over_the_event():
    settings = merge_settings(
        "any", "b", {"preset": "mine", "overrides": ["train.epochs=9"]}, [event(EVENT)], "default"
    )
    assert (settings.preset, settings.for_stage("train")) == ("mine", ["epochs=9"])


def test_of_several_events_the_last_counts_and_those_made_by_hand_bring_nothing():
    newer = {**EVENT, "preset": "newer"}
    events = [event(newer, 5), event(EVENT, 1), event({"from_rest_api": True}, 9)]
    assert merge_settings("any", "b", {}, events, "default").preset == "newer"


@pytest.mark.parametrize("word", ["epochs=3", "train", "training.epochs=3", "train.epochs", "train.=3"])
def test_an_override_that_names_no_stage_or_no_field_is_bad_input(word):
    with pytest.raises(BadInput, match="override"):
        merge_settings("any", "b", {"overrides": [word]}, [], "default")


@pytest.mark.parametrize("word", ["push.ring=stable", "validate.floors.map_50=0", "export.limits.min_classes=0"])
@pytest.mark.parametrize("dag_id", ["sim_capture", "ingest_batch", "data_cleaning", "train_model"])
def test_who_makes_data_or_trains_does_not_decide_about_the_fleet(dag_id, word):
    with pytest.raises(BadInput, match=f"override '{word}': {dag_id} takes settings of "):
        merge_settings(dag_id, "b", {"overrides": [word]}, [], "default")
    inherited = merge_settings(dag_id, "b", {}, [event({**EVENT, "overrides": [word]})], "default")
    assert inherited.overrides == ()


@pytest.mark.parametrize("stage", ["validate", "export", "push"])
def test_the_preset_of_data_is_not_that_of_the_gate_and_the_release(stage):
    for dag_id in ("sim_capture", "data_cleaning", "train_model"):
        settings = merge_settings(dag_id, "b", {"preset": "tiny"}, [], "default")
        assert settings.preset_of(stage) == "default"
        assert settings.preset_of("augment") == "tiny"


def test_a_release_takes_no_settings_from_the_training_and_its_own_from_who_starts_it():
    settings = merge_settings("release_model", "b", {}, [event(EVENT)], "default")
    assert (settings.preset, settings.overrides, settings.started_by) == ("default", (), EVENT["reference"])
    by_hand = merge_settings("release_model", "b", {"overrides": ["push.ring=stable"]}, [event(EVENT)], "default")
    assert by_hand.for_stage("push") == ["ring=stable"]


def test_a_message_says_where_the_setting_belongs():
    with pytest.raises(BadInput, match="those of push are given to release_model"):
        merge_settings("sim_capture", "b", {"overrides": ["push.ring=stable"]}, [], "default")
    with pytest.raises(BadInput, match="those of validate are the deployment's"):
        merge_settings("train_model", "b", {"overrides": ["validate.min_examples=0"]}, [], "default")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"overrides": ["augment.copiez=2"]}, "augment.copiez: unknown key"),
        ({"overrides": ["augment.copies=many"]}, "augment.copies: "),
        ({"preset": "demoo"}, "preset 'demoo' is not one of: default, demo, tiny"),
    ],
)
def test_a_typo_for_a_later_stage_is_found_by_the_first_task(params, says):
    with pytest.raises(BadInput, match=says):
        check_settings(merge_settings("sim_capture", "b", params, [], "default"))


def test_every_scope_is_of_stages_and_the_gate_is_in_none():
    from sim2edge.stages import stage_names

    found = {stage for stages in SCOPES.values() for stage in stages}
    assert found <= set(stage_names())
    assert "validate" not in found


def test_the_form_begins_with_the_batch_and_marks_nothing_else_as_required():
    for dag_id in SCOPES:
        params = run_params(dag_id)
        required = [name for name, param in params.items() if "null" not in param.schema["type"]]
        assert required == (["batch"] if dag_id in BATCH and dag_id != "sim_capture" else [])
        assert next(iter(params)) == ("batch" if dag_id in BATCH else "preset")
        for name, param in params.items():
            assert param.resolve() == param.value, "a run that an asset starts has no params of its own"
            assert "Default" in param.schema["description_md"] or name == "batch"


def test_a_field_of_the_form_of_captures_stands_for_one_setting_and_an_override_wins():
    params = {"episodes": 3, "episode_seconds": None, "overrides": ["clean.width=64"]}
    settings = merge_settings("sim_capture", "b", params, [], "default")
    assert settings.overrides == ("capture.episodes=3", "clean.width=64")
    check_settings(settings)
    for name, key in TYPED.items():
        default = CaptureConfig.model_fields[key.removeprefix("capture.")].default
        assert f"without one {default:g}." in run_params("sim_capture")[name].schema["description_md"]
