"""Export the network as TorchScript, for systems that still load it; never chosen for a device."""

import io
import re
import zipfile
from pathlib import Path

import torch
from torch import nn

from sim2edge.export.device_network import ChannelsLast, example_input

NOT_THE_NETWORK = (".debug_pkl", "/.data/serialization_id")
"""Members of the archive with the paths of the source code that was traced, and a hash over them."""
NUMBERED = re.compile(rb"(?<=___torch_mangle)_\d+")
"""Class names are numbered by a counter of the process."""
EPOCH = (1980, 1, 1, 0, 0, 0)


def export_torchscript(network: nn.Module, height: int, width: int, path: Path) -> None:
    """Trace, freeze and write `network` (NCHW in, evaluation mode); the file takes NHWC, returns (floor, obstacles)."""
    traced = torch.jit.trace(ChannelsLast(network).eval(), example_input(height, width))  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.freeze(traced), buffer)
    strip(buffer, path)


def strip(archive: io.BytesIO, path: Path) -> None:
    """Write a TorchScript archive without the paths and counters of the process that built it."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(NOT_THE_NETWORK):
                data = source.read(name)
                if "/constants/" not in name:
                    data = NUMBERED.sub(b"_0", data)
                target.writestr(zipfile.ZipInfo(NUMBERED.sub(b"_0", name.encode()).decode(), EPOCH), data)
