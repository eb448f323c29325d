"""Airflow as the stack configures it, in this process, and a stand-in for the stages' interpreter."""

import atexit
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.mkdtemp(prefix="airflow-test-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW_CONFIG=str(ROOT / "airflow.cfg"),
    SIM2EDGE_ROOT=str(ROOT),
    AIRFLOW__SIM2EDGE__PRESET="demo",
)
pytest.importorskip("airflow")
sys.path.insert(0, str(ROOT / "plugins"))  # as Airflow does


@pytest.fixture
def fake_stages(tmp_path, monkeypatch):
    """Run stages by `fake_stage.py`; returns a function that says how they behave: `behave(clean="bad input")`."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_stage.py")} "$@"\n')
    python.chmod(0o755)
    behaviours = tmp_path / "behaviours.json"
    monkeypatch.setenv("SIM2EDGE_STAGE_PYTHON", str(python))
    monkeypatch.setenv("SIM2EDGE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("FAKE_STAGE", str(behaviours))
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids.json"))

    def behave(**how: str) -> None:
        behaviours.write_text(json.dumps(how))

    behave()
    return behave
