"""What can be learned: the definitions that training, validation, export and the device share.

network = load_network(folder)      # a model artifact's folder -> torch.nn.Module in evaluation mode
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def load_network(folder: Path) -> "nn.Module":
    """The trained network in a model artifact's folder, in evaluation mode on the CPU.

    It takes images [N, 3, height, width], RGB 0..1; out come floor logits [N, floors], obstacles [N, cells, outputs].

    Raises:
        BadInput: `model.pt` is missing, damaged, or of another network.
    """
    from sim2edge.train.cnn_model import load_model

    return load_model(folder / "model.pt")
