"""The DAGs as Airflow reads them from this checkout."""

import atexit
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
)
pytest.importorskip("airflow")
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def dag_reader():
    """Reads the DAG files under other settings; see `DagReader`."""
    from dag_reader import DagReader

    reader = DagReader()
    yield reader
    reader.close()


@pytest.fixture(scope="session")
def dagbag():
    """Every DAG of the checkout, parsed without any credential or server in reach."""
    from airflow.dag_processing.dagbag import DagBag

    sys.path.append(str(ROOT / "plugins"))  # as Airflow does
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("AWS_", "SIM2EDGE_BUCKET"))}
    try:
        return DagBag(str(ROOT / "dags"))
    finally:
        os.environ.update(hidden)
