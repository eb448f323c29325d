"""The network as TorchScript, for systems that still load it; never chosen for a device."""

from pathlib import Path

import torch
from torch import nn

from sim2edge.export.device_network import ChannelsLast, example_input


def export_torchscript(network: nn.Module, height: int, width: int, path: Path) -> None:
    """Trace, freeze and write `network` (NCHW in, evaluation mode); the file takes NHWC, gives (floor, obstacles)."""
    traced = torch.jit.trace(ChannelsLast(network).eval(), example_input(height, width))  # type: ignore[no-untyped-call]
    torch.jit.freeze(traced).save(str(path))
