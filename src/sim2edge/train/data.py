"""Hold one split in memory, as tensors, and draw batches from it.

    split = load_split(path, table)
    for batch in shuffled_batches(split, size=64, variation=Variation(flip=0.5, recolour=0.5), generator=generator): ...

Images stay 8-bit and channels-last until a batch is drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sim2edge.recipes.perception import assign_cells, grid_shapes
from sim2edge.recipes.perception_frames import Frames

NEAREST_M = 0.05
"""Lower bound of learned distances, which keeps their logarithm finite."""

MAX_GAIN = 0.4
"""Largest change of a colour channel, as a logarithm: between two thirds and one and a half times."""


@dataclass(frozen=True)
class Split:
    """All frames of a split; M is the largest number of boxes in a frame.

    `images` [N, H, W, 3] uint8; `floors` [N]; `boxes` [N, M, 4] corners as fractions; `classes` [N, M];
    `log_distances` [N, M], NaN if unknown; `owners` [N, cells] the box each cell claims, -1 for none;
    `mirror` [cells] each cell's counterpart in the mirrored image.
    """

    images: Tensor
    floors: Tensor
    boxes: Tensor
    classes: Tensor
    log_distances: Tensor
    owners: Tensor
    mirror: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Split":
        """Return a copy on `device`; all of it, so that drawing a batch transfers nothing."""
        return Split(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Variation:
    """Augmentation in every pass: shares 0..1 of the frames that are mirrored and that get other colours."""

    flip: float
    recolour: float


@dataclass(frozen=True)
class Colours:
    """Per frame: `order` [N, 3], the channel that each of R, G and B is taken from; `gain` [N, 3], its factor."""

    order: Tensor
    gain: Tensor


@dataclass(frozen=True)
class Batch:
    """The data of one training step; P cells of the whole batch claim an obstacle.

    `images` [N, 3, H, W] RGB 0..1, channels-last; `floors` [N]; `frame` [P] and `cell` [P]: indices of the claiming
    cells; `boxes` [P, 4] corners as fractions; `classes` [P]; `log_distances` [P], NaN if unknown.
    """

    images: Tensor
    floors: Tensor
    frame: Tensor
    cell: Tensor
    boxes: Tensor
    classes: Tensor
    log_distances: Tensor


def make_split(frames: Frames) -> Split:
    """Build a split: pad the boxes of each frame to the same number and assign the cells."""
    height, width = frames.images.shape[1:3]
    grids = grid_shapes(height, width)
    counts = np.diff(frames.starts)
    most = max(1, int(counts.max()))
    slots = np.arange(most)[None] < counts[:, None]
    boxes = np.zeros((*slots.shape, 4), np.float32)
    classes, log_distances = np.zeros(slots.shape, np.int64), np.zeros(slots.shape, np.float32)
    boxes[slots], classes[slots] = frames.boxes, frames.classes
    log_distances[slots] = np.log(np.maximum(frames.distances_m, NEAREST_M))
    owners = [assign_cells(boxes[n, :count], grids) for n, count in enumerate(counts)]
    return Split(
        images=torch.from_numpy(frames.images),
        floors=torch.from_numpy(frames.floors),
        boxes=torch.from_numpy(boxes),
        classes=torch.from_numpy(classes),
        log_distances=torch.from_numpy(log_distances),
        owners=torch.from_numpy(np.stack(owners).astype(np.int16)),
        mirror=mirror_cells(height, width),
    )


def mirror_cells(height: int, width: int) -> Tensor:
    """Return the index [cells] of the cell that each one becomes when the image is mirrored left to right."""
    parts, start = [], 0
    for rows, columns in grid_shapes(height, width):
        parts.append(torch.arange(start, start + rows * columns).reshape(rows, columns).flip(1).reshape(-1))
        start += rows * columns
    return torch.cat(parts)


def draw(split: Split, rows: Tensor, mirrored: Tensor | None = None, colours: Colours | None = None) -> Batch:
    """Return the frames `rows` [N] as a batch.

    Args:
        split: the split to draw from.
        rows: indices of the frames.
        mirrored: [N], whether to mirror each frame left to right.
        colours: change of each frame's channels; None: unchanged.
    """
    images, owners, boxes = split.images[rows], split.owners[rows].long(), split.boxes[rows]
    if mirrored is not None:
        images = torch.where(mirrored[:, None, None, None], images.flip(2), images)
        owners = torch.where(mirrored[:, None], owners[:, split.mirror], owners)
        turned = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], dim=-1)
        boxes = torch.where(mirrored[:, None, None], turned, boxes)
    if colours is None:
        values = images.float().div_(255)
    else:
        swapped = images.gather(3, colours.order[:, None, None, :].expand(images.shape))
        values = swapped.float().mul_((colours.gain / 255)[:, None, None, :]).clamp_(max=1)
    frame, cell = (owners >= 0).nonzero(as_tuple=True)
    box = owners[frame, cell]
    return Batch(
        images=values.permute(0, 3, 1, 2),
        floors=split.floors[rows],
        frame=frame,
        cell=cell,
        boxes=boxes[frame, box],
        classes=split.classes[rows][frame, box],
        log_distances=split.log_distances[rows][frame, box],
    )


def random_colours(count: int, share: float, generator: torch.Generator) -> Colours:
    """Return random colours of `count` frames: channels swapped and scaled for a share, unchanged for the rest."""
    order = torch.rand(count, 3, generator=generator).argsort(dim=1)
    gain = torch.exp((torch.rand(count, 3, generator=generator) * 2 - 1) * MAX_GAIN)
    chosen = torch.rand(count, 1, generator=generator) < share
    return Colours(torch.where(chosen, order, torch.arange(3)), torch.where(chosen, gain, 1.0))


def shuffled_batches(split: Split, size: int, variation: Variation, generator: torch.Generator) -> Iterator[Batch]:
    """Yield one pass over the split in random order; the last batch may be smaller.

    A last batch of one frame is left out: batch norm cannot learn from it.
    """
    device, count = split.images.device, len(split)
    order = torch.randperm(count, generator=generator).to(device)
    mirrored = (torch.rand(count, generator=generator) < variation.flip).to(device)
    colours = random_colours(count, variation.recolour, generator)
    orders, gains = colours.order.to(device), colours.gain.to(device)
    for start in range(0, count, size):
        span = slice(start, start + size)
        if len(order[span]) > 1 or count == 1:
            yield draw(split, order[span], mirrored[span], Colours(orders[span], gains[span]))
