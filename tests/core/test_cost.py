"""What an artifact took to make, and what of it was there already."""

import json

import pytest
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge.cost import find_cached, took, total


@pytest.fixture
def world():
    """A bucket with 6 batches, 3 trainings and 3 devices, and its catalog."""
    bus = Bus(MemoryStore())
    fill(bus, batches=6, trainings=3, devices=3)
    catalog = Catalog(bus)
    catalog.refresh()
    return bus, catalog


def newest(catalog, kind):
    return max((r for r in catalog.records() if r.kind == kind), key=lambda record: record.finished)


def test_everything_it_was_made_from_counts_once(world):
    _, catalog = world
    model = newest(catalog, "model")
    records = took(catalog, model.reference)
    assert records[0] == model
    assert len({record.reference for record in records}) == len(records)
    assert {record.kind for record in records} == {"model", "dataset", "frames", "episodes"}
    assert total(records).wall_s == pytest.approx(sum(record.wall_s for record in records), abs=0.01)
    assert total([model]).bytes == model.bytes


def test_what_an_older_one_of_its_kind_was_made_from_was_cached(world):
    _, catalog = world
    models = sorted((r for r in catalog.records() if r.kind == "model"), key=lambda record: record.finished)
    assert find_cached(catalog, took(catalog, models[0].reference)) == []
    cached = {record.reference for record in find_cached(catalog, took(catalog, models[-1].reference))}
    before = {name for model in models[:-1] for name in catalog.ancestors(model.reference)}
    assert cached == before & {*catalog.ancestors(models[-1].reference)}
    assert models[-1].reference not in cached


def test_the_command_sums_up_by_kind(world, monkeypatch, capsys):
    bus, catalog = world
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))
    model = newest(catalog, "model")
    assert cli.main(["cost", model.reference, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["total"]["artifacts"] == sum(each["artifacts"] for name, each in found.items() if name != "total") - (
        found["cached"]["artifacts"]
    )
    assert cli.main(["cost", model.reference]) == 0
    assert "total" in capsys.readouterr().out


def test_a_device_stands_for_the_release_that_it_runs(world, monkeypatch, capsys):
    bus, _ = world
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))
    device = next(name for name in bus.folders("fleet"))
    assert cli.main(["lineage", f"devices/{device}"]) == 0
    assert capsys.readouterr().out.startswith("release/")
    assert cli.main(["lineage", "devices/nobody"]) == 2
