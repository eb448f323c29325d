"""Makes `network.npz`, the weights that the tests of this folder export: python tests/export/train_network.py.

Enough steps to tell the colours of floors. It is committed, for training gives other weights on another processor, and
the golden test compares bytes: after a new one the digests in `test_golden.py` are new, too.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from conftest import HEIGHT, SHAPE, WIDTH, draw_frames

from sim2edge.recipes import perception
from sim2edge.train.cnn_model import PerceptionNet


def train_network(rows: list[dict[str, Any]]) -> PerceptionNet:
    """Train on the rows of `draw_frames`."""
    torch.manual_seed(0)
    network = PerceptionNet(SHAPE)
    grids = perception.grid_shapes(HEIGHT, WIDTH)
    images, floors, owned = [], [], []
    for row in rows:
        image = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
        images.append(torch.from_numpy(image).permute(2, 0, 1) / 255)
        floors.append(perception.FLOORS.index(row["floor"]))
        corners = [[box[side] for side in ("x_min", "y_min", "x_max", "y_max")] for box in row["boxes"]]
        owners = perception.assign_cells(np.array(corners, np.float32).reshape(-1, 4), grids)
        owned.append(torch.from_numpy(owners >= 0).float())
    pictures, truth, cells = torch.stack(images), torch.tensor(floors), torch.stack(owned)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    network.train()
    for _ in range(40):
        floor, obstacles = network(pictures)
        objectness = torch.nn.functional.binary_cross_entropy_with_logits(obstacles[..., 0], cells)
        loss = torch.nn.functional.cross_entropy(floor, truth) + 5 * objectness - 0.01 * obstacles[..., 1].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


if __name__ == "__main__":
    state = train_network(draw_frames(96, seed=0)).state_dict()
    halves = {name: (value.half() if value.is_floating_point() else value).numpy() for name, value in state.items()}
    np.savez_compressed(Path(__file__).with_name("network.npz"), **halves)
