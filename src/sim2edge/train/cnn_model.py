"""The perception network: a MobileNet of ReLU6 blocks with a floor head and an obstacle head.

No squeeze-excite and no hard-swish: both collapse in static int8. Only convolutions, batch norms, ReLU6, additions,
average pools, permutes and reshapes, which every exporter and XNNPACK support. Normalisation is part of the network.

    network = PerceptionNet(NetworkShape(height=96, width=128))
    floor, obstacles = network(images)      # [N, 3, H, W] RGB 0..1 -> [N, floors], [N, cells, 1 + classes + 4 + 1]
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sim2edge.errors import BadInput
from sim2edge.recipes.perception import BOX_VALUES, CLASSES, FLOORS, grid_shapes

PRIOR = 0.02
"""Share of cells that hold an obstacle: the initial objectness, so that the first steps are not spent learning it."""

OUTPUT_NAMES = ("floor", "obstacles")


@dataclass(frozen=True)
class NetworkShape:
    """The parameters that define the network's architecture and normalisation."""

    height: int = 96
    width: int = 128
    width_multiplier: float = 0.5
    floors: int = len(FLOORS)
    classes: int = len(CLASSES)
    image_mean: Sequence[float] = (0.5, 0.5, 0.5)
    image_std: Sequence[float] = (0.25, 0.25, 0.25)


def conv_unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution, batch norm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class Block(nn.Module):
    """Inverted residual (arXiv 1801.04381): widen, filter each channel, narrow without activation, add."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, expansion: int = 3) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.layers = nn.Sequential(
            conv_unit(inputs, hidden, kernel=1),
            conv_unit(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        filtered: Tensor = self.layers(x)
        return x + filtered if self.adds else filtered


class ObstacleHead(nn.Module):
    """Predicts the obstacle of each cell of one grid."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_unit(inputs, hidden, kernel=1), conv_unit(hidden, hidden, groups=hidden), nn.Conv2d(hidden, outputs, 1)
        )
        bias = torch.zeros(outputs)
        bias[0] = -math.log((1 - PRIOR) / PRIOR)
        self.layers[-1].load_state_dict({"weight": torch.randn(outputs, hidden, 1, 1) * 0.01, "bias": bias})

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, rows, columns] to [N, rows * columns, outputs]."""
        raw: Tensor = self.layers(x).permute(0, 2, 3, 1)
        return raw.reshape(raw.shape[0], raw.shape[1] * raw.shape[2], raw.shape[3])


class PerceptionNet(nn.Module):
    """The perception network; `shape` holds its parameters."""

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        grid_shapes(shape.height, shape.width)
        self.shape = shape

        def channels(count: int) -> int:
            return max(8, round(count * shape.width_multiplier / 8) * 8)

        stem, quarter, fine, coarse, head = (channels(count) for count in (32, 48, 96, 160, 96))
        outputs = 1 + shape.classes + BOX_VALUES + 1
        self.register_buffer("mean", torch.tensor(shape.image_mean).reshape(1, 3, 1, 1))
        self.register_buffer("scale", 1 / torch.tensor(shape.image_std).reshape(1, 3, 1, 1))
        self.fine = nn.Sequential(
            conv_unit(3, stem, stride=2),
            conv_unit(stem, quarter, stride=2),
            conv_unit(quarter, fine, stride=2),
            Block(fine, fine),
            Block(fine, fine),
            Block(fine, fine),
            Block(fine, fine),
        )
        self.coarse = nn.Sequential(Block(fine, coarse, stride=2), Block(coarse, coarse), Block(coarse, coarse))
        self.fine_head = ObstacleHead(fine, head, outputs)
        self.coarse_head = ObstacleHead(coarse, head, outputs)
        self.floor_head = nn.Linear(coarse, shape.floors)
        rows, columns = grid_shapes(shape.height, shape.width)[-1]
        self.pool = nn.AvgPool2d((rows, columns))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, 3, H, W], RGB 0..1, to floor logits [N, floors], obstacles [N, cells, 1 + classes + 4 + 1]."""
        fine = self.fine((images - self.mean) * self.scale)
        coarse = self.coarse(fine)
        floor = self.floor_head(self.pool(coarse).reshape(coarse.shape[0], -1))
        return floor, torch.cat([self.fine_head(fine), self.coarse_head(coarse)], dim=1)


def save_model(network: PerceptionNet, meta: Mapping[str, Any], path: Path) -> None:
    """Write the weights, the network's shape and `meta` (JSON values) to `path`."""
    content = {"weights": network.state_dict(), "meta": {**meta, "network": asdict(network.shape)}}
    torch.save(content, path)


def load_model(path: Path) -> PerceptionNet:
    """Read a file of `save_model` and return its network in evaluation mode on the CPU.

    Raises:
        BadInput: the file is missing, damaged, or of another network.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        network = PerceptionNet(NetworkShape(**content["meta"]["network"]))
        network.load_state_dict(content["weights"])
    except Exception as error:  # torch lets any exception of its unpickler and zip reader through
        raise BadInput(f"{path.name}: not a perception model: {str(error).splitlines()[0]}") from error
    return network.eval()
