"""Compute the training loss: floor, objectness, class, box and distance.

Objectness learns the overlap that the cell's own box reaches (quality focal loss, arXiv 2006.04388), so that the score
ranks detections by how well they fit. Boxes learn generalised IoU (arXiv 1902.09630).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sim2edge.recipes.perception import DISTANCE_GAIN, OFFSET_GAIN, RAW_LIMIT, SIZE_GAIN
from sim2edge.train.data import Batch

CLASS_WEIGHT, BOX_WEIGHT, DISTANCE_WEIGHT, FLOOR_WEIGHT = 0.5, 2.0, 0.5, 0.5


@dataclass(frozen=True)
class Losses:
    """The parts of the loss, scalars."""

    floor: Tensor
    objectness: Tensor
    classes: Tensor
    boxes: Tensor
    distance: Tensor

    @property
    def total(self) -> Tensor:
        """The weighted sum of the parts."""
        return (
            self.objectness
            + CLASS_WEIGHT * self.classes
            + BOX_WEIGHT * self.boxes
            + DISTANCE_WEIGHT * self.distance
            + FLOOR_WEIGHT * self.floor
        )


def perception_losses(floor: Tensor, obstacles: Tensor, batch: Batch, cells: Tensor, class_weights: Tensor) -> Losses:
    """Return the loss of raw outputs against a batch.

    Args:
        floor: [N, floors] logits.
        obstacles: [N, cells, 1 + classes + 4 + 1].
        batch: the truth.
        cells: [cells, 4] geometry, as returned by `cell_geometry`.
        class_weights: [classes], mean 1.
    """
    floor, obstacles = floor.float(), obstacles.float()
    claimed = obstacles[batch.frame, batch.cell]
    boxes = decode_boxes(claimed[:, -5:-1], cells[batch.cell])
    overlap, generalised = overlaps(boxes, batch.boxes)
    quality = torch.zeros_like(obstacles[..., 0])
    quality[batch.frame, batch.cell] = overlap.detach().clamp(0, 1)
    count = max(1, len(batch.frame))
    class_losses = functional.cross_entropy(claimed[:, 1:-5], batch.classes, weight=class_weights, reduction="sum")
    distances = claimed[:, -1].clamp(-RAW_LIMIT, RAW_LIMIT) * DISTANCE_GAIN
    known = ~batch.log_distances.isnan()
    # An unknown distance is its own target: no error and no gradient.
    log_distances = torch.where(known, batch.log_distances, distances.detach())
    return Losses(
        floor=functional.cross_entropy(floor, batch.floors),
        objectness=quality_focal(obstacles[..., 0], quality) / count,
        classes=class_losses / count,
        boxes=(1 - generalised).sum() / count,
        distance=functional.l1_loss(distances, log_distances, reduction="sum") / known.sum().clamp(min=1),
    )


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """Return the binary cross-entropy against a quality 0..1, weighted by the squared error and summed."""
    weight = (torch.sigmoid(logits) - quality).square()
    return (weight * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum()


def decode_boxes(raw: Tensor, cells: Tensor) -> Tensor:
    """Return boxes as fractions [P, 4] (corners) from raw outputs [P, 4] of cells with geometry [P, 4].

    The boxes are not clipped to the image.
    """
    centres = cells[:, :2] + raw[:, :2] * OFFSET_GAIN * cells[:, 2:]
    halves = torch.exp(raw[:, 2:].clamp(-RAW_LIMIT, RAW_LIMIT) * SIZE_GAIN) * cells[:, 2:] / 2
    return torch.cat([centres - halves, centres + halves], dim=1)


def overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return intersection over union, and its generalised form (-1..1), of pairs of boxes [P, 4]: [P] each."""
    shared = _area(torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:]))
    hull = _area(torch.minimum(first[:, :2], second[:, :2]), torch.maximum(first[:, 2:], second[:, 2:]))
    union = _area(first[:, :2], first[:, 2:]) + _area(second[:, :2], second[:, 2:]) - shared
    overlap = shared / union.clamp(min=1e-9)
    return overlap, overlap - (hull - union) / hull.clamp(min=1e-9)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(dim=1)
