"""Adapt the network to the interface devices use: images NHWC in, outputs by name."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

OUTPUT_NAMES = ("floor", "obstacles")


class NamedOutputs(nn.Module):
    """Returns the outputs as a mapping, whose keys become the names of TFLite's signature; images stay [1, 3, H, W]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map [1, 3, H, W] RGB 0..1 to floor [1, floors], obstacles [1, cells, values]."""
        return dict(zip(OUTPUT_NAMES, self.network(images), strict=True))


class ChannelsLast(nn.Module):
    """Takes images [1, H, W, 3], the layout of a camera."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map [1, H, W, 3] RGB 0..1 to floor [1, floors], obstacles [1, cells, values]."""
        floor, obstacles = self.network(images.permute(0, 3, 1, 2))
        return floor, obstacles


class TorchRuntime:
    """Runs a torch module that takes NHWC, behind the interface of `sim2edge.edge.detector.runtime.Runtime`."""

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        self._module = module
        self.input_shape = tuple(example.shape)
        outputs = self.run(example.numpy())
        self.output_shapes = {name: tuple(output.shape) for name, output in outputs.items()}

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See `Runtime`."""
        with torch.inference_mode():
            outputs: Any = self._module(torch.from_numpy(image))
        return {name: output.numpy().copy() for name, output in zip(OUTPUT_NAMES, outputs, strict=True)}


def example_input(height: int, width: int) -> Tensor:
    """Return a mid-grey image [1, height, width, 3] to trace with."""
    return torch.full((1, height, width, 3), 0.5)
