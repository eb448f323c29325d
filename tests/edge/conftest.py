"""The tiny release of `tiny_release`, as members of a bundle and installed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_release import make_members

from sim2edge.edge.bundle import unpack_bundle, write_bundle


@pytest.fixture(scope="session")
def members() -> Callable[..., dict[str, bytes]]:
    """Makes the members of a bundle; see `make_members`."""
    return make_members


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """A folder with the tiny release installed."""
    write_bundle(tmp_path / "bundle.tar", make_members())
    return unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot").folder
