"""Images of a registry with a login: pulled with that of the Docker connection, directly and through the proxy."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import docker
import pytest
from docker_registry import PASSWORD, USER, Registry

from sim2edge.errors import BadInput, Unavailable
from sim2edge.services.loopback import free_ports
from sim2edge_airflow.connections import docker_connection
from sim2edge_airflow.runtimes.docker_engine import connect, resolve_image
from sim2edge_airflow.runtimes.docker_runtime import DockerRuntime
from sim2edge_airflow.runtimes.runtime import RunStatus

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def in_registry(engine, stage_image, registry) -> str:
    """The name of the stages' image in the registry."""
    return registry.push(engine, stage_image, "lab/capture:1")


@pytest.fixture
def private_image(engine, in_registry) -> Iterator[str]:
    """That name; the engine does not have it, neither before the test nor after."""
    yield in_registry
    for each in engine.images.list(in_registry.rpartition(":")[0]):
        for name in (*each.tags, *each.attrs["RepoDigests"]):
            if name.startswith(in_registry.rpartition(":")[0]):
                with contextlib.suppress(docker.errors.ImageNotFound):  # with its last tag a digest goes, too
                    engine.api.remove_image(name)


@pytest.fixture
def connection(registry, monkeypatch):
    """Makes the connection `docker_default`; `connection(password="wrong")`."""

    def make(**changed: object) -> None:
        said = {"conn_type": "docker", "host": registry.name, "login": USER, "password": PASSWORD, **changed}
        monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", json.dumps(said))

    return make


def refusal(engine: docker.DockerClient, image: str) -> str:
    """Why the image cannot be had; trying again is no use."""
    with pytest.raises(BadInput) as caught:
        resolve_image(engine, image, docker_connection())
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def test_an_image_is_pulled_with_the_connections_login_and_runs(connection, private_image, behave, make_job, caplog):
    connection()
    caplog.set_level(logging.DEBUG)
    runtime = DockerRuntime()
    run = runtime.submit(make_job(image=private_image))
    inspected = json.dumps(connect().api.inspect_container(run))
    assert list(runtime.logs(run))
    assert runtime.clean(run) == RunStatus(0)
    assert PASSWORD not in inspected + caplog.text + repr(vars(runtime))


def test_an_image_is_pulled_by_its_digest(connection, engine, registry, private_image):
    connection()
    digest = registry.digest(engine, private_image)
    assert resolve_image(engine, digest, docker_connection()) == engine.images.get(digest).id


def test_an_image_that_is_there_is_not_asked_for(connection, engine, registry, private_image):
    connection()
    pulled = resolve_image(engine, private_image, docker_connection())
    connection(password="wrong")
    assert resolve_image(engine, private_image, docker_connection()) == pulled


def test_a_wrong_password_is_said_with_image_and_connection(connection, engine, registry, private_image):
    connection(password="wrong")
    assert refusal(engine, private_image).startswith(
        f"image '{private_image}': registry {registry.name} denies this engine the pull "
        "with the login of connection 'docker_default': "
    )


def test_without_a_connection_it_is_said_which_option_names_one(engine, private_image):
    assert "without a login: no Docker connection is defined" in refusal(engine, private_image)
    assert "docker_conn_id" in refusal(engine, private_image)


def test_a_login_for_another_registry_is_not_sent(connection, engine, private_image):
    connection(host="registry.example")
    said = "without a login: connection 'docker_default' has one for registry.example only"
    assert said in refusal(engine, private_image)


def test_an_image_that_is_not_in_the_registry(connection, engine, registry):
    connection()
    for name in (f"{registry.name}/lab/absent:1", f"{registry.name}/lab/capture:absent"):
        assert refusal(engine, name).startswith(
            f"image '{name}' is neither on the engine nor in registry {registry.name}, requested with the login"
        )


def test_a_registry_that_is_not_there_may_be_there_later(connection, engine):
    (port,) = free_ports(1)
    connection(host=f"127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=f"registry 127.0.0.1:{port} cannot be reached"):
        resolve_image(engine, f"127.0.0.1:{port}/lab/capture:1", docker_connection())


def test_the_engine_may_be_named_by_the_connection(connection, engine, stage_image, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    connection(extra={"docker_url": "unix:///var/run/docker.sock"})
    assert connect(docker_connection()).ping()
    connection(extra={"docker_url": "tcp://127.0.0.1:1"})
    with pytest.raises(Unavailable, match=r"does not answer at tcp://127\.0\.0\.1:1: connection refused"):
        DockerRuntime()


def test_a_tls_file_that_is_not_there(connection):
    tls = {"tls_ca_cert": "/no/ca.pem", "tls_client_cert": "/no/cert.pem", "tls_client_key": "/no/key.pem"}
    connection(extra={"docker_url": "tcp://127.0.0.1:2376", **tls})
    with pytest.raises(
        BadInput, match=r"^connection 'docker_default': extra\.tls_ca_cert: no such file .*/no/ca\.pem$"
    ):
        DockerRuntime()


@contextlib.contextmanager
def proxied(registry: Registry, *options: str) -> Iterator[list[str]]:
    """The engine proxy as DOCKER_HOST; what it said is in the list in the end."""
    (port,) = free_ports(1)
    deployment, network = os.environ["AIRFLOW__SIM2EDGE__DEPLOYMENT"], os.environ["AIRFLOW__SIM2EDGE__DOCKER_NETWORK"]
    command = [sys.executable, "-m", "sim2edge", "engine-proxy", "--listen", f"127.0.0.1:{port}", *options]
    command += ["--deployment", deployment, "--network", network, "--image-prefix", f"{registry.name}/lab/"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    try:
        assert process.stderr
        said.append(process.stderr.readline())
        assert "listening" in said[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
            yield said
    finally:
        process.terminate()
        said.append(process.communicate()[1])


def test_the_proxy_lets_pull_what_its_prefixes_name(connection, engine, registry, private_image, behave, make_job):
    connection()
    digest = registry.digest(engine, private_image)
    with proxied(registry, "--pull") as said:
        for image in (digest, private_image):  # the first has no tag, so it is known by its digest alone
            runtime = DockerRuntime()
            run = runtime.submit(make_job(image=image))
            list(runtime.logs(run))
            assert runtime.clean(run) == RunStatus(0)
        with pytest.raises(BadInput, match="does not begin with any of"):
            resolve_image(connect(), f"{registry.name}/elsewhere/capture:1", docker_connection())
    assert PASSWORD not in "".join(said)


def test_the_proxy_pulls_nothing_unless_it_is_told_to(connection, registry, private_image):
    connection()
    with proxied(registry):
        said = refusal(connect(), private_image)
    assert said.startswith(f"image '{private_image}' is not on the engine: pull it, or start the proxy with --pull")
