"""Splits: stable, about as large as asked, and never a reason to move an old episode."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.augment.split import SPLITS, episode_share, split_of


@pytest.mark.parametrize(
    ("episode_id", "split"),
    [("demo-1.0000", "train"), ("demo-1.0008", "test"), ("demo-1.0006", "validation"), ("demo-2.0000", "train")],
)
def test_known_episodes_stay_where_they_are(episode_id, split):
    assert split_of(episode_id, 0.15, 0.15) == split


@given(st.text(min_size=1))
def test_the_share_is_the_documented_hash(episode_id):
    assert episode_share(episode_id) == int(hashlib.sha256(episode_id.encode()).hexdigest()[:8], 16) / 2**32


@given(st.text(min_size=1), st.floats(0.01, 0.45), st.floats(0.01, 0.45), st.floats(0.01, 0.45))
def test_a_larger_validation_share_takes_from_training_only(episode_id, test, one, other):
    small, large = sorted((one, other))
    before, after = split_of(episode_id, small, test), split_of(episode_id, large, test)
    assert before == after or (before, after) == ("train", "validation")


def test_shares_are_met_over_many_episodes():
    splits = [split_of(f"batch-{batch}.{index:04d}", 0.2, 0.1) for batch in range(10) for index in range(500)]
    shares = {split: splits.count(split) / len(splits) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.2, "test": 0.1}, abs=0.02)
