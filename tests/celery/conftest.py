"""A cluster: Airflow's services here, and two Celery workers, each on a host of its own."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hosts import Host, ServiceAddress
from services import AIRFLOW, Cluster, start_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Everything but the workers."""
    assert os.geteuid() == 0, "these tests make network namespaces: run them as root"
    assert not Path(__file__).is_relative_to("/tmp"), "a host has a /tmp of its own: move the checkout out of /tmp"
    folder = Path(tempfile.mkdtemp(prefix="s2e-celery-"))
    folder.chmod(0o711)  # PostgreSQL runs as a user of its own
    with ServiceAddress(), start_cluster(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def hosts(cluster) -> Iterator[list[Host]]:
    """Two workers."""
    with ExitStack() as stack:
        theirs = cluster.worker, cluster.s3.roles / "capture.env"
        made = [Host(f"worker-{n}", n, *theirs, cluster.logs / f"worker-{n}.log") for n in (1, 2)]
        for host in made:
            stack.enter_context(host).start(str(AIRFLOW), "-m", "airflow", "celery", "worker", "--skip-serve-logs")
        yield made
