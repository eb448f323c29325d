"""A real engine, an image with a stand-in for the stages, a network from which the test's S3 server is reached.

Needs an engine that runs on this machine and the image of `push`, which the stand-in is built on: `make images`.
"""

import atexit
import io
import ipaddress
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker_director import Director
from forwarder import Forwarder

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.mkdtemp(prefix="airflow-test-"))
TAG = uuid.uuid4().hex[:8]
DEPLOYMENT = f"sim2edge-test-{TAG}"
"""Of this test session's own, so that it neither sees nor removes what others run on the engine."""
NETWORK = DEPLOYMENT
IMAGE = f"sim2edge-test/stage:{TAG}"
PLAIN = ("SIM2EDGE_BUCKET", "AWS_ENDPOINT_URL", "AWS_REGION")
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW_CONFIG=str(ROOT / "airflow.cfg"),
    SIM2EDGE_ROOT=str(ROOT),
    AIRFLOW__SIM2EDGE__PRESET="demo",
    AIRFLOW__SIM2EDGE__RUNTIME="docker",
    AIRFLOW__SIM2EDGE__DEPLOYMENT=DEPLOYMENT,
    AIRFLOW__SIM2EDGE__DOCKER_NETWORK=NETWORK,
)
pytest.importorskip("airflow")
sys.path.insert(0, str(ROOT / "plugins"))  # as Airflow does


@pytest.fixture(scope="session")
def engine():
    """A client of the engine, which has to answer."""
    from sim2edge_airflow.runtimes.docker_engine import connect

    return connect()


@pytest.fixture(scope="session")
def director(network) -> Iterator[Director]:
    """Directs the stand-ins, by an address that holds in containers and here."""
    director = Director(network)
    yield director
    director.close()


@pytest.fixture(scope="session")
def stage_image(engine, director) -> Iterator[str]:
    """The image with the stand-in, built on the smallest of the stages' images."""
    from importlib.metadata import version

    base = f"sim2edge/push:{os.environ.get('SIM2EDGE_TAG') or version('sim2edge')}"
    files = [ROOT / "tests/docker/stage/Dockerfile", ROOT / "tests/docker/stage/sim2edge.py"]
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for file in [*files, ROOT / "tests/plugins/fake_stage.py"]:
            archive.add(file, file.name)
    context.seek(0)
    engine.images.build(
        fileobj=context, custom_context=True, tag=IMAGE, buildargs={"BASE": base, "DIRECTOR": director.url}, rm=True
    )
    yield IMAGE
    engine.images.remove(IMAGE, force=True)


@pytest.fixture(scope="session")
def network(engine) -> Iterator[str]:
    """The network of stage containers; returns the address of this machine in it."""
    made = engine.networks.create(NETWORK)
    made.reload()
    yield made.attrs["IPAM"]["Config"][0].get("Gateway") or gateway_of(made.attrs["IPAM"]["Config"][0]["Subnet"])
    made.remove()


def gateway_of(subnet: str) -> str:
    return str(next(ipaddress.ip_network(subnet).hosts()))


@pytest.fixture(scope="session")
def s3_address(s3_server, network) -> Iterator[str]:
    """The S3 server as it is reached from the network, and from here."""
    with Forwarder(network, s3_server.ports["s3.port"]) as forwarder:
        yield f"http://{network}:{forwarder.port}"


@pytest.fixture
def bus(s3, s3_address, monkeypatch):
    """The bus, by an address that holds in containers, too."""
    from sim2edge.bus import Bus

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_address)
    return Bus.from_environment()


@pytest.fixture
def behave(director) -> Director:
    """Says how stages behave: `behave(clean="bad input")`; `behave.go()` lets those that wait go on."""
    director()
    return director


@pytest.fixture
def stages_file(tmp_path, stage_image, network, monkeypatch):
    """Limits of the stages, with the stand-in as everybody's image; a function that changes them."""

    def write(**limits: object) -> None:
        settings = {"image": stage_image, "cpus": 1, "memory_mb": 256, "pids": 64, "tmp_mb": 16, **limits}
        (tmp_path / "stages.yaml").write_text(json.dumps({"all": settings}))

    write()
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__STAGES", str(tmp_path / "stages.yaml"))
    return write


@pytest.fixture(autouse=True)
def nothing_is_left(engine, behave):
    """After every test: no container of this deployment, and no volume that nobody uses."""
    before = anonymous_volumes(engine)
    yield
    left = engine.containers.list(all=True, filters={"label": f"sim2edge.deployment={DEPLOYMENT}"})
    for container in left:
        container.remove(force=True, v=True)
    assert not left, f"containers left: {[container.labels for container in left]}"
    lost = anonymous_volumes(engine) - before
    for _ in range(20):  # others use the engine too: what a container of theirs is about to take is no loss
        lost &= anonymous_volumes(engine)
        if not lost:
            return
        time.sleep(0.5)
    raise AssertionError(f"volumes left: {sorted(lost)}")


def anonymous_volumes(engine) -> set[str]:
    """The volumes without a name that no container uses."""
    unused = engine.volumes.list(filters={"dangling": True})
    return {volume.id for volume in unused if re.fullmatch("[0-9a-f]{64}", volume.id)}


@pytest.fixture
def make_job(stage_image, bus, partition):
    """A job of stage capture; `make_job(artifact="b", memory_mb=64, deadline_s=3)`."""
    from airflow.sdk.configuration import conf

    from sim2edge_airflow.runtimes.runtime import StageJob
    from sim2edge_airflow.runtimes.stage_settings import StageSettings

    def make(artifact: str = "a", deadline_s: int = 120, keys: dict[str, bytes] | None = None, run: str = "", **limits):
        owner = {"dag": "d", "run": run or partition, "task": "capture", "map_index": "-1", "try": "1"}
        settings = {"image": stage_image, "cpus": 1, "memory_mb": 256, "pids": 64, "tmp_mb": 16, **limits}
        return StageJob(
            stage="capture",
            arguments=["capture", f"--partition={partition}", "--preset=demo"],
            labels={
                **owner,
                "deployment": conf.get("sim2edge", "deployment"),
                "stage": "capture",
                "artifact": artifact,
            },
            deadline_s=deadline_s,
            settings=StageSettings.model_validate(settings),
            environment={name: os.environ[name] for name in PLAIN},
            secrets={name: os.environ[name] for name in SECRETS},
            keys=keys or {},
        )

    return make
