"""Assign episodes to splits by a stable hash of their id, so that new batches never move an old episode."""

import hashlib

SPLITS = ("train", "validation", "test")


def split_of(episode_id: str, validation: float, test: float) -> str:
    """Return the split of an episode: `train`, `validation` or `test`.

    Frames of one episode resemble each other, so an episode is never divided.

    Args:
        episode_id: `<batch id>.<index>`.
        validation: share of episodes for validation, 0..1.
        test: share of episodes for the test, 0..1.
    """
    share = episode_share(episode_id)
    if share < test:
        return "test"
    return "validation" if share < test + validation else "train"


def episode_share(episode_id: str) -> float:
    """Return a number in 0..1 (1 excluded), fixed for an id and uniform over ids: the head of its SHA-256."""
    return int(hashlib.sha256(episode_id.encode()).hexdigest()[:8], 16) / 2**32
