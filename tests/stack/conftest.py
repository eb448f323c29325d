"""A stack of the S3 server alone, in a folder and on ports of its own; a test that leaves a process behind fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sim2edge.services.loopback import free_ports
from sim2edge.stack.client import Stack
from sim2edge.stack.settings import StackSettings


@pytest.fixture
def settings(tmp_path: Path, free_range: Callable[[int], int]) -> StackSettings:
    """Settings of a stack of S3 alone."""
    mlflow, airflow = free_ports(2)
    home = tmp_path / "home"
    return StackSettings(home=home, s3_port=free_range(10), mlflow_port=mlflow, airflow_port=airflow, only=("s3",))


@pytest.fixture
def stack(settings: StackSettings, left_behind: Callable[[Path], list[psutil.Process]]) -> Iterator[Stack]:
    """The stack of these settings, not started; stopped at the end."""
    stack = Stack(settings)
    yield stack
    stack.stop()
    assert left_behind(settings.home) == []
