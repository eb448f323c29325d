"""Assign drives to splits by a stable hash of their key, so that new batches never move an old episode.

A drive is an episode, or several that are pieces of one (`sim2edge.frames.drives`).
"""

import hashlib

SPLITS = ("train", "validation", "test")


def split_of(episode_id: str, validation: float, test: float) -> str:
    """Return the split of a drive: `train`, `validation` or `test`.

    Frames of one drive resemble each other, so a drive is never divided.

    Args:
        episode_id: key of the drive: `<batch id>.<index>` of its episode, or the declared one.
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
