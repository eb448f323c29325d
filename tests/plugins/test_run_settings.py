"""What a run is told by hand wins over what an event brings; what nobody says comes from the deployment."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from sim2edge.errors import BadInput
from sim2edge_airflow.run_settings import merge_settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = {"reference": "frames/b/0000000000000001", "preset": "demo", "overrides": ["train.epochs=3"]}


def event(extra, minutes=0):
    return SimpleNamespace(extra=extra, timestamp=NOW + timedelta(minutes=minutes))


def test_a_run_that_nobody_told_anything_uses_the_deployments_preset():
    settings = merge_settings("b", {"preset": None, "overrides": []}, [], "default")
    assert (settings.preset, settings.overrides, settings.started_by) == ("default", (), None)


def test_a_run_goes_on_with_what_the_event_brings():
    settings = merge_settings("b", {}, [event(EVENT)], "default")
    assert settings.preset == "demo"
    assert settings.for_stage("train") == ["epochs=3"]
    assert settings.for_stage("clean") == []
    extra = settings.for_event("model/b/0000000000000002")
    assert extra == {**EVENT, "reference": "model/b/0000000000000002", "backfill": False}


def test_that_a_batch_is_of_a_backfill_goes_down_the_chain():
    settings = merge_settings("b", {}, [event({**EVENT, "backfill": True})], "default")
    assert settings.for_event("frames/b/0000000000000002")["backfill"] is True
    assert merge_settings("b", {}, [event({**EVENT, "backfill": "yes"})], "default").backfill is False


def test_a_training_brings_settings_but_no_artifact():
    training = {"training": "20260101t000000-00000000", "preset": "demo", "overrides": ["train.epochs=3"]}
    settings = merge_settings("b", {}, [event(training)], "default")
    assert (settings.preset, settings.overrides, settings.started_by) == ("demo", ("train.epochs=3",), None)


def test_params_win_over_the_event():
    settings = merge_settings("b", {"preset": "mine", "overrides": ["train.epochs=9"]}, [event(EVENT)], "default")
    assert (settings.preset, settings.for_stage("train")) == ("mine", ["epochs=9"])


def test_of_several_events_the_last_counts_and_those_made_by_hand_bring_nothing():
    newer = {**EVENT, "preset": "newer"}
    events = [event(newer, 5), event(EVENT, 1), event({"from_rest_api": True}, 9)]
    assert merge_settings("b", {}, events, "default").preset == "newer"


@pytest.mark.parametrize("word", ["epochs=3", "train", "training.epochs=3", "train.epochs", "train.=3"])
def test_an_override_that_names_no_stage_or_no_field_is_bad_input(word):
    with pytest.raises(BadInput, match="override"):
        merge_settings("b", {"overrides": [word]}, [], "default")
