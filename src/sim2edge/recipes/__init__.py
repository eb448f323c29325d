"""Define what can be learned: the definitions that training, validation, export and the device share.

    network = load_network(folder)      # a model artifact's folder -> torch.nn.Module in evaluation mode

A recipe defines what is learned and how outputs become results. The network itself belongs to the trainer: an entry
point of the group `sim2edge.networks`, under the recipe's name, is the function that reads `model.pt`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sim2edge.errors import Misconfigured

if TYPE_CHECKING:
    from torch import nn

NETWORKS = "sim2edge.networks"


def load_network(folder: Path, recipe: str = "perception") -> "nn.Module":
    """Return the trained network in a model artifact's folder, in evaluation mode on the CPU.

    Input: images [N, 3, height, width], RGB 0..1; output: floor logits [N, floors], obstacles [N, cells, outputs].

    Raises:
        Misconfigured: no network is installed for the recipe.
        BadInput: `model.pt` is missing, damaged, or for another network.
    """
    from importlib.metadata import entry_points  # here, as the device imports this module but not this

    found = list(entry_points(group=NETWORKS, name=recipe))
    if not found:
        raise Misconfigured(f"recipe '{recipe}': no network: the group {NETWORKS} has no such entry point")
    network: nn.Module = found[0].load()(folder / "model.pt")
    return network
