"""Fixtures of the capture tests: small configs, one real batch, and rooms made by hand."""

import pytest
from capture.hand_made import GREY, make_spec
from captured_batch import SMALL as SMALL
from captured_batch import Silent as Silent
from captured_batch import batch as batch
from captured_batch import capture_batch as capture_batch

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import make_obstacle
from sim2edge.capture.obstacles import box
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.config import load
from sim2edge.episodes.moment import Pose


@pytest.fixture
def small() -> CaptureConfig:
    """A config whose episodes take a moment."""
    return load(CaptureConfig, "capture", overrides=SMALL)


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
