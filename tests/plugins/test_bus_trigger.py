"""The trigger speaks when something is new, and again while it stays; nothing that happens to it ends it."""

import asyncio
import importlib

import pytest
from airflow.triggers.base import BaseEventTrigger
from hypothesis import given
from hypothesis import strategies as st

from sim2edge_airflow.scheduling import bus_trigger
from sim2edge_airflow.scheduling.bus_trigger import REMIND_S, Attention, BusTrigger

SIGHTS = st.lists(st.tuples(st.frozensets(st.sampled_from("abc")), st.floats(0.1, 40)), max_size=30)


@given(SIGHTS)
def test_new_things_are_spoken_of_at_once_old_ones_every_minute_nothing_never(sights):
    attention, before, spoken, now = Attention(), frozenset(), None, 0.0
    for seen, pause in sights:
        now += pause
        asks = attention.is_due(set(seen), now)
        assert asks or not seen - before
        assert not (asks and not seen)
        if seen and spoken is not None and now - spoken >= REMIND_S:
            assert asks
        if asks:
            assert spoken is None or seen - before or now - spoken >= REMIND_S
            spoken = now
        before = seen


def test_it_is_one_that_assets_take_and_can_be_written_down():
    path, arguments = BusTrigger("arrivals", 2.5).serialize()
    module, _, name = path.rpartition(".")
    again = getattr(importlib.import_module(module), name)(**arguments)
    assert isinstance(again, BaseEventTrigger)
    assert again.serialize() == (path, {"look": "arrivals", "poll_s": 2.5, "remind_s": 60.0})


@pytest.fixture
def looks(monkeypatch):
    """What the trigger sees, one after the other; an error is raised; after the last it sees nothing."""
    sights = []

    def look(_bus):
        sight = sights.pop(0) if sights else []
        if isinstance(sight, Exception):
            raise sight
        return sight

    monkeypatch.setattr(bus_trigger, "LOOKS", {"things": look})
    monkeypatch.setattr(bus_trigger.Bus, "from_environment", lambda: None)
    return sights


def events(looks, *sights):
    looks.extend(sights)

    async def collect():
        found = []

        async def follow():
            async for event in BusTrigger("things", 0.01).run():
                found.append(event.payload)  # noqa: PERF401 (it never ends, and what came is kept)

        task = asyncio.create_task(follow())
        while looks:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not task.done()
        task.cancel()
        return found

    return asyncio.run(collect())


def test_a_burst_is_one_event_and_what_stays_is_no_other(looks):
    many = [f"b{number:02d}" for number in range(50)]
    found = events(looks, [], many, many, many)
    assert found == [{"look": "things", "count": 50, "some": ["b00", "b01", "b02", "b03", "b04"]}]


def test_what_comes_later_and_what_comes_back_are_events(looks):
    assert [event["count"] for event in events(looks, ["a"], ["a", "b"], [], ["a"])] == [1, 2, 1]


def test_an_error_is_said_once_and_ends_nothing(looks, monkeypatch):
    said = []
    monkeypatch.setattr(BusTrigger, "log", type("Log", (), {"warning": lambda self, *words: said.append(words)})())
    gone = RuntimeError("no route to S3")
    assert [event["count"] for event in events(looks, gone, gone, ["a"], gone, ["a"])] == [1]
    assert said == [("%s: %s: %s", "things", "RuntimeError", gone)]


def test_a_trigger_that_was_killed_says_again_what_still_waits(looks):
    assert len(events(looks, ["a"])) == len(events(looks, ["a"])) == 1


def test_it_sees_the_batches_that_are_complete_and_not_registered(s3, partition):
    s3.put(f"inbox/{partition}/a.mcap", b"log")
    assert partition not in BusTrigger("arrivals")._see()
    ready = (
        f'{{"version": 1, "batch": "{partition}", "files": [{{"path": "a.mcap", "bytes": 3, "sha256": "{"a" * 64}"}}]}}'
    )
    s3.put(f"inbox/{partition}/READY.json", ready.encode())
    assert partition in BusTrigger("arrivals")._see()
