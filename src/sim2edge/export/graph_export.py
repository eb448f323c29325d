"""Export the network as ONNX (opset 18), simplified, for ONNX Runtime, and as TorchScript.

TorchScript is for systems that still load it; it is never chosen for a device.
"""

import io
import re
import zipfile
from pathlib import Path

import onnx
import onnxslim
import torch
from torch import nn

from sim2edge.export.device_network import OUTPUT_NAMES, ChannelsLast, example_input

OPSET = 18


def export_onnx(network: nn.Module, height: int, width: int, path: Path) -> None:
    """Write `network` (NCHW in, evaluation mode) to `path` as a single file that takes NHWC."""
    program = torch.onnx.export(
        ChannelsLast(network).eval(),
        (example_input(height, width),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(OUTPUT_NAMES),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = onnxslim.slim(program.model_proto)
    onnx.checker.check_model(model)
    onnx.save(model, path)


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
