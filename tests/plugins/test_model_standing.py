"""How a model stands: by what was released and is no longer the champion, what passed, what was refused."""

import pytest
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge_airflow.pages.model_standing import Standing, judge_model


@pytest.fixture
def bus():
    """Six trainings, of which the fifth was refused; each other was released."""
    bus = Bus(MemoryStore())
    fill(bus, batches=6, trainings=6, devices=1)
    return bus


def judge(bus, batch):
    catalog = Catalog(bus)
    catalog.refresh()
    refs = {ref.name: ref for ref in bus.list_refs("refs/models")}
    return judge_model(catalog, refs, next(iter(bus.artifacts("model", batch))))


def test_the_champion_is_what_was_released_last_and_those_before_it_were_champions(bus):
    assert judge(bus, "night-0005") == Standing("★ champion", "champion")
    assert judge(bus, "night-0003") == Standing("former champion", "")


def test_a_refused_model_is_refused(bus):
    assert judge(bus, "night-0004") == Standing("refused", "refused")


def test_a_model_that_passed_and_was_never_pushed_is_not_released(bus):
    bus.move_ref("refs/models/accepted", next(iter(bus.artifacts("model", "night-0003"))))
    forget(bus, "night-0003", "rollout")
    assert judge(bus, "night-0003") == Standing("passed, not released", "waiting", accepted=True)


def test_a_model_without_a_verdict_is_not_judged(bus):
    forget(bus, "night-0003", "rollout", "release", "verdict")
    assert judge(bus, "night-0003") == Standing("not judged", "")


def forget(bus, batch, *kinds):
    """Take artifacts out of the catalog."""
    bus.delete([key for key in bus.list("catalog") if any(f"_{kind}_{batch}_" in key for kind in kinds)])
