"""The proxy before a real engine, asked by docker-py as the operator asks: its sequence passes, nothing else does."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from engine_requests import changed

pytestmark = pytest.mark.engine
IMAGE = f"sim2edge/push:{os.environ.get('SIM2EDGE_TAG') or '0.1.0'}"
NAME = f"proxy-test-{os.getpid()}"
SCRIPT = "cat /run/sim2edge/secrets.env; id -u; for n in 1 2 3; do echo line $n; sleep 0.4; done; exit 3"


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    """The engine itself, and a network; whatever the tests leave is removed."""
    client = docker.DockerClient.from_env()
    network = client.networks.create(NAME)
    yield client
    for container in client.containers.list(all=True, filters={"label": f"sim2edge.deployment={NAME}"}):
        container.remove(force=True, v=True)
    network.remove()


@pytest.fixture(scope="module")
def proxied(engine: docker.DockerClient) -> Iterator[docker.DockerClient]:
    """The same engine through the proxy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sim2edge", "engine-proxy", f"--listen=127.0.0.1:{port}"]
    process = subprocess.Popen([*command, f"--deployment={NAME}", f"--network={NAME}"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            client = docker.DockerClient(base_url=f"tcp://127.0.0.1:{port}", timeout=30)
            break
        except docker.errors.DockerException:
            assert time.monotonic() < deadline, "the proxy did not start"
            time.sleep(0.1)
    yield client
    client.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def body(engine: docker.DockerClient, **fields: Any) -> dict[str, Any]:
    """What the operator asks for, with a script instead of a stage."""
    own = {
        "Image": engine.images.get(IMAGE).id,
        "Labels": {"sim2edge.deployment": NAME, "sim2edge.stage": "push"},
        "Entrypoint": ["timeout", "60s", "sh", "-c"],
        "Cmd": [SCRIPT],
        "HostConfig__NetworkMode": NAME,
        "HostConfig__Memory": 2**28,
        "HostConfig__MemorySwap": 2**28,
        "HostConfig__NanoCpus": 10**9,
    }
    return changed(**{**own, **fields})


def create(client: docker.DockerClient, content: dict[str, Any]) -> str:
    return str(client.api.create_container_from_config(content)["Id"])


def archive(text: bytes) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        entry = tarfile.TarInfo("secrets.env")
        entry.size, entry.uid, entry.gid, entry.mode = len(text), 10001, 10001, 0o400
        tar.addfile(entry, io.BytesIO(text))
    return content.getvalue()


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    """Why the proxy refuses a call."""
    with pytest.raises(APIError, match=r"refused by the engine proxy: ") as caught:
        call(*arguments, **options)
    assert caught.value.status_code == 403
    return str(caught.value.explanation).partition(": ")[2]


def test_the_operators_sequence_passes(engine, proxied):
    assert proxied.api.inspect_image(IMAGE)["Architecture"]
    container = create(proxied, body(engine))
    assert proxied.api.put_archive(container, "/run/sim2edge", archive(b"KEY=value\n"))
    began = time.monotonic()
    proxied.api.start(container)
    lines, first = [], None
    for chunk in proxied.api.logs(container, stream=True, follow=True):
        first = first or time.monotonic() - began
        lines += chunk.decode().split("\n")
    took = time.monotonic() - began
    assert [line for line in lines if line] == ["KEY=value", "10001", "line 1", "line 2", "line 3"]
    assert first < took - 0.7, "the log came when all was over"
    assert proxied.api.wait(container)["StatusCode"] == 3
    found = proxied.api.containers(all=True, filters={"label": ["sim2edge.stage=push"]})
    assert [each["Id"] for each in found] == [container]
    proxied.api.remove_container(container, v=True, force=True)
    with pytest.raises(NotFound):
        proxied.api.inspect_container(container)


def test_a_container_is_stopped_by_its_signal(engine, proxied):
    container = create(proxied, body(engine, Cmd=["sleep 60"], Entrypoint=["sh", "-c"]))
    proxied.api.start(container)
    proxied.api.kill(container, "SIGTERM")
    assert proxied.api.wait(container, timeout=20)["StatusCode"] == 143
    proxied.api.remove_container(container, v=True)


def test_the_container_is_as_hard_as_it_was_asked_for(engine, proxied):
    tries = "id -u; touch /x; touch /scratch/y && echo scratch; cat /proc/self/status"
    container = create(proxied, body(engine, Cmd=[tries]))
    proxied.api.start(container)
    proxied.api.wait(container)
    said = proxied.api.logs(container).decode()
    assert "10001\n" in said, "which of the two streams comes first is a matter of chance"
    assert "Read-only file system" in said
    assert "scratch" in said
    assert re.search(r"CapEff:\s+0+\n", said)
    assert re.search(r"NoNewPrivs:\s+1\n", said)
    proxied.api.remove_container(container, v=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"HostConfig__Privileged": True},
        {"HostConfig__Binds": ["/:/host"]},
        {"HostConfig__Mounts": [{"Type": "bind", "Source": "/", "Target": "/scratch"}]},
        {"HostConfig__NetworkMode": "host"},
        {"HostConfig__PidMode": "host"},
        {"HostConfig__CapAdd": ["SYS_ADMIN"]},
        {"HostConfig__SecurityOpt": ["seccomp=unconfined"]},
        {"Image": "sim2edge-ci/base"},
        {"User": "root"},
        {"privileged": True},
        {"hostconfig": {"Privileged": True}},
        {"HostConfig__privileged": True},
    ],
    ids=str,
)
def test_a_container_that_reaches_out_is_refused_and_not_made(engine, proxied, fields):
    refused(create, proxied, body(engine, **fields))
    assert engine.containers.list(all=True, filters={"label": f"sim2edge.deployment={NAME}"}) == []


def test_exec_copying_out_and_the_like_are_refused_on_containers_of_ours(engine, proxied):
    container = create(proxied, body(engine, Cmd=["sleep 30"]))
    proxied.api.start(container)
    refused(proxied.api.exec_create, container, "sh")
    refused(proxied.api.get_archive, container, "/run/sim2edge")
    refused(proxied.api.put_archive, container, "/run/sim2edge", archive(b"A=b\n"))
    refused(proxied.api.put_archive, container, "/etc", archive(b"A=b\n"))
    refused(proxied.api.commit, container)
    refused(proxied.api.rename, container, "s3")
    refused(proxied.api.update_container, container, mem_limit="4g")
    refused(proxied.api.attach, container)
    refused(lambda: list(proxied.api.export(container)))
    proxied.api.remove_container(container, v=True, force=True)


def test_containers_of_others_are_neither_seen_nor_touched(engine, proxied):
    other = engine.containers.create(IMAGE, labels={"sim2edge.deployment": f"{NAME}-other"}, entrypoint=["sleep", "30"])
    try:
        assert other.id not in [each["Id"] for each in proxied.api.containers(all=True)]
        for call in (proxied.api.inspect_container, proxied.api.start, proxied.api.stop, proxied.api.kill):
            assert "not one of deployment" in refused(call, other.id)
        refused(proxied.api.remove_container, other.id, force=True)
        refused(proxied.api.logs, other.id)
        refused(proxied.api.inspect_container, other.name)
    finally:
        other.remove(force=True, v=True)


def test_volumes_networks_images_and_the_swarm_are_refused(engine, proxied):
    refused(proxied.api.create_volume, NAME)
    refused(proxied.api.create_network, f"{NAME}-other")
    refused(proxied.api.connect_container_to_network, "x", NAME)
    refused(proxied.api.inspect_network, "bridge")
    refused(proxied.api.images)
    refused(proxied.api.remove_image, IMAGE)
    refused(proxied.api.pull, "sim2edge/anything", tag="1")
    refused(proxied.api.init_swarm)
    assert proxied.api.inspect_network(NAME)["Name"] == NAME
