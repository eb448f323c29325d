"""Run a trained network, in torch, over frames in memory."""

from typing import Any

import torch
from torch import nn

from sim2edge.recipes.perception import Detections, decode, signature
from sim2edge.recipes.perception_frames import Frames


def detect(network: nn.Module, frames: Frames, batch_size: int, **changes: Any) -> list[Detections]:
    """Run the network on all frames; `changes` replace arguments of `decode`."""
    device = next(network.parameters()).device
    arguments = {**signature(*frames.images.shape[1:3]), **changes}
    found: list[Detections] = []
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(frames), batch_size):
            images = torch.from_numpy(frames.images[start : start + batch_size]).to(device)
            floor, obstacles = network(images.permute(0, 3, 1, 2).float().div_(255))
            found += decode(floor.float().cpu().numpy(), obstacles.float().cpu().numpy(), **arguments)
    return found
