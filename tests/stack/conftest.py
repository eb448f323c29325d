"""A stack of the S3 server alone, in a folder and on ports of its own; a test that leaves a process behind fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sim2edge.stack.client import Stack
from sim2edge.stack.ports import free_ports, is_taken
from sim2edge.stack.settings import StackSettings


def _free_range(count: int) -> int:
    """The first of `count` neighbouring free ports."""
    while True:
        first = free_ports(1)[0]
        if not any(is_taken(first + offset) for offset in range(count)):
            return first


def _left_behind(home: Path) -> list[psutil.Process]:
    """Processes that work in `home` or name it on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(home)) or str(home) in " ".join(process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture(scope="session")
def free_range() -> Callable[[int], int]:
    """Finds the first of so many neighbouring free ports."""
    return _free_range


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    """Settings of a stack of S3 alone."""
    mlflow, airflow = free_ports(2)
    home = tmp_path / "home"
    return StackSettings(home=home, s3_port=_free_range(10), mlflow_port=mlflow, airflow_port=airflow, only=("s3",))


@pytest.fixture(scope="session")
def left_behind() -> Callable[[Path], list[psutil.Process]]:
    """Lists what still works in a folder."""
    return _left_behind


@pytest.fixture
def stack(settings: StackSettings, left_behind: Callable[[Path], list[psutil.Process]]) -> Iterator[Stack]:
    """The stack of these settings, not started; stopped at the end."""
    stack = Stack(settings)
    yield stack
    stack.stop()
    assert left_behind(settings.home) == []
