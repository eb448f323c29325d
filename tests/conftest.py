"""Fixtures that several folders share: a bus in memory, a real S3 server, the toy stages."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.numerics import pin_code_paths

pin_code_paths()  # before a test imports numpy
sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    """Let a thread that dies fail its test."""
    import thread_watch

    if not config.pluginmanager.is_registered(thread_watch):
        config.pluginmanager.register(thread_watch)


@pytest.fixture
def bus() -> Bus:
    """An empty bus in memory."""
    return Bus(MemoryStore())


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A SeaweedFS server of this test session's own."""
    from sim2edge.services.seaweedfs import start_seaweedfs

    with start_seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server, monkeypatch) -> Iterator[Bus]:
    """A bus on the real S3 server, also set as this process's environment; what the test leaves there is removed."""
    monkeypatch.setenv("SIM2EDGE_BUCKET", s3_server.bucket)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bus = Bus.from_environment()
    before = set(bus.list(""))
    yield bus
    bus.delete(set(bus.list("")) - before)


@pytest.fixture(scope="session")
def free_range() -> Callable[[int], int]:
    """Finds the first of so many neighbouring free ports."""
    from port_range import first_free

    return first_free


@pytest.fixture(scope="session")
def left_behind() -> Callable[[Path], list[psutil.Process]]:
    """Lists the processes that still work in a folder."""

    def find(home: Path) -> list[psutil.Process]:
        """Processes that work in `home` or name it on their command line."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(str(home)) or str(home) in " ".join(process.cmdline()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    return find


@pytest.fixture
def partition() -> str:
    """A batch id nobody else uses."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def toy_stages(monkeypatch):
    """Let the runner know the toy stages by the names of real ones."""
    import toy_stage

    from sim2edge import cli, inspect_bus, plan

    for module in (plan, cli, inspect_bus):
        monkeypatch.setattr(module, "get_stage", toy_stage.STAGES.__getitem__)
    os.environ.pop("SIM2EDGE_PRESET", None)
    return toy_stage.STAGES
