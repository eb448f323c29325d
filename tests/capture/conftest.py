"""Fixtures of the capture tests: small configs, one real batch, and rooms made by hand."""

import os

os.environ.setdefault("MUJOCO_GL", "disable")  # before anything imports mujoco

import pytest
from capture.hand_made import GREY, make_spec

from sim2edge.bus import Bus
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import make_obstacle
from sim2edge.capture.obstacles import box
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.config import load
from sim2edge.episodes.moment import Pose
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


@pytest.fixture
def small() -> CaptureConfig:
    """A config whose episodes take a moment."""
    return load(CaptureConfig, "capture", overrides=SMALL)


@pytest.fixture(scope="session")
def capture_batch():
    """Capture a batch through the real runner: `capture_batch(bus, batch, *overrides, shard="1/2") -> Manifest`."""

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


@pytest.fixture
def room_with():
    """A 6 x 4 m room with grey boxes at given poses: `room_with((x, y, half side), ..., start=Pose(...))`."""

    def build(*boxes: tuple[float, float, float], **fields) -> EpisodeSpec:
        obstacles = [
            make_obstacle(k, "box", Pose(x, y, 0), [[box((0, 0, half), (half, half, half), GREY)]])
            for k, (x, y, half) in enumerate(boxes)
        ]
        return make_spec(obstacles, **fields)

    return build
