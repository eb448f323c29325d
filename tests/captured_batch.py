"""A small batch, captured by the real stage through the real runner: fixtures of the tests of capture and of ingest."""

import os

os.environ.setdefault("MUJOCO_GL", "disable")  # before anything imports mujoco

import pytest

from sim2edge.bus import Bus
from sim2edge.plan import plan
from sim2edge.runner import execute

SMALL = ["episodes=2", "episode_seconds=1.5", "workers=2", "camera.width=64", "camera.height=48"]


class Silent:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, int]] = []

    def update(self, done, total, **metrics):
        self.updates.append((done, total))

    def log(self, message, **fields):
        pass


@pytest.fixture(scope="session")
def capture_batch():
    """Capture a batch: `capture_batch(bus, batch, *overrides, shard="1/2") -> Manifest`."""

    def capture(bus: Bus, batch: str, *overrides: str, **cut):
        return execute(bus, plan(bus, "capture", batch, overrides=[*SMALL, *overrides], **cut), Silent())

    return capture


@pytest.fixture(scope="session")
def batch(tmp_path_factory):
    """One small batch, captured once: the bus, its manifest and the folder of its files."""
    from obstore.store import MemoryStore

    bus = Bus(MemoryStore())
    manifest = execute(bus, plan(bus, "capture", "once", overrides=SMALL), Silent())
    return bus, manifest, bus.fetch(manifest, tmp_path_factory.mktemp("batch")).folder
