"""Fixtures of the Webots tests: configs, a stand-in for the program, and the folder of their helpers on the path."""

import os
import stat
import sys
from pathlib import Path

import pytest

from sim2edge.capture.config import CaptureConfig
from sim2edge.config import load

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "standin")]

SMALL = ["episodes=2", "episode_seconds=1.5", "workers=1", "camera.width=64", "camera.height=48"]


@pytest.fixture
def config() -> CaptureConfig:
    """Small images and short episodes, and every sensor."""
    return load(CaptureConfig, "capture", overrides=[*SMALL, "lidar_3d.enabled=true"])


@pytest.fixture
def fake_webots(tmp_path, monkeypatch):
    """A `webots` and an `xvfb-run` on PATH: `fake_webots(behaviour, version) -> the folder they are in`."""

    def install(behaviour: str = "well", version: str = "R2025a") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = (HERE / "fake_webots.py").read_text()
        for name, text in (("webots", f"#!{sys.executable}\n{program}"), ("xvfb-run", FAKE_XVFB)):
            (folder / name).write_text(text)
            (folder / name).chmod(stat.S_IRWXU)
            if not os.access(folder / name, os.X_OK):
                pytest.skip("nothing may be executed in this temporary folder")
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("WEBOTS_HOME", raising=False)
        monkeypatch.setenv("FAKE_BEHAVIOUR", behaviour)
        monkeypatch.setenv("FAKE_VERSION", version)
        monkeypatch.setenv("FAKE_STANDIN", f"{HERE / 'standin'}{os.pathsep}{HERE}")
        return folder

    return install


FAKE_XVFB = """#!/bin/sh
while case "$1" in --*) true ;; *) false ;; esac; do shift; done
DISPLAY=:7 exec "$@"
"""
