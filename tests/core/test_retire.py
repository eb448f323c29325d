"""Retiring artifacts on a bus: what is gone, what stays, and that it may be interrupted anywhere."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge import plan as plans
from sim2edge import runner
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge.errors import Corrupt, Missing
from sim2edge.progress import JsonProgress
from sim2edge.retention import KindPolicy, Removal, RetentionPolicy
from sim2edge.retire import retire, retire_all, survey

LATER = datetime.now(UTC) + timedelta(days=1000)
ALL = RetentionPolicy(
    kinds={kind: KindPolicy(days=1) for kind in ("episodes", "frames", "dataset", "model", "release")}
)


@pytest.fixture
def world():
    """A bucket with 12 batches, 6 trainings and 3 devices, all of it old."""
    bus = Bus(MemoryStore())
    fill(bus, batches=12, trainings=6, devices=3)
    return bus


def live(bus):
    """The targets of the refs of models, rings and datasets, and their inputs."""
    found = set()
    for ref in bus.list_refs():
        if ref.name.startswith(("refs/models", "refs/rings", "refs/datasets")):
            for name in filter(None, (ref.target, ref.previous)):
                found |= {name, *(r for given in bus.open(name).inputs.values() for r in given)}
    return found


def test_what_is_live_stays_with_its_inputs_and_the_rest_goes(world):
    needed, before = live(world), set(world.artifacts())
    situation = survey(world, LATER)
    removals = situation.choose(ALL, LATER)
    retire_all(world, removals, "ann", LATER)
    after = set(world.artifacts())
    assert needed <= after
    assert {removal.reference for removal in removals} == before - after
    assert before - after
    for reference in needed:
        assert all(world.size(f"{reference}/{world.open(reference).attempt}/{f.path}") is not None
                   for f in world.open(reference).files)  # fmt: skip


def test_a_retired_artifact_says_so_leaves_the_catalog_and_no_ref_names_it(world):
    removals = survey(world, LATER).choose(ALL, LATER)
    retire_all(world, removals, "ann", LATER)
    gone = {removal.reference for removal in removals}
    with pytest.raises(Missing, match=r"no such artifact on the bus \(retired: withdrawn/retired/.* says why\)"):
        world.open(next(iter(gone)))
    catalog = Catalog(world)
    catalog.refresh()
    assert not gone & {record.reference for record in catalog.records()}
    assert not [ref for ref in world.list_refs() if ref.target in gone]
    for reference in gone:
        assert list(world.list(reference)) == []
        assert removals[0].why.encode() in world.get(f"withdrawn/retired/{reference}.json")


def test_a_second_time_finds_nothing(world):
    retire_all(world, survey(world, LATER).choose(ALL, LATER), "ann", LATER)
    assert survey(world, LATER).choose(ALL, LATER) == []


@pytest.mark.parametrize("step", range(4))
def test_it_may_be_interrupted_anywhere(world, monkeypatch, step):
    removal = survey(world, LATER).choose(ALL, LATER)[0]
    delete, calls = world.delete, []

    def die(keys):
        calls.append(keys)
        if len(calls) > step:
            raise KeyboardInterrupt
        delete(keys)

    monkeypatch.setattr(world, "delete", die)
    with contextlib.suppress(KeyboardInterrupt):
        retire(world, removal, "ann", LATER)
    monkeypatch.undo()
    retire(world, removal, "ann", LATER)
    world.sweep(timedelta(0))
    assert world.find(removal.reference) is None
    assert [key for key in world.list(removal.reference) if "manifest" not in key] == []
    assert not [ref for ref in world.list_refs() if ref.target == removal.reference]


def test_a_run_that_needs_it_makes_it_again_under_the_same_id(bus, toy_stages):
    planned = plans.plan(bus, "capture", "demo-1")
    made = runner.execute(bus, planned, JsonProgress("capture"))
    retire(bus, Removal(made.reference, made.size, "older"), "ann", LATER)
    assert bus.read_ref("refs/batches/demo-1") is None
    again = runner.execute(bus, plans.plan(bus, "capture", "demo-1"), JsonProgress("capture"))
    assert again.reference == made.reference
    assert bus.read_ref("refs/batches/demo-1").target == made.reference


def test_a_ref_that_names_nothing_stops_it_before_anything_is_deleted(world):
    world.put("refs/models/champion", b'{"target": "x", "previous": null}')
    with pytest.raises(Corrupt, match="refs/models/champion: names no artifact"):
        survey(world, LATER)


def test_while_the_status_of_a_device_cannot_be_read_every_release_stays(world):
    releases = {name for name in world.artifacts() if name.startswith("release/")}
    assert releases & {removal.reference for removal in survey(world, LATER).choose(ALL, LATER)}
    world.put("fleet/pi-9/status.json", b"\xff")
    assert not releases & {removal.reference for removal in survey(world, LATER).choose(ALL, LATER)}
