"""Withdrawn batches: what derives from one, and which runs are refused, at planning and wherever a run acts."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import toy_stage
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge import cli, runner
from sim2edge import plan as plans
from sim2edge.bus import Bus
from sim2edge.catalog import Record
from sim2edge.errors import BadInput, Corrupt
from sim2edge.progress import JsonProgress
from sim2edge.tombstone import Event, Tombstone, tombstone_key
from sim2edge.withdrawal import Withdrawn, decide, derived, find_source, read_tombstone, record, single_batch_kinds

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LINE = "withdrawn on 2026-11-30 by ana: shifted labels"


def event(action="withdraw", reason="shifted labels", by="ana"):
    return Event(action=action, reason=reason, by=by, at=NOW)


def withdraw(bus, batch):
    return record(bus, batch, event())


def make(bus, stage, partition=None, **given):
    planned = plans.plan(bus, stage, partition, inputs=given or None)
    return runner.execute(bus, planned, JsonProgress(stage)).reference


# What derives from a batch


def test_kinds_of_one_batch_are_those_whose_stages_read_one_artifact_of_it():
    assert single_batch_kinds() == {"episodes", "frames"}


@st.composite
def worlds(draw):
    """Records as the stages link them: batches, datasets of several, models, verdicts that compare with others."""
    batches = [f"b-{number}" for number in range(draw(st.integers(1, 5)))]
    found: dict[str, Record] = {}

    def add(kind, partition, inputs, parts=()):
        reference = f"{kind}/{partition}/{len(found):016x}"
        found[reference] = Record(
            reference=reference, stage=kind, version=1, finished=NOW, wall_s=0, bytes=0, inputs=inputs, parts=parts,
            shard=None, refused=None, config_hash="", numbers={},
        )  # fmt: skip
        return reference

    def last(*references):
        return max(each.split("/")[1] for each in references)

    frames, models = [], []
    for batch in batches:
        shards = [add("episodes", batch, {}) for _ in range(draw(st.integers(0, 2)))]
        episodes = add("episodes", batch, {}, tuple(shards))
        frames += [add("frames", batch, {"episodes": (episodes,)}) for _ in range(draw(st.integers(1, 2)))]
    for _ in range(draw(st.integers(0, 4))):
        chosen = tuple(draw(st.lists(st.sampled_from(frames), min_size=1, unique=True)))
        dataset = add("dataset", last(*chosen), {"frames": chosen})
        model = add("model", last(dataset), {"dataset": (dataset,)})
        champion = (draw(st.sampled_from(models)),) if models else ()
        inputs = {"model": (model,), "dataset": (dataset,), "champion": champion}
        add("verdict", last(model, *champion), inputs)
        models.append(model)
    return batches, found


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_looking_down_from_a_batch_and_up_from_an_artifact_agree(world):
    """And neither counts a model that a verdict was only compared with."""
    batches, found = world
    single = single_batch_kinds()

    def sources(reference):
        kind, partition, _ = reference.split("/")
        if kind in ("episodes", "frames"):
            return {partition}
        inputs = {role: names for role, names in found[reference].inputs.items() if role != "champion"}
        return {each for names in inputs.values() for name in names for each in sources(name)}

    for batch in batches:
        below = {each.reference for each in derived(found.values(), batch, single)}
        assert below == {reference for reference in found if batch in sources(reference)}
        parents = {reference: each.made_from for reference, each in found.items()}
        assert below == {each for each in found if find_source(each, [batch], parents.__getitem__, single) == batch}


def test_the_lineage_is_read_down_to_the_frames_and_not_below_the_first_withdrawn_batch():
    read = []

    def parents(reference):
        read.append(reference)
        return {"model/b-9/00000000000000aa": ["dataset/b-9/00000000000000bb"]}.get(
            reference, [f"frames/b-{number}/00000000000000cc" for number in range(10)]
        )

    assert find_source("model/b-9/00000000000000aa", ["b-3"], parents, single_batch_kinds()) == "b-3"
    assert read == ["model/b-9/00000000000000aa", "dataset/b-9/00000000000000bb"]
    assert find_source("model/b-2/00000000000000aa", ["b-3"], parents, single_batch_kinds()) is None
    assert len(read) == 2


# The record


def test_a_batch_is_withdrawn_once_and_its_history_is_kept(bus):
    first = withdraw(bus, "b-1")
    assert record(bus, "b-1", event(reason="another reason")) == first
    lifted = record(bus, "b-1", event("lift", "labels are fine"))
    assert not lifted.withdrawn
    assert record(bus, "b-1", event("lift", "again")) == lifted
    again = withdraw(bus, "b-1")
    assert [each.action for each in again.events] == ["withdraw", "lift", "withdraw"]
    assert read_tombstone(bus, "b-1")[0] == again


def test_an_erasure_is_final(bus):
    record(bus, "b-1", event("erase", "a wish"))
    with pytest.raises(BadInput, match=r"^batch 'b-1' was erased on 2026-11-30 by ana: a wish: that is final"):
        record(bus, "b-1", event("lift", "changed my mind"))
    assert withdraw(bus, "b-1").erased


def test_what_is_not_withdrawn_cannot_be_lifted(bus):
    with pytest.raises(BadInput, match="'b-1' is not withdrawn"):
        record(bus, "b-1", event("lift"))


def test_two_writers_lose_no_decision(bus, monkeypatch):
    withdraw(bus, "b-1")
    put, raced = type(bus).put, []

    def put_after_another(self, key, data, **how):
        if not raced:
            raced.append(key)
            record(bus, "b-1", event("erase", "a wish"))
        put(self, key, data, **how)

    monkeypatch.setattr(type(bus), "put", put_after_another)
    with pytest.raises(BadInput, match="that is final"):
        record(bus, "b-1", event("lift", "labels are fine"))
    assert read_tombstone(bus, "b-1")[0].erased


@pytest.mark.parametrize("content", [b"{}", b"junk", Tombstone(batch="b-2", events=(event(),)).to_json()])
def test_a_damaged_record_stops_whoever_meets_its_batch(bus, content):
    bus.put(tombstone_key("b-1"), content)
    with pytest.raises(Corrupt, match=r"^withdrawn/batches/b-1\.json: "):
        Withdrawn(bus).get("b-1")


@given(st.lists(st.sampled_from(["withdraw", "lift", "erase"]), max_size=8))
def test_the_record_says_what_the_decisions_amount_to(actions):
    found, state = None, None
    for number, action in enumerate(actions):
        try:
            found = decide("b", found, event(action, f"reason {number}")) or found
        except BadInput:
            assert action == "lift"
            assert state in (None, "erase")
            continue
        state = "erase" if state == "erase" else action
    assert (found.last.action if found else None) == state
    if found:
        pairs = [(one.action, other.action) for one, other in zip(found.events, found.events[1:], strict=False)]
        assert all(one != other for one, other in pairs)


# Planning


@pytest.mark.usefixtures("toy_stages")
def test_no_stage_makes_a_withdrawn_batch_again_even_if_it_is_committed(bus):
    make(bus, "capture", "b-1")
    make(bus, "clean", "b-1")
    withdraw(bus, "b-1")
    with pytest.raises(BadInput, match=rf"^capture: batch 'b-1' was {LINE}$"):
        plans.plan(bus, "capture", "b-1")
    with pytest.raises(BadInput, match=rf"^clean: input 'episodes': episodes/b-1/.{{16}}: has .* 'b-1', {LINE}$"):
        plans.plan(bus, "clean", "b-1")
    record(bus, "b-1", event("lift", "labels are fine"))
    assert plans.plan(bus, "clean", "b-1").manifest


@pytest.mark.usefixtures("toy_stages")
def test_a_default_of_all_batches_leaves_a_withdrawn_one_out_and_an_explicit_one_is_refused(bus):
    references = [make(bus, "capture", f"b-{number}") for number in range(3)]
    with_all = make(bus, "augment")
    withdraw(bus, "b-1")
    planned = plans.plan(bus, "augment")
    assert planned.inputs["episodes"] == [references[0], references[2]]
    assert planned.reference != with_all
    with pytest.raises(BadInput, match=rf"^augment: input 'episodes': {references[1]}: has withdrawn batch 'b-1'"):
        plans.plan(bus, "augment", inputs={"episodes": references})


@pytest.mark.usefixtures("toy_stages")
def test_a_run_whose_batch_is_withdrawn_while_it_works_commits_nothing(bus, monkeypatch):
    make(bus, "capture", "b-1")
    planned = plans.plan(bus, "clean", "b-1")
    bus.put(f"{planned.reference}/checkpoints/last.pt", b"weights")
    work = toy_stage.run

    def work_and_see_it_withdrawn(job):
        withdraw(bus, "b-1")
        return work(job)

    monkeypatch.setattr(toy_stage, "run", work_and_see_it_withdrawn)
    with pytest.raises(BadInput, match="has withdrawn batch 'b-1'"):
        runner.execute(bus, planned, JsonProgress("clean"))
    assert list(bus.list(planned.reference)) == []


@pytest.mark.usefixtures("toy_stages")
def test_planning_asks_for_a_listing_and_reads_the_records_of_batches_that_occur(bus, monkeypatch):
    make(bus, "capture", "b-1")
    for number in range(20):
        withdraw(bus, f"other-{number:02}")
    read = []
    find = type(bus).get_tagged
    monkeypatch.setattr(type(bus), "get_tagged", lambda self, key: read.append(key) or find(self, key))
    plans.plan(bus, "clean", "b-1")
    assert not [key for key in read if key.startswith("withdrawn/")]


def test_a_moment_later_is_another_moment(bus):
    before = Withdrawn(bus)
    assert before.get("b-1") is None
    withdraw(bus, "b-1")
    assert before.get("b-1") is None
    assert Withdrawn(bus).get("b-1").last.at - NOW < timedelta(seconds=1)


# Reproducing


@pytest.fixture
def reproduce(bus, monkeypatch, capfd, toy_stages):
    """`reproduce(reference) -> (exit code, standard error)`."""
    monkeypatch.setattr(Bus, "from_environment", classmethod(lambda cls, *_: bus))

    def run(*words):
        code = cli.main(list(words))
        return code, capfd.readouterr().err

    return run


def test_what_is_erased_cannot_be_reproduced_and_everything_else_can(bus, reproduce):
    first, second = (make(bus, "capture", f"b-{number}") for number in (1, 2))
    both, one = make(bus, "augment"), make(bus, "augment", episodes=[first])
    cleaned = make(bus, "clean", "b-1")
    assert reproduce("withdraw", "b-2", "--reason", "a wish", "--by", "ana")[0] == 0
    assert reproduce("reproduce", both)[0] == 0, "a withdrawn batch is there, for whoever has to look into it"
    assert reproduce("withdraw", "b-2", "--erase", "--yes", "--by", "ana")[0] == 0
    for reference in (second, both):
        code, err = reproduce("reproduce", reference)
        assert code == 2
        assert re.fullmatch(rf"sim2edge: {reference}: erased on \S+ by ana: a wish\n", err)
    for reference in (first, one, cleaned):
        assert reproduce("reproduce", reference)[0] == 0


def test_what_was_made_before_from_other_batches_is_not_touched_by_an_erasure(bus, reproduce, tmp_path):
    make(bus, "capture", "b-1")
    make(bus, "capture", "b-2")
    planned = plans.plan(bus, "augment", inputs={"episodes": ["refs/batches/b-1"]})
    reproduce("withdraw", "b-2", "--reason", "a wish", "--erase", "--yes")
    runner.execute(bus, planned, JsonProgress("augment"))
    assert plans.plan(bus, "augment").reference == planned.reference
