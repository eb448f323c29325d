"""Agents as targets: a ring names one for each architecture; a pushed release keeps them."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from sim2edge.compression import compress
from sim2edge.errors import BadInput
from sim2edge.push.agents import read_agent
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import BundleTarget, Repository

ABOUT = {"version": "2.0", "arch": "aarch64", "python": "3.11"}


def package(folder: Path, content: bytes = b"", **about: str) -> Path:
    """A package as `sim2edge device pack` writes it, as far as the server looks."""
    file = folder / "agent.tar.zst"
    files = {"agent.json": json.dumps(ABOUT | about).encode(), "files.json": b"{}", "lib/code.py": content}
    with tarfile.open(folder / "agent.tar", "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    compress(folder / "agent.tar", file)
    return file


@pytest.fixture
def repository(bus, tmp_path):
    repository = Repository(bus, KeyFolder(tmp_path / "keys"), PushConfig())
    repository.create()
    return repository


def push(repository: Repository, folder: Path, release: str, ring: str = "canary") -> None:
    file = folder / f"{release}.tar"
    file.write_bytes(release.encode())
    repository.publish(ring, BundleTarget(release, file, "{}"))


def ring_of(repository: Repository, ring: str = "canary") -> dict[str, str]:
    return repository.rings(repository.current().targets.signed)[ring]


def agents(repository: Repository) -> list[str]:
    return [path for path in repository.current().targets.signed.targets if path.startswith("agents/")]


def test_a_ring_names_an_agent_for_each_architecture_and_a_pushed_release_keeps_them(repository, tmp_path):
    push(repository, tmp_path, "r1")
    assert repository.publish_agent("canary", read_agent(package(tmp_path)))
    assert repository.publish_agent("canary", read_agent(package(tmp_path, arch="x86_64")))
    push(repository, tmp_path, "r2")
    names = {"agent-aarch64": "agents/2.0-aarch64.tar.zst", "agent-x86_64": "agents/2.0-x86_64.tar.zst"}
    assert ring_of(repository) == {"release": "r2", "bundle": "releases/r2.tar", **names}
    assert sorted(agents(repository)) == sorted(names.values())
    assert not repository.publish_agent("canary", read_agent(package(tmp_path, arch="x86_64")))
    target = repository.current().targets.signed.targets["agents/2.0-aarch64.tar.zst"]
    assert json.loads(target.custom["agent"]) == ABOUT
    assert target.custom["unpacked"] == len(json.dumps(ABOUT)) + 2


def test_an_agent_that_no_ring_names_any_more_is_dropped_from_the_targets(repository, tmp_path):
    push(repository, tmp_path, "r1")
    push(repository, tmp_path, "r1", "stable")
    for ring in ("canary", "stable"):
        repository.publish_agent(ring, read_agent(package(tmp_path)))
    repository.publish_agent("canary", read_agent(package(tmp_path, version="3.0")))
    assert sorted(agents(repository)) == ["agents/2.0-aarch64.tar.zst", "agents/3.0-aarch64.tar.zst"]
    repository.publish_agent("stable", read_agent(package(tmp_path, version="3.0")))
    assert agents(repository) == ["agents/3.0-aarch64.tar.zst"]


def test_other_bytes_under_a_version_that_devices_have_and_a_ring_without_a_release_are_refused(repository, tmp_path):
    with pytest.raises(BadInput, match="ring 'canary' has no release"):
        repository.publish_agent("canary", read_agent(package(tmp_path)))
    push(repository, tmp_path, "r1")
    repository.publish_agent("canary", read_agent(package(tmp_path)))
    with pytest.raises(BadInput, match=r"agent 2.0: another one has this version"):
        repository.publish_agent("canary", read_agent(package(tmp_path, content=b"other")))


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"version": "../x"}, "version '../x'"),
        ({"arch": "riscv"}, "architecture 'riscv'"),
        ({"python": "2"}, "python '2'"),
    ],
)
def test_a_package_that_is_none_is_one_line(about, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        read_agent(package(tmp_path, **about))
    broken = package(tmp_path)
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"agent\.tar\.zst: holds \d+ of the \d+ bytes that it declares"):
        read_agent(broken)
    broken.write_bytes(b"another file")
    with pytest.raises(BadInput, match="not a package of `sim2edge device pack`"):
        read_agent(broken)
