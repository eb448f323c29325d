"""A batch captured in shards is the batch captured whole: files, table, summary, and the frames made of it."""

import pytest
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.plan import plan
from sim2edge.progress import JsonProgress
from sim2edge.runner import execute

EPISODES = ["episodes=4", "episode_seconds=2"]


@pytest.fixture(scope="module")
def capture(capture_batch):
    """Capture the batch `cut`, whole or a part of it: `capture(bus, shard="1/3")`."""
    return lambda bus, **cut: capture_batch(bus, "cut", *EPISODES, **cut)


@pytest.fixture(scope="module")
def whole(capture):
    bus = Bus(MemoryStore())
    return bus, capture(bus)


def content(bus, manifest):
    return {file.path: file.sha256 for file, _ in bus.payload(manifest)}


def clean(bus):
    planned = plan(bus, "clean", "cut", overrides=["only_successful=false", "width=64", "height=48"])
    return execute(bus, planned, JsonProgress("clean"))


def test_gathered_from_shards_it_is_the_same_batch(bus, whole, capture):
    for number in (2, 3, 1):
        capture(bus, shard=f"{number}/3")
    gathered = capture(bus, gather=3)
    made_whole = whole[1]
    assert gathered.reference == made_whole.reference
    assert content(bus, gathered) == content(*whole)
    assert gathered.summary == made_whole.summary
    assert list(gathered.summary["seeds"]) == list(made_whole.summary["seeds"])
    assert content(bus, clean(bus)) == content(whole[0], clean(whole[0]))


def test_as_many_shards_as_episodes(bus, whole, capture):
    shards = [capture(bus, shard=f"{number}/4") for number in range(1, 5)]
    assert [shard.summary["episodes"] for shard in shards] == [1] * 4
    assert content(bus, capture(bus, gather=4)) == content(*whole)


def test_more_shards_than_episodes_are_refused(bus, capture):
    with pytest.raises(BadInput, match="capture: 5 shards, but episodes=4: at most 4"):
        capture(bus, shard="1/5")
