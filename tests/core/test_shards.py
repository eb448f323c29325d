"""Shards cut work without loss, and a wrong one is one clear line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.errors import BadInput
from sim2edge.shards import MAXIMUM, Shard, all_shards, check_count, name_shards, parse_shard


@given(st.integers(1, 2000).flatmap(lambda units: st.tuples(st.just(units), st.integers(1, min(units, MAXIMUM)))))
def test_every_unit_is_in_exactly_one_shard_and_no_shard_is_idle(cut):
    units, of = cut
    shares = [list(shard.share(units)) for shard in all_shards(of)]
    assert sorted(index for share in shares for index in share) == list(range(units))
    sizes = {len(share) for share in shares}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, MAXIMUM).flatmap(lambda of: st.builds(Shard, st.integers(1, of), st.just(of))))
def test_a_shard_is_read_as_it_is_written(shard):
    assert parse_shard(str(shard)) == shard


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "3/0", "-1/8", "3/8/2", "a/b", "1/9999", "1 / 2"])
def test_what_is_no_shard_is_one_clear_line(text):
    with pytest.raises(BadInput) as caught:
        parse_shard(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["0", "-1", "many", "", "1001", "2.5"])
def test_what_is_no_number_of_shards_is_named(text):
    with pytest.raises(BadInput, match=f"'{text}' is not a number of shards"):
        check_count(text)


def test_many_shards_are_named_in_few_words():
    assert name_shards(all_shards(3)) == "1/3, 2/3, 3/3"
    assert name_shards(all_shards(20)).endswith("7/20, and 13 more")
