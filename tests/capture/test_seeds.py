"""Episode ids and seeds never meet, within a batch or across batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.capture.seeds import episode_seed, generator
from sim2edge.episodes.moment import episode_id
from sim2edge.manifest import PARTITION

batches = st.from_regex(PARTITION, fullmatch=True)
indices = st.integers(0, 9999)
episodes = st.tuples(batches, indices)


@given(episodes, episodes)
def test_different_episodes_have_different_ids_and_seeds(one, other):
    same = one == other
    assert (episode_id(*one) == episode_id(*other)) == same
    assert (episode_seed(episode_id(*one)) == episode_seed(episode_id(*other))) == same


def test_a_batch_named_like_an_episode_of_another_shares_nothing_with_it():
    shards = {episode_id(batch, k) for batch in ("a", "a.0000", "a.0001") for k in range(50)}
    assert len({episode_seed(shard) for shard in shards}) == 150


@pytest.mark.parametrize("index", [-1, 10_000])
def test_an_index_that_does_not_fit_is_refused(index):
    with pytest.raises(ValueError, match=r"0\.\.9999"):
        episode_id("batch", index)


def test_each_purpose_has_a_stream_of_its_own():
    draws = {purpose: generator("ab" * 16, purpose).random() for purpose in ("room", "robot", "lidar", "goals")}
    assert len(set(draws.values())) == 4
    assert generator("ab" * 16, "room").random() == draws["room"]
