"""Fixtures of the Webots tests: configs, drawn worlds, and the folder of their helpers on the path."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "standin")]

from sim2edge.capture.config import CaptureConfig
from sim2edge.config import load

SMALL = ["episodes=2", "episode_seconds=1.5", "workers=1", "camera.backend=ray", "camera.width=64", "camera.height=48"]


@pytest.fixture
def config() -> CaptureConfig:
    """Small images and short episodes, and every sensor."""
    return load(CaptureConfig, "capture", overrides=[*SMALL, "lidar_3d.enabled=true"])
