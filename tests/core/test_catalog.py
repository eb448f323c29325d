"""The catalog: what is committed is found, in whatever order it came and wherever a writer was killed."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.made_up import commit, fill
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from sim2edge import catalog as catalog_module
from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.catalog import FULL, WINDOW, Catalog, headline, reindex, slim, walk
from sim2edge.errors import Conflict, NotFound
from sim2edge.fleet import read_device, read_fleet
from sim2edge.lineage import downstream
from sim2edge.manifest import Cost, Manifest, entry_key, parse_entry
from sim2edge.stage import Shown
from sim2edge.stages import get_stage

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)


def make(number: int, finished: datetime = NOW, **more) -> Manifest:
    fields = {
        "kind": "frames",
        "partition": f"b-{number}",
        "stage": "clean",
        "inputs": {},
        "summary": {"frames": number, "frames_seen": number + 1, "height": 96},
        **more,
    }
    return Manifest(
        **fields,
        id=f"{number:016x}",
        version=1,
        config={},
        config_hash="0",
        attempt="a",
        files=[],
        environment={},
        started=finished,
        finished=finished,
        cost=Cost(wall_s=1, work_s=1, cpu_s=1, bytes_in=0, bytes_out=0),
    )


class CountingBus(Bus):
    """A bus that counts what it is asked."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.found: list[str] = []

    def find(self, reference):
        self.found.append(reference)
        return super().find(reference)


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)), st.sampled_from(["b", "a_frames_b", "x.y_-z"]))
def test_an_entry_names_the_artifact_and_sorts_by_time(naive, partition):
    finished = naive.replace(tzinfo=UTC)
    reference = f"frames/{partition}/00000000000000aa"
    key = entry_key(reference, finished)
    assert parse_entry(key) == reference
    assert key < entry_key("dataset/0/0000000000000000", finished + timedelta(microseconds=1))


@pytest.mark.parametrize("key", ["catalog/", "catalog/x", "catalog/20260101T000000.000000Z_refs_b_00000000000000aa"])
def test_what_is_no_entry_is_passed_over(bus, key):
    assert parse_entry(key) is None
    if not key.endswith("/"):
        bus.put(key, b"")
        assert Catalog(bus, lambda: NOW).refresh() == 0


def test_an_entry_that_came_late_to_an_empty_bucket_is_seen_however_long_nobody_looked():
    bus, clock = Bus(MemoryStore()), [NOW]
    catalog = Catalog(bus, lambda: clock[0])
    assert catalog.refresh() == 0
    bus.commit(make(1, NOW - WINDOW + timedelta(minutes=1)))
    clock[0] += timedelta(minutes=5)
    assert catalog.refresh() == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_order_of_commits_kills_and_refreshes_ends_with_all_of_them(data):
    """Commits come with clocks off by up to the window, some die before the entry; a hit mends what a kill left."""
    bus, clock = Bus(MemoryStore()), [NOW]
    catalog = Catalog(bus, lambda: clock[0])
    killed = []
    count = data.draw(st.integers(1, 8))
    for number in range(count):
        skew = timedelta(seconds=data.draw(st.integers(-int(WINDOW.total_seconds()) + 60, 3600)))
        manifest = make(number, clock[0] + skew)
        if data.draw(st.booleans()):
            bus.put(f"{manifest.reference}/manifest.json", manifest.to_json(), only_new=True)
            killed.append(manifest)
        else:
            bus.commit(manifest)
        clock[0] += timedelta(seconds=data.draw(st.integers(0, 50)))
        if data.draw(st.booleans()):
            catalog.refresh()
    catalog.refresh()
    there = {record.reference for record in catalog.records()}
    assert there == {f"frames/b-{n}/{n:016x}" for n in range(count)} - {manifest.reference for manifest in killed}
    for manifest in killed:
        assert bus.commit(manifest) == manifest
    clock[0] += FULL
    catalog.refresh()
    assert len(catalog.records()) == count


def test_a_manifest_is_fetched_once_and_a_refresh_looks_at_the_end_alone():
    bus = CountingBus(MemoryStore())
    clock = [NOW]
    catalog = Catalog(bus, lambda: clock[0])
    for number in range(5):
        bus.commit(make(number, NOW - timedelta(hours=5 - number)))
    assert catalog.refresh() == 5
    assert bus.found == [f"frames/b-{n}/{n:016x}" for n in (4, 3, 2, 1, 0)], "the newest first"
    assert catalog.refresh() == 0
    bus.commit(make(9, NOW - timedelta(hours=2)))
    assert catalog.refresh() == 0, "too late for the window"
    clock[0] += FULL
    assert catalog.refresh() == 1
    assert len(bus.found) == 6


def test_a_writer_whose_clock_is_ahead_hides_nobody(bus):
    clock = [NOW]
    catalog = Catalog(bus, lambda: clock[0])
    bus.commit(make(1, NOW + timedelta(hours=9)))
    catalog.refresh()
    bus.commit(make(2, NOW))
    assert catalog.refresh() == 1


def test_a_writer_whose_clock_is_ahead_hides_nothing_that_came_while_nobody_looked(bus):
    clock = [NOW]
    catalog = Catalog(bus, lambda: clock[0])
    for manifest in (make(1, NOW), make(2, NOW + timedelta(hours=9))):
        bus.commit(manifest)
    catalog.refresh()
    bus.commit(make(3, NOW + timedelta(minutes=5)))
    clock[0] += timedelta(minutes=40)
    assert catalog.refresh() == 1


def test_an_entry_of_no_possible_time_stops_nothing(bus):
    catalog = Catalog(bus, lambda: NOW)
    bus.put("catalog/99999999T999999.999999Z_frames_b_0000000000000000", b"")
    assert catalog.refresh() == 0
    bus.commit(make(1))
    assert catalog.refresh() == 1


def test_what_an_admin_removed_is_gone_after_the_full_listing(bus):
    clock = [NOW]
    catalog = Catalog(bus, lambda: clock[0])
    parent, child = make(1), make(2, inputs={"episodes": ["frames/b-1/0000000000000001"]})
    for manifest in (parent, child):
        bus.commit(manifest)
    catalog.refresh()
    assert catalog.children(parent.reference) == (child.reference,)
    bus.delete([entry_key(child.reference, child.finished)])
    clock[0] += FULL
    catalog.refresh()
    assert catalog.get(child.reference) is None
    assert catalog.children(parent.reference) == ()


def test_a_broken_manifest_does_not_hide_the_others(bus):
    broken = make(1)
    bus.commit(broken)
    bus.commit(make(2))
    bus.put(f"{broken.reference}/manifest.json", b"{")
    assert Catalog(bus, lambda: NOW).refresh() == 1


def test_a_time_that_cannot_be_said_in_utc_does_not_hide_the_others(bus):
    odd = make(1)
    bus.commit(odd)
    bus.commit(make(2))
    bus.put(
        f"{odd.reference}/manifest.json", odd.to_json().replace(b"2026-05-06T12:00:00Z", b"9999-12-31T23:59:59-12:00")
    )
    assert Catalog(bus, lambda: NOW).refresh() == 1


def test_a_record_is_slim_whatever_a_stage_wrote():
    strange = {"frames": float("inf"), "frames_seen": float("nan"), "episodes": 10**400, "episodes_failed": "x" * 10**6}
    assert slim(make(1, summary=strange)).numbers == {}
    assert len(slim(make(1, refused="no " * 10**6)).refused) == 300
    splits = {"train": {"frames": 7}, "test": "all", "of-a-stranger": {"frames": 8}}
    assert slim(make(1, kind="dataset", summary={"splits": splits})).numbers == {"train": 7}


def test_who_loses_the_race_still_sees_that_the_winner_is_listed(bus):
    winner = make(1)
    bus.put(f"{winner.reference}/manifest.json", winner.to_json())
    late = winner.model_copy(update={"attempt": "b", "finished": NOW + timedelta(minutes=1)})
    assert bus.commit(late) == winner
    assert list(bus.list("catalog")) == [entry_key(winner.reference, winner.finished)]


def test_a_cache_hit_mends_a_missing_entry(bus, toy_stages):
    from sim2edge import plan as plans
    from sim2edge import runner
    from sim2edge.progress import make_progress

    with make_progress("capture") as progress:
        made = runner.execute(bus, plans.plan(bus, "capture", "b"), progress)
        key = entry_key(made.reference, made.finished)
        bus.delete([key])
        runner.execute(bus, plans.plan(bus, "capture", "b"), progress)
    assert list(bus.list("catalog")) == [key]


def test_lineage_goes_both_ways_and_a_comparison_is_not_descent(bus):
    fill(bus, batches=6, trainings=3, devices=2)
    catalog = Catalog(bus)
    catalog.refresh()
    first = next(r for r in catalog.records() if r.kind == "model" and r.partition == "night-0001")
    below = catalog.descendants(first.reference)
    assert {catalog.get(each).kind for each in below} == {"verdict", "release", "rollout"}
    assert {catalog.get(each).partition for each in below} == {"night-0001"}, "later verdicts only compare with it"
    last = next(r for r in catalog.records() if r.kind == "rollout" and r.partition == "night-0005")
    above = [catalog.get(each) for each in catalog.ancestors(last.reference)]
    assert sum(record.kind == "episodes" for record in above) == 6
    episodes = next(r for r in catalog.records() if r.kind == "episodes" and r.partition == "night-0000")
    assert sum(each.startswith("model/") for each in catalog.descendants(episodes.reference)) == 3


def test_a_dataset_keeps_the_frames_of_its_splits(bus):
    fill(bus, batches=2, trainings=1)
    catalog = Catalog(bus)
    catalog.refresh()
    dataset = next(record for record in catalog.records() if record.kind == "dataset")
    assert dataset.numbers == {"train": 15800, "validation": 1120, "test": 1280}


@given(st.dictionaries(st.integers(0, 6), st.lists(st.integers(0, 6), max_size=6)))
def test_a_walk_reaches_each_once_however_the_graph_is(graph):
    found = walk("0", lambda each: [str(n) for n in graph.get(int(each), [])])
    assert len(set(found)) == len(found)
    assert "0" not in found


def test_reindex_enters_what_was_made_before(bus):
    old, new = make(1), make(2)
    bus.put(f"{old.reference}/manifest.json", old.to_json())
    bus.commit(new)
    assert (reindex(bus), reindex(bus)) == (1, 0)
    assert {parse_entry(key) for key in bus.list("catalog")} == {old.reference, new.reference}


def test_the_command_line_tells_what_a_batch_reached(s3, capsys):
    fill(s3, batches=4, trainings=2, devices=2)
    (episodes,) = s3.artifacts("episodes", "night-0000")
    assert cli.main(["lineage", "--down", episodes]) == 0
    said = capsys.readouterr().out
    assert "model (2)" in said
    assert "devices (2)\n  pi-1\n  pi-2" in said
    assert cli.main(["reindex"]) == 0
    assert "0 entries written" in capsys.readouterr().out


def test_the_descendants_of_an_artifact_that_is_not_there_are_not_found(bus):
    with pytest.raises(NotFound, match="the catalog does not list it"):
        downstream(bus, "model/b/ffffffffffffffff")


def test_what_a_stage_wrote_is_printed_as_it_is(s3, capsys):
    words = "[/b][i]:fire:"
    commit(s3, "clean", "frames", "odd", {}, {"note": words}, NOW, 1.0, {})
    assert cli.main(["ls", "frames", "--partition", "odd"]) == 0
    assert words in capsys.readouterr().out


def test_lineage_leaves_out_what_a_result_was_only_compared_with(s3, capsys):
    fill(s3, batches=4, trainings=4, devices=1)
    assert cli.main(["lineage", "refs/rings/canary", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(reference.startswith("model/") for reference in found) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"device": 7}', b'{"device": "x", "inferences": "many"}', b" " * 100_000,
     b'{"device": "x", "updated": "2026-05-06T12:00:00"}'],
)  # fmt: skip
def test_what_a_device_writes_is_not_believed(bus, content):
    bus.put("fleet/pi-1/status.json", content)
    (device,) = read_fleet(bus, ["pi-1"])
    assert (device.device, device.state) == ("pi-1", "unreadable")


def test_a_device_does_not_speak_for_another(bus):
    bus.put("fleet/pi-1/status.json", b'{"device": "pi-2", "state": "running"}')
    assert read_device(bus, "pi-1").device == "pi-1"


def test_an_entry_is_written_once(bus):
    manifest = make(1)
    bus.commit(manifest)
    with pytest.raises(Conflict):
        bus.put(entry_key(manifest.reference, manifest.finished), b"", only_new=True)
    bus.index(manifest)


@pytest.mark.parametrize(
    "mistake",
    [lambda _: 1 / 0, lambda figures: figures["frames"].upper(), lambda _: 5, lambda _: ["a"], lambda _: None],
)
def test_a_headline_that_fails_or_is_no_text_is_empty(monkeypatch, mistake):
    declared = replace(get_stage("clean"), shown=Shown({"frames": "frames"}, mistake))
    monkeypatch.setattr(catalog_module, "maker_of", lambda *_: declared)
    assert headline(slim(make(1))) == ""
