"""The network has the documented shapes, survives being saved, and keeps to what int8 exporters take."""

import pytest
import torch
from perception_data import small_network
from torch import nn

from sim2edge.errors import BadInput
from sim2edge.recipes import load_network
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.train.cnn_model import NetworkShape, PerceptionNet, load_model, save_model

TAKEN = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.AvgPool2d, nn.Linear)


@pytest.mark.parametrize(("height", "width", "cells"), [(96, 128, 240), (48, 64, 60), (96, 96, 180), (128, 160, 400)])
def test_output_shapes(height, width, cells):
    floor, obstacles = small_network(height=height, width=width)(torch.rand(3, 3, height, width))
    assert floor.shape == (3, len(FLOORS))
    assert obstacles.shape == (3, cells, 1 + len(CLASSES) + 4 + 1)


def test_wider_networks_have_more_channels():
    sizes = [
        sum(p.numel() for p in PerceptionNet(NetworkShape(width_multiplier=m)).parameters()) for m in (0.25, 0.5, 1)
    ]
    assert sizes == sorted(sizes)
    assert sizes[1] < 250_000


def test_only_layers_that_survive_int8_are_used():
    leaves = [module for module in small_network().modules() if not list(module.children())]
    assert {type(leaf) for leaf in leaves} <= set(TAKEN)


def test_normalisation_is_part_of_the_network():
    shape = NetworkShape(48, 64, 0.25, image_mean=(0.2, 0.4, 0.6), image_std=(0.1, 0.2, 0.4))
    weights = PerceptionNet(shape).state_dict()
    assert weights["mean"].flatten().tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert weights["scale"].flatten().tolist() == pytest.approx([10, 5, 2.5])


def test_objectness_starts_low():
    _, obstacles = small_network().eval()(torch.rand(2, 3, 48, 64))
    assert obstacles[..., 0].sigmoid().max() < 0.1


def test_a_saved_network_answers_the_same(tmp_path):
    network, images = small_network(seed=3).eval(), torch.rand(2, 3, 48, 64)
    save_model(network, {"recipe": "perception"}, tmp_path / "model.pt")
    again = load_network(tmp_path)
    assert not again.training
    for before, after in zip(network(images), again(images), strict=True):
        assert torch.equal(before, after)


def damaged_files(tmp_path):
    save_model(small_network(), {}, tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    (tmp_path / "torn.pt").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"weights": {}, "meta": {}}, tmp_path / "without_shape.pt")
    torch.save({"weights": {}, "meta": {"network": {"height": 48}}}, tmp_path / "without_weights.pt")
    return ["torn.pt", "text.pt", "without_shape.pt", "without_weights.pt", "missing.pt"]


def test_a_damaged_model_is_named(tmp_path):
    for name in damaged_files(tmp_path):
        with pytest.raises(BadInput) as error:
            load_model(tmp_path / name)
        assert str(error.value).startswith(f"{name}: not a perception model: ")
        assert "\n" not in str(error.value)
