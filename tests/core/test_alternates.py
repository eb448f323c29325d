"""What is made with other settings does not take the place of a batch's data unless it is asked to."""

import re
from dataclasses import replace as change

import pytest

from sim2edge import plan as plans
from sim2edge import runner
from sim2edge.alternates import describe, is_alternate
from sim2edge.errors import BadInput
from sim2edge.progress import JsonProgress


def plan(bus, name="capture", *overrides, inputs=None, **more):
    return plans.plan(bus, name, "demo-1", None, overrides, inputs, **more)


def execute(bus, planned):
    return runner.execute(bus, planned, JsonProgress(planned.stage.name))


def make(bus, name="capture", *overrides, **more):
    return execute(bus, plan(bus, name, *overrides, **more))


def refs(bus):
    return {ref.name.removeprefix("refs/"): ref.target for ref in bus.list_refs() if "datasets" not in ref.name}


@pytest.fixture
def batch(bus, toy_stages):
    """A batch with episodes and frames."""
    return make(bus), make(bus, "clean")


def test_a_batch_is_not_begun_again_with_other_settings(bus, batch):
    before = refs(bus)
    says = (
        f"batch 'demo-1' is {batch[0].reference}, made with other settings (lines 3, now 4): "
        "name another batch, or replace it"
    )
    with pytest.raises(BadInput, match=re.escape(says)):
        plan(bus, "capture", "lines=4")
    assert refs(bus) == before
    assert plan(bus, "capture", "workers=9").manifest == batch[0], "how the work is shared is no setting of the batch"


def test_it_is_replaced_by_who_asks_for_it_and_then_the_first_settings_are_the_others(bus, batch):
    episodes = make(bus, "capture", "lines=4", replace=True)
    frames = make(bus, "clean")
    assert refs(bus) == {"batches/demo-1": episodes.reference, "frames/demo-1": frames.reference}
    with pytest.raises(BadInput, match="lines 4, now 3"):
        plan(bus, "capture")
    assert make(bus, replace=True) == batch[0]


def test_frames_of_other_settings_are_kept_beside_named_by_them(bus, batch):
    beside = make(bus, "clean", "word=other")
    assert refs(bus) == {
        "batches/demo-1": batch[0].reference,
        "frames/demo-1": batch[1].reference,
        "alternates/frames/demo-1/word.other": beside.reference,
    }
    assert is_alternate(bus, beside.reference)
    assert not is_alternate(bus, batch[1].reference)


def test_they_take_the_place_of_the_others_when_asked(bus, batch):
    frames = make(bus, "clean", "word=other", replace=True)
    assert refs(bus)["frames/demo-1"] == frames.reference


def test_what_is_made_of_an_alternate_is_one(bus, batch):
    """As when two runs began a batch at once: the second found it begun only as it committed."""
    other = execute(bus, late(bus))
    frames = make(bus, "clean", inputs={"episodes": [other.reference]})
    assert refs(bus) == {
        "batches/demo-1": batch[0].reference,
        "frames/demo-1": batch[1].reference,
        "alternates/episodes/demo-1/lines.4": other.reference,
        f"alternates/frames/demo-1/episodes.{other.id[:8]}": frames.reference,
    }


def late(bus):
    """The plan of a run that was planned before the batch began."""
    planned = plan(bus, "capture", "lines=4", replace=True)
    return plans.Plan(planned.stage, planned.config, planned.inputs, planned.reference, None)


def test_a_new_version_of_a_stage_with_the_same_settings_takes_its_place(bus, batch, monkeypatch):
    old = plans.get_stage
    newer = change(plans.get_stage("clean"), version=9)
    monkeypatch.setattr(plans, "get_stage", lambda name: newer if name == "clean" else old(name))
    frames = make(bus, "clean")
    assert frames.version == 9
    assert refs(bus)["frames/demo-1"] == frames.reference


def test_an_empty_setting_is_named_so():
    assert describe({"floor": ("wood", ""), "classes": ({}, {"Man": "person"}), "copies": (0, 2)}) == (
        "floor wood, now empty; classes empty, now {'Man': 'person'}; copies 0, now 2"
    )
