"""What the detector needs on a device, and what it must never load."""

import subprocess
import sys
from pathlib import Path

import pytest

from sim2edge.discovery import own_entries
from sim2edge.edge.detector.footprint import measure_footprint
from sim2edge.errors import BadInput

FORBIDDEN = ("torch", "airflow", "pyarrow", "pandas", "mlflow", "mujoco", "pydantic", "rich", "faster_coco_eval")
STAGES = tuple(own_entries())


def test_the_device_loads_neither_torch_nor_airflow_nor_a_stage(slot: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import sim2edge.edge.detector.service; "
        "from sim2edge.edge.obstacle_detector import ObstacleDetector; ObstacleDetector(Path(sys.argv[1])); "
        "print(' '.join(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code, str(slot)], capture_output=True, text=True, check=True).stdout
    modules = set(loaded.split())
    assert "sim2edge.edge.detector.service" in modules
    assert not modules & set(FORBIDDEN)
    assert not {name for name in modules if name.startswith(tuple(f"sim2edge.{stage}" for stage in STAGES))}


def test_the_footprint_is_small(slot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    footprint = measure_footprint(slot)
    with capsys.disabled():
        print(f"\n[footprint] {footprint}")
    assert footprint["memory_mb"] < 160


def test_a_bundle_that_cannot_be_loaded_has_no_footprint(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be loaded"):
        measure_footprint(tmp_path)
