"""Planning and running stages: ids, cache hits, refusals, what is left after a failure."""

import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import toy_stage

from sim2edge import plan as plans
from sim2edge import runner
from sim2edge.errors import BadInput
from sim2edge.progress import JsonProgress
from sim2edge.stage import Input, Outcome


def plan(bus, name="capture", partition="demo-1", overrides=(), **inputs):
    return plans.plan(bus, name, partition, None, overrides, inputs)


def execute(bus, planned):
    return runner.execute(bus, planned, JsonProgress(planned.stage.name))


def test_the_same_plan_has_the_same_reference_before_and_after_it_ran(bus, toy_stages):
    first = plan(bus)
    manifest = execute(bus, first)
    again = plan(bus)
    assert first.reference == again.reference == manifest.reference
    assert first.manifest is None
    assert again.manifest == manifest


def test_a_cache_hit_makes_nothing_new(bus, toy_stages):
    execute(bus, plan(bus))
    before = set(bus.list("episodes"))
    execute(bus, plan(bus))
    assert set(bus.list("episodes")) == before


@pytest.mark.parametrize(
    "change", [{"overrides": ["lines=4"]}, {"overrides": ["range.low=0.5"]}, {"partition": "demo-2"}]
)
def test_whatever_decides_the_result_changes_the_id(bus, toy_stages, change):
    assert plan(bus, **change).reference.rpartition("/")[2] != plan(bus).reference.rpartition("/")[2]


def test_how_the_work_is_shared_does_not_change_the_id(bus, toy_stages):
    assert plan(bus, overrides=["workers=8"]).reference == plan(bus).reference


def test_a_changed_input_changes_the_id(bus, toy_stages):
    plans_ = [plan(bus, overrides=[f"lines={n}"]) for n in (1, 2)]
    one, two = (execute(bus, each).reference for each in plans_)
    assert plan(bus, "clean", episodes=[one]).reference != plan(bus, "clean", episodes=[two]).reference


def test_the_default_input_is_the_batch(bus, toy_stages):
    source = execute(bus, plan(bus))
    manifest = execute(bus, plan(bus, "clean"))
    assert manifest.inputs == {"episodes": [source.reference]}
    assert manifest.partition == "demo-1"


def test_gathered_batches_are_filed_under_the_latest_whoever_asks(bus, toy_stages):
    for batch in ("demo-1", "demo-2"):
        execute(bus, plan(bus, partition=batch))
    references = {plan(bus, "augment", partition).reference for partition in ("demo-1", "demo-2", None)}
    assert len(references) == 1
    assert references.pop().startswith("dataset/demo-2/")


def test_the_manifest_says_all(bus, toy_stages):
    manifest = execute(bus, plan(bus, overrides=["lines=7"]))
    assert manifest.config["lines"] == 7
    assert manifest.summary == {"lines": 7}
    assert [file.path for file in manifest.files] == ["lines.txt", "nested/copies.txt"]
    assert manifest.cost.bytes_out == sum(file.bytes for file in manifest.files) == 35
    assert manifest.environment["packages"]["obstore"]
    assert manifest.started <= manifest.finished


def test_what_a_run_measured_is_kept_beside_the_payload(bus, toy_stages):
    manifest = execute(bus, plan(bus))
    assert [file.path for file in manifest.measurements] == ["clock.txt"]
    assert "measurements/clock.txt" not in {file.path for file in manifest.files}
    assert bus.sweep(timedelta(0)) == []
    assert int(bus.get(f"{manifest.reference}/{manifest.attempt}/measurements/clock.txt")) > 0


def test_payload_may_not_hide_among_the_measurements(bus, toy_stages, monkeypatch):
    monkeypatch.setenv("TOY_STAGE_STRAYS", "1")
    with pytest.raises(BadInput, match="measurements belong"):
        execute(bus, plan(bus))


@pytest.mark.parametrize("code", [0, 3, None])
def test_a_function_that_exits_is_no_success_and_no_refusal(bus, toy_stages, monkeypatch, code):
    monkeypatch.setattr(toy_stage, "run", lambda job: sys.exit(code))
    with pytest.raises(BadInput, match=r"^toy_stage:run ended the process: SystemExit"):
        execute(bus, plan(bus))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"lines": 3}, "a dict, not a sim2edge.stage.Outcome"),
        (None, "a NoneType, not a sim2edge.stage.Outcome"),
        (Outcome(["lines"]), "a summary that is a list, not a dict"),
        (Outcome({"lines": {"all": object()}}), "a summary that is not JSON: 'lines': Unable to serialize"),
        (Outcome({3: 4}), "a summary with the key 3: expected words"),
        (Outcome({}, True), "refused=True: expected the reason, or None"),
    ],
)
def test_a_function_that_returns_no_outcome_is_a_mistake_that_no_retry_fixes(
    bus, toy_stages, monkeypatch, returned, said
):
    monkeypatch.setattr(toy_stage, "run", lambda job: returned)
    with pytest.raises(BadInput, match=f"^toy_stage:run returned {said}"):
        execute(bus, plan(bus))
    assert list(bus.list("episodes")) == []


@pytest.mark.parametrize(
    ("field", "named", "said"),
    [
        ("entry", "toy_stage:nosuch", "'toy_stage:nosuch': module 'toy_stage' has no function 'nosuch'"),
        ("entry", "toy_stage:SOURCE", "module 'toy_stage' has no function 'SOURCE'"),
        ("resolve", "builtins:dict", "builtins:dict returned a dict, not a ToyConfig"),
        ("choose", "builtins:print", "builtins:print returned no references for each of: episodes"),
    ],
)
def test_a_function_that_a_declaration_names_wrongly_is_named(bus, toy_stages, monkeypatch, field, named, said):
    execute(bus, plan(bus))
    monkeypatch.setitem(toy_stages, "clean", replace(toy_stages["clean"], **{field: named}))
    with pytest.raises(BadInput, match=said):
        execute(bus, plan(bus, "clean"))


@pytest.mark.parametrize("failure", ["bad", "bug"])
def test_a_failed_run_leaves_nothing_visible_and_no_scratch(bus, toy_stages, tmp_path, monkeypatch, failure):
    monkeypatch.setenv("SIM2EDGE_SCRATCH", str(tmp_path / "scratch"))
    with pytest.raises((BadInput, RuntimeError)):
        execute(bus, plan(bus, overrides=[f"fail={failure}"]))
    assert list(bus.list("episodes")) == []
    assert bus.read_ref("refs/batches/demo-1") is None
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_refusal_is_committed_and_remembered(bus, toy_stages):
    assert execute(bus, plan(bus, overrides=["refuse=true"])).refused == "too many lines"
    assert plan(bus, overrides=["refuse=true"]).manifest.refused == "too many lines"


def test_settling_is_repeated_on_a_hit(bus, toy_stages):
    manifest = execute(bus, plan(bus))
    bus.delete(["refs/batches/demo-1"])
    execute(bus, plan(bus))
    assert bus.read_ref("refs/batches/demo-1").target == manifest.reference


def test_a_checkpoint_outlives_the_run_and_goes_with_the_commit(bus, toy_stages, tmp_path):
    planned = plan(bus)
    checkpoints = runner.BusCheckpoints(bus, planned.reference)
    assert checkpoints.restore("last.pt", tmp_path) is None
    (tmp_path / "last.pt").write_bytes(b"epoch 3")
    checkpoints.save(tmp_path / "last.pt")
    (tmp_path / "later").mkdir()
    assert checkpoints.restore("last.pt", tmp_path / "later").read_bytes() == b"epoch 3"
    execute(bus, planned)
    assert checkpoints.restore("last.pt", tmp_path) is None


@pytest.mark.parametrize(
    ("name", "partition", "inputs", "message"),
    [
        ("capture", None, {}, "--partition is missing"),
        ("capture", "Demo 1", {}, "partition 'Demo 1'"),
        ("capture", "../demo", {}, r"partition '\.\./demo'"),
        ("capture", "demo", {"frames": ["x"]}, "input 'frames' is not one of: none"),
        ("clean", "nowhere", {}, "input 'episodes' is missing"),
        ("clean", None, {"episodes": ["frames/demo/0123456789abcdef"]}, "takes episodes, not frames/demo"),
        ("clean", None, {"episodes": [f"episodes/demo/{i:016x}" for i in (1, 2)]}, "takes one artifact, 2 were given"),
        ("clean", None, {"episodes": ["refs/batches/nowhere"]}, "no such ref on the bus"),
    ],
)
def test_a_bad_request_is_one_clear_line(bus, toy_stages, name, partition, inputs, message):
    with pytest.raises(BadInput, match=message):
        plans.plan(bus, name, partition, None, (), inputs)


def test_an_input_that_vanished_is_named(bus, toy_stages):
    with pytest.raises(BadInput, match="episodes/demo/0123456789abcdef: no such artifact"):
        execute(bus, plan(bus, "clean", episodes=["episodes/demo/0123456789abcdef"]))


def test_a_stage_chooses_only_for_roles_that_were_not_given(bus, toy_stages, monkeypatch):
    source = execute(bus, plan(bus)).reference
    judge = replace(
        toy_stage.STEP,
        inputs={"episodes": toy_stage.STEP.inputs["episodes"], "rival": Input("frames", optional=True)},
        choose=f"{__name__}:choose_rival",
    )
    monkeypatch.setitem(toy_stages, "clean", judge)
    assert plan(bus, "clean").inputs["rival"] == [RIVAL]
    assert plan(bus, "clean", rival=[]).inputs == {"episodes": [source], "rival": []}


RIVAL = f"frames/demo-1/{'7' * 16}"


def choose_rival(bus, references):
    bus.put(f"{RIVAL}/manifest.json", b"{}")
    return {**references, "rival": [RIVAL]}


def test_an_input_that_is_not_there_is_named(bus, toy_stages):
    missing = f"episodes/demo-1/{'0' * 16}"
    with pytest.raises(BadInput, match=rf"^clean: input 'episodes': {missing}: no such artifact on the bus$"):
        plan(bus, "clean", episodes=[missing])


def test_what_a_hit_does_is_what_a_commit_does(bus, toy_stages):
    made = execute(bus, plan(bus))
    after_commit = set(bus.list("catalog")), bus.read_ref("refs/batches/demo-1").target
    bus.delete([*bus.list("catalog"), "refs/batches/demo-1"])
    runner.finalize(bus, plan(bus), made, JsonProgress("capture"))
    assert (set(bus.list("catalog")), bus.read_ref("refs/batches/demo-1").target) == after_commit
