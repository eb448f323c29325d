"""The tiny release of `tiny_release`, as members of a bundle, installed, and on an update server."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ota_server import OtaServer
from tiny_release import make_members

from sim2edge.bus import Bus
from sim2edge.edge.bundle import unpack_bundle, write_bundle

IN_IMAGE = bool(os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC)
"""The device's image runs with a folder of temporary files in which nothing can be executed."""


def pytest_configure() -> None:
    """Put temporary files where stand-ins for a camera's program can be executed."""
    if IN_IMAGE and os.access("/scratch", os.W_OK):
        tempfile.tempdir = os.environ["TMPDIR"] = "/scratch"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the slow tests to the runs outside of the image."""
    for item in items:
        if IN_IMAGE and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run outside of the image"))


@pytest.fixture(scope="session")
def members() -> Callable[..., dict[str, bytes]]:
    """Makes the members of a bundle; see `make_members`."""
    return make_members


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """A folder with the tiny release installed."""
    write_bundle(tmp_path / "bundle.tar", make_members())
    return unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot").folder


@pytest.fixture
def server(bus: Bus, tmp_path: Path, members: Callable[..., dict[str, bytes]]) -> OtaServer:
    """An update server whose ring has release r1."""
    server = OtaServer(bus, tmp_path / "server", members)
    server.publish("r1")
    return server
