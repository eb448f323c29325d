"""An update server that a virtual machine reaches, and the pictures of its camera."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from ota_server import OtaServer
from tiny_release import make_members

from sim2edge.bus import Bus


@pytest.fixture(scope="module")
def server(s3_server, tmp_path_factory) -> Iterator[OtaServer]:
    """An update repository on the S3 server, which this process's environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment().items():
            patch.setenv(name, value)
        bus = Bus.from_environment()
        bus.delete(bus.list(""))
        yield OtaServer(bus, tmp_path_factory.mktemp("server"), make_members)
        bus.delete(bus.list(""))


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """A camera's pictures."""
    folder = tmp_path_factory.mktemp("frames")
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((32, 32, 3), 80 * index, np.uint8))
    return folder
