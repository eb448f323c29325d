"""What is wrong with an engine, an image or a limit is said in one line that names it and what to do."""

import io
import os
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sim2edge.errors import BadInput, Unavailable
from sim2edge_airflow.runtimes.docker_engine import connect, resolve_image
from sim2edge_airflow.runtimes.docker_runtime import DockerRuntime
from sim2edge_airflow.runtimes.runtime import RunStatus

pytestmark = pytest.mark.engine
NOBODY = 65534


def said_by(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_an_engine_that_does_not_run(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(
        Unavailable, match=r"does not answer at unix://.*absent\.sock: the socket does not exist: start"
    ):
        DockerRuntime()


def test_an_engine_that_died_and_left_its_socket(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(Unavailable, match="connection refused: start it"):
        DockerRuntime()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://no-such-host.invalid:2375"])
def test_an_engine_proxy_that_does_not_answer(monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(Unavailable, match=f"the Docker engine does not answer at {address}"):
        DockerRuntime()


def test_an_address_that_is_none(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    with pytest.raises((BadInput, Unavailable), match="nonsense"):
        DockerRuntime()


def test_a_socket_this_user_may_not_use(monkeypatch):
    """Root may use any: it is tried as nobody."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as closed:
        Path(folder).chmod(0o755)
        closed.bind(f"{folder}/docker.sock")
        closed.listen()
        Path(f"{folder}/docker.sock").chmod(0)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
        said = as_nobody(lambda: complaint_of(connect))
    assert said.startswith("BadInput no permission on the Docker engine at unix:///")
    assert "docker.sock: add this user to the group" in said


def as_nobody(work: Callable[[], str]) -> str:
    """What `work` returns in a process of a user without rights."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        if os.getuid() == 0:
            os.setuid(NOBODY)
        os.write(writer, work().encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        return said.read()


def complaint_of(work: Callable[[], object]) -> str:
    try:
        work()
    except (BadInput, Unavailable) as error:
        return f"{type(error).__name__} {error}"
    return "nothing"


def test_an_image_that_is_not_built(engine):
    with pytest.raises(BadInput, match=r"image 'sim2edge/absent:1' is not on the engine: `make images` builds it"):
        resolve_image(engine, "sim2edge/absent:1")


@pytest.mark.parametrize("registry", ["registry.invalid", "127.0.0.1:1"])
def test_a_registry_that_cannot_be_reached(engine, registry):
    with pytest.raises(Unavailable, match=rf"not on the engine, and registry {registry} cannot be reached: ") as caught:
        resolve_image(engine, f"{registry}/sim2edge/train:1")
    said_by(caught.value)


@pytest.fixture
def foreign_image(engine) -> Iterator[str]:
    """An image of the architecture that the engine is not."""
    other = "arm64" if engine.version()["Arch"] == "amd64" else "amd64"
    name = f"sim2edge-test/foreign:{os.getpid()}"
    engine.images.build(
        fileobj=context("FROM scratch\nCOPY file /\n"), custom_context=True, tag=name, platform=f"linux/{other}"
    )
    yield name
    engine.images.remove(name, force=True)


@pytest.fixture
def empty_image(engine) -> Iterator[str]:
    """An image that holds no stage."""
    name = f"sim2edge-test/empty:{os.getpid()}"
    engine.images.build(fileobj=context("FROM scratch\nCOPY file /\n"), custom_context=True, tag=name)
    yield name
    engine.images.remove(name, force=True)


def context(dockerfile: str) -> io.BytesIO:
    files = {"Dockerfile": dockerfile.encode(), "file": b"x"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    packed.seek(0)
    return packed


def test_an_image_of_another_architecture(engine, foreign_image):
    with pytest.raises(
        BadInput, match=rf"image '{foreign_image}' is for a\w+64, the engine runs a\w+64: build or pull"
    ):
        resolve_image(engine, foreign_image)


def test_an_image_that_holds_no_stage(make_job, empty_image):
    runtime = DockerRuntime()
    run = runtime.submit(make_job(image=empty_image))
    list(runtime.logs(run))
    status = runtime.clean(run)
    assert status == RunStatus(127, "its image contains no stage (containers/stages.yaml, capture.image)")


def test_more_cpus_than_the_engine_has(make_job):
    with pytest.raises(BadInput, match=r"the container of capture: .*CPUs") as caught:
        DockerRuntime().submit(make_job(cpus=512))
    said_by(caught.value)


def test_a_memory_limit_below_what_the_engine_takes(make_job):
    job = make_job()
    object.__setattr__(job.settings, "memory_mb", 4)
    with pytest.raises(BadInput, match="the container of capture: Minimum memory limit allowed is 6MB"):
        DockerRuntime().submit(job)


def test_a_network_that_is_not_there(make_job, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__DOCKER_NETWORK", "no-such-network")
    with pytest.raises(BadInput, match=r"network no-such-network not found: create it, or set \[sim2edge\] docker_net"):
        DockerRuntime().submit(make_job())


def test_a_server_on_loopback_is_another_one_in_a_container(make_job, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8333")
    with pytest.raises(BadInput, match=r"'http://127\.0\.0\.1:8333' is the container's own loopback in network"):
        DockerRuntime().submit(make_job())


def test_a_good_setup_says_nothing(engine, stage_image):
    assert resolve_image(connect(), stage_image).startswith("sha256:")
