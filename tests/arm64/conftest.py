"""The device image of both architectures, and a real release from the fixtures of the export tests."""

import importlib.util
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from device_container import docker

CHECKOUT = Path(__file__).parents[2]


def _sibling(path: Path):
    spec = importlib.util.spec_from_file_location(f"borrowed_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_export = _sibling(CHECKOUT / "tests/export/conftest.py")
artifacts, make_job, released = _export.artifacts, _export.make_job, _export.released
members = _sibling(CHECKOUT / "tests/edge/conftest.py").members


@pytest.fixture(scope="session")
def device_image() -> Callable[[str], str]:
    """The device image of an architecture, `amd64` or `arm64`; `make test-arm64` builds both."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    tag = os.environ.get("SIM2EDGE_TAG", version)

    def name(architecture: str) -> str:
        image = f"sim2edge/device:{tag}" + ("-arm64" if architecture == "arm64" else "")
        assert docker("image", "inspect", "--format", "{{.Architecture}}", image) == architecture
        return image

    return name
