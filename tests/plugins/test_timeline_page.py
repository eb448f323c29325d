"""The timeline: which model was champion and which release a ring had, from when to when."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.made_up import commit, fill
from obstore.store import MemoryStore
from page_visitor import pages_of

from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record
from sim2edge_airflow.pages.bus_view import CHAMPION, BusView
from sim2edge_airflow.pages.terms import champion_terms, ring_terms
from sim2edge_airflow.pages.timeline_page import LEFT, MAX_BARS, WIDTH, draw_chart

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def release(bus, batch, when):
    """Commit a model, its release and nothing else."""
    model = commit(bus, "train", "model", batch, {}, {}, when, 1.0, {"model.pt": batch.encode()})
    inputs = {"model": [model.reference]}
    return commit(bus, "export", "release", batch, inputs, {"chosen": "onnx"}, when, 1.0, {"a": batch.encode()})


def roll_out(bus, made, ring, when):
    """Commit a rollout and move the ring."""
    about = {"ring": ring, "release": made.id}
    inputs = {"release": [made.reference]}
    rollout = commit(bus, "push", "rollout", made.partition, inputs, about, when, 1.0, {ring: b"{}"}, shard=None)
    bus.move_ref(f"refs/rings/{ring}", rollout.reference)
    bus.move_ref(CHAMPION, made.inputs["model"][0])
    return rollout


@pytest.fixture
def world():
    """Three releases on one ring, an hour apart, the second to another ring, too."""
    bus = Bus(MemoryStore())
    made = [release(bus, f"night-{number}", START + number * HOUR) for number in range(3)]
    rollouts = [roll_out(bus, each, "canary", START + number * HOUR) for number, each in enumerate(made)]
    return bus, made, rollouts


def read(bus):
    catalog = Catalog(bus)
    catalog.refresh()
    return catalog, {ref.name: ref for ref in bus.list_refs()}


def move(bus, ref, target, when):
    """Move a ref at a given time."""
    content = {"target": target, "previous": None, "moved": when.isoformat()}
    bus.put(ref, json.dumps(content).encode())


def test_a_release_is_on_a_ring_until_the_next(world):
    bus, made, _ = world
    terms = ring_terms(*read(bus))["canary"]
    assert [term.reference for term in terms] == [each.reference for each in made]
    assert [(term.start, term.end) for term in terms] == [
        (START, START + HOUR), (START + HOUR, START + 2 * HOUR), (START + 2 * HOUR, None)
    ]  # fmt: skip
    assert not any(term.back for term in terms)
    champions = champion_terms(*read(bus))
    assert [term.reference for term in champions] == [each.inputs["model"][0] for each in made]
    assert champions[-1].current


def test_a_ring_that_went_back_has_another_term_from_the_time_of_its_ref(world):
    bus, made, rollouts = world
    move(bus, "refs/rings/canary", rollouts[0].reference, START + 5 * HOUR)
    move(bus, CHAMPION, made[0].inputs["model"][0], START + 5 * HOUR)
    *_, before, now = ring_terms(*read(bus))["canary"]
    assert (now.reference, now.start, now.end, now.back) == (made[0].reference, START + 5 * HOUR, None, True)
    assert before.end == START + 5 * HOUR
    assert champion_terms(*read(bus))[-1].back


@pytest.mark.parametrize("moved", ["", "yesterday", None, 7, "2026-01-01T00:00:00"])
def test_a_ref_without_a_time_is_of_an_unknown_time(world, moved):
    bus, _, rollouts = world
    content = {"target": rollouts[0].reference, "previous": None, "moved": moved}
    bus.put("refs/rings/canary", json.dumps(content).encode())
    now = ring_terms(*read(bus))["canary"][-1]
    assert (now.start, now.back, now.current) == (None, True, True)


def test_the_page_shows_terms_roll_backs_and_withdrawals(api, visitor, world):
    bus, made, rollouts = world
    move(bus, "refs/rings/canary", rollouts[0].reference, START + 5 * HOUR)
    event = Event(action="withdraw", reason="<b>labels</b> are off", by="ann", at=START + 3 * HOUR)
    record(bus, "night-2", event)
    pages_of(api).state.view = BusView(lambda: bus)
    page = visitor.get("/sim2edge/timeline").text
    for part in ("3 champions, 1 ring", "↶ rolled back", "2026-01-01 05:00:00 UTC", "&lt;b&gt;labels&lt;/b&gt; are off",
                 f'href="/sim2edge/artifacts/{made[1].reference}"', 'class="event"'):  # fmt: skip
        assert part in page, part
    assert "<b>labels</b>" not in page
    before = visitor.get("/sim2edge/timeline?until=2025-12-31").text
    assert "Nothing was released in this span" in before


def test_the_page_of_devices_lists_the_former_releases_of_a_ring(api, visitor, world):
    bus, made, _ = world
    pages_of(api).state.view = BusView(lambda: bus)
    page = visitor.get("/sim2edge/devices").text
    assert 'Former releases <span class="quiet">2' in page
    former = page[page.index(f"<code>night-0/{made[0].id}</code>") :]
    times = re.findall(r">([-\d]+ [:\d]+) UTC</time>", former)
    assert times[:2] == ["2026-01-01 00:00:00", "2026-01-01 01:00:00"]


def test_bars_stay_within_the_chart_however_many_there_are(visitor):
    bus = Bus(MemoryStore())
    fill(bus, batches=150, trainings=150, devices=1)
    rows = ring_terms(*read(bus))
    chart = draw_chart(rows, [], START, START + timedelta(days=30))
    assert len(chart.bars) == MAX_BARS
    assert all(bar.x >= LEFT and bar.x + bar.width <= WIDTH for bar in chart.bars)


@pytest.mark.parametrize(
    "query",
    ["since=x", "until=2026-13-01", "page=0", "page=x", "since=2026-02-01&until=2026-01-01"],
)
def test_a_wrong_parameter_is_one_clear_line(visitor, query):
    answer = visitor.get(f"/sim2edge/timeline?{query}")
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


def test_an_empty_bucket_says_how_to_begin(api, visitor):
    pages_of(api).state.view = BusView(lambda: Bus(MemoryStore()))
    assert "sim_capture" in visitor.get("/sim2edge/timeline").text
