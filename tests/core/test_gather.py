"""An artifact made of shards: the same id, hits both ways, parts that stay, and every verb that looks at it."""

import json

import pytest

from sim2edge import plan as plans
from sim2edge import runner
from sim2edge.errors import BadInput, Corrupt
from sim2edge.manifest import Manifest, parse_manifest
from sim2edge.progress import JsonProgress


def plan(bus, name="capture", overrides=(), **cut):
    return plans.plan(bus, name, "demo-1", None, overrides, {}, **cut)


def make(bus, **cut):
    planned = plan(bus, **cut)
    return runner.execute(bus, planned, JsonProgress(planned.stage.name))


@pytest.fixture
def shards(bus, toy_stages) -> list[Manifest]:
    return [make(bus, shard=f"{number}/3") for number in (3, 1, 2)]


def test_shards_are_artifacts_of_their_own_and_move_no_ref(bus, shards):
    assert len({shard.reference for shard in shards}) == 3
    assert {shard.kind for shard in shards} == {"episodes"}
    assert sorted(shard.shard for shard in shards) == ["1/3", "2/3", "3/3"]
    assert bus.read_ref("refs/batches/demo-1") is None


def test_a_shard_that_is_there_is_a_hit(bus, shards):
    assert plan(bus, shard="3/3").manifest == shards[0]
    assert plan(bus, shard="3/3", overrides=["workers=9"]).manifest == shards[0]
    assert plan(bus, shard="1/2").manifest is None


def test_the_gathered_artifact_has_the_id_of_the_whole(bus, shards):
    whole = plan(bus).reference
    gathered = make(bus, gather=3)
    assert gathered.reference == whole
    assert gathered.parts == sorted((shard.reference for shard in shards), key=lambda r: bus.open(r).shard)
    assert gathered.shard is None
    assert bus.read_ref("refs/batches/demo-1").target == whole
    assert plan(bus).manifest == plan(bus, gather=2).manifest == gathered


def test_nothing_is_copied_to_be_gathered(bus, shards, tmp_path):
    before = set(bus.list("episodes"))
    gathered = make(bus, gather=3)
    new = set(bus.list("episodes")) - before
    assert {key.partition(gathered.attempt)[2] for key in new} == {"", "/lines.txt", "/nested/copies.txt"}
    assert bus.fetch(gathered, tmp_path / "fetched").path("lines.txt").read_text() == "word\n" * 3


def test_the_cost_of_the_shards_is_the_cost_of_the_whole(bus, shards):
    gathered = make(bus, gather=3)
    assert gathered.cost.wall_s >= sum(shard.cost.wall_s for shard in shards)
    assert gathered.size == sum(shard.size for shard in shards) + 15


def test_of_what_is_there_whole_no_shard_is_made(bus, toy_stages):
    whole = make(bus)
    hit = plan(bus, shard="2/3")
    assert hit.manifest == plan(bus, gather=3).manifest == whole
    bus.delete(["refs/batches/demo-1"])
    runner.execute(bus, hit, JsonProgress("capture"))
    assert bus.read_ref("refs/batches/demo-1") is None
    assert list(bus.artifacts()) == [whole.reference]


def test_whoever_comes_second_drops_its_copy(bus, shards):
    gather = plan(bus, gather=3)
    whole = make(bus)
    assert runner.execute(bus, gather, JsonProgress("capture")) == whole
    assert {key.split("/")[3] for key in bus.list(whole.reference)} == {"manifest.json", whole.attempt}


def test_missing_shards_are_named(bus, shards):
    bus.delete([f"{shard.reference}/manifest.json" for shard in shards[:2]])
    with pytest.raises(BadInput, match=r"capture of demo-1: 2 of 3 shards are missing \(1/3, 3/3\)"):
        make(bus, gather=3)


@pytest.mark.parametrize(
    ("name", "cut", "message"),
    [
        ("capture", {"shard": "1/4"}, "capture: 4 shards, but lines=3: at most 3"),
        ("capture", {"gather": "4"}, "capture: 4 shards, but lines=3: at most 3"),
        ("capture", {"shard": "4/3"}, "shard '4/3': the number is not within 1..3"),
        ("capture", {"gather": "many"}, "'many' is not a number of shards"),
        ("capture", {"shard": "1/2", "gather": 2}, "leave out --shard or --gather"),
        ("clean", {"shard": "1/2"}, "clean: its work cannot be cut into shards"),
    ],
)
def test_a_cut_that_cannot_be_made_is_one_clear_line(bus, toy_stages, name, cut, message):
    make(bus)
    with pytest.raises(BadInput, match=message):
        plan(bus, name, **cut)


def test_parts_that_both_have_a_file_are_named(bus, shards):
    gathered = make(bus, gather=3)
    with pytest.raises(Corrupt, match=r"its parts episodes/\S+ and episodes/\S+ both have lines\.txt"):
        bus.payload(gathered.model_copy(update={"files": []}))


def test_a_manifest_of_version_1_is_read_as_it_is(bus, toy_stages):
    manifest = make(bus)
    old = json.loads(manifest.to_json())
    del old["shard"]
    old["manifest_version"] = 1
    assert parse_manifest(json.dumps(old).encode(), manifest.reference).shard is None
    old["manifest_version"] = 4
    with pytest.raises(Corrupt, match="manifest_version"):
        parse_manifest(json.dumps(old).encode(), manifest.reference)
