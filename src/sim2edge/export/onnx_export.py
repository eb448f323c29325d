"""Export the network as ONNX (opset 18), simplified; for ONNX Runtime."""

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
