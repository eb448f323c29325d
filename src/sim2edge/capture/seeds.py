"""Derive each episode's seed from its id, so that no two batches and no two workers share one.

seed = episode_seed(episode_id("demo-1", 7))
room_rng, lidar_rng = generator(seed, "room"), generator(seed, "lidar")
"""

import hashlib

import numpy as np

Rng = np.random.Generator


def episode_seed(identity: str) -> str:
    """Return the 128-bit seed of an episode, as 32 hex digits: the head of the SHA-256 of its id."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def generator(seed: str, purpose: str) -> Rng:
    """Return a separate generator for each purpose, so that more draws for one never shift another."""
    words = np.frombuffer(hashlib.sha256(f"{seed}/{purpose}".encode()).digest(), dtype="<u4")
    return np.random.default_rng(words)
