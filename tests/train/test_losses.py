"""Overlaps worked out by hand, and gradients that stay numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sim2edge.recipes.perception import DISTANCE_GAIN, cell_geometry, grid_shapes
from sim2edge.train.data import draw, make_split
from sim2edge.train.losses import overlaps, perception_losses, quality_focal

CELLS = torch.tensor(cell_geometry(grid_shapes(48, 64)))


def test_overlaps_of_known_boxes():
    first = torch.tensor([[0, 0, 1, 1], [0, 0, 0.5, 1], [0, 0, 0.25, 1.0]])
    second = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0.75, 0, 1, 1.0]])
    overlap, generalised = overlaps(first, second)
    assert overlap.tolist() == pytest.approx([1, 0.5, 0])
    assert generalised.tolist() == pytest.approx([1, 0.5, -0.5])


def test_boxes_without_area_give_no_nan():
    point = torch.zeros(1, 4, requires_grad=True)
    overlap, generalised = overlaps(point, torch.zeros(1, 4))
    (overlap + generalised).sum().backward()
    assert torch.isfinite(point.grad).all()


def test_objectness_that_is_right_costs_nothing():
    quality = torch.tensor([0.0, 1.0])
    assert quality_focal(torch.tensor([-20.0, 20.0]), quality) < 1e-6
    assert quality_focal(torch.tensor([20.0, -20.0]), quality) > 10


def test_a_batch_without_obstacles_has_a_loss(train_frames):
    batch = draw(make_split(train_frames), torch.arange(2))
    empty = type(batch)(batch.images, batch.floors, *(part[:0] for part in (
        batch.frame, batch.cell, batch.boxes, batch.classes, batch.log_distances)))  # fmt: skip
    raw = torch.randn(2, 60, 12, requires_grad=True)
    losses = perception_losses(torch.zeros(2, 4), raw, empty, CELLS, torch.ones(6))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert float(losses.boxes.detach()) == float(losses.classes.detach()) == float(losses.distance.detach()) == 0
    assert torch.isfinite(raw.grad).all()


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_wild_outputs_give_finite_gradients(train_frames, scale):
    batch = draw(make_split(train_frames), torch.arange(4))
    raw = (torch.randn(4, 60, 12) * scale).requires_grad_()
    losses = perception_losses(torch.zeros(4, 4), raw, batch, CELLS, torch.ones(6))
    losses.total.backward()
    assert torch.isfinite(raw.grad).all()


def test_unknown_distances_neither_cost_nor_teach(train_frames):
    unknown = replace(train_frames, distances_m=np.full_like(train_frames.distances_m, np.nan))
    raw = torch.randn(4, 60, 12, requires_grad=True)
    batch = draw(make_split(unknown), torch.arange(4))
    losses = perception_losses(torch.zeros(4, 4), raw, batch, CELLS, torch.ones(6))
    losses.total.backward()
    assert float(losses.distance.detach()) == 0
    assert torch.isfinite(raw.grad).all()
    assert not raw.grad[..., -1].any()


def test_the_distance_loss_is_the_mean_over_known_distances(train_frames):
    raw = torch.randn(4, 60, 12)
    whole = draw(make_split(train_frames), torch.arange(4))
    errors = (raw[whole.frame, whole.cell, -1] * DISTANCE_GAIN - whole.log_distances).abs()
    first = torch.arange(len(errors)) % 2 == 0
    part = replace(whole, log_distances=torch.where(first, whole.log_distances, torch.nan))
    for batch, expected in ((whole, errors.mean()), (part, errors[first].mean())):
        losses = perception_losses(torch.zeros(4, 4), raw, batch, CELLS, torch.ones(6))
        assert float(losses.distance) == pytest.approx(float(expected), rel=1e-5)
