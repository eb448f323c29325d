"""What the Flywheel page says of paused DAGs."""

import pytest
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge_airflow.pages.flywheel_grid import GridIndex
from sim2edge_airflow.pages.paused import WATCHED, describe_paused


@pytest.fixture
def known():
    """Index and catalog of a bucket with 6 batches and 3 trainings, each released."""
    bus = Bus(MemoryStore())
    fill(bus, batches=6, trainings=3, devices=3)
    catalog, index = Catalog(bus), GridIndex()
    catalog.refresh()
    index.update(catalog)
    return index, catalog


def test_nothing_is_said_while_nothing_is_paused(known):
    assert describe_paused((), *known) == []


def test_each_paused_dag_is_named_with_what_its_pause_means(known):
    lines = describe_paused(WATCHED, *known)
    assert [line.partition(" is paused: ")[0] for line in lines] == list(WATCHED)
    assert "data_cleaning is paused: every batch has frames." in lines


def test_batches_without_frames_are_counted_and_the_newest_named(known, monkeypatch):
    index, catalog = known
    monkeypatch.setattr(GridIndex, "waiting", lambda *_: [f"night-{number}" for number in range(7)])
    (line,) = describe_paused(["data_cleaning"], index, catalog)
    assert line == (
        "data_cleaning is paused: 7 batches have no frames (night-0, night-1, night-2, night-3, night-4, …); "
        "what it missed starts within some minutes once it is unpaused."
    )


def test_an_accepted_model_without_a_release_is_named(known, monkeypatch):
    index, catalog = known
    children = catalog.children
    monkeypatch.setattr(catalog, "children", lambda ref: [c for c in children(ref) if not c.startswith("release/")])
    (line,) = describe_paused(["release_model"], index, catalog)
    assert line.startswith("release_model is paused: verdict/")
    assert " has no release; what it missed starts" in line


def test_the_page_shows_it(visitor, airflow_database):
    with create_session() as session:
        session.merge(DagBundleModel(name="b"))
        session.flush()
        session.merge(DagModel(dag_id="data_cleaning", is_paused=True, bundle_name="b", fileloc="x"))
    page = visitor.get("/sim2edge/flywheel").text
    assert "data_cleaning is paused: " in page
    with create_session() as session:
        session.merge(DagModel(dag_id="data_cleaning", is_paused=False, bundle_name="b", fileloc="x"))
    assert "is paused" not in visitor.get("/sim2edge/flywheel").text
