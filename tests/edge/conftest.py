"""A tiny hand-made release for ONNX Runtime: its floor follows the image's brightness, and it sees one chair."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.recipes import perception

HEIGHT, WIDTH = 32, 32
CHAIR = perception.CLASSES.index("chair")


def tiny_network() -> bytes:
    """floor = brightness x (1, 0, -1, -2, -3); cell 5 of the fine grid always holds a chair."""
    cells = sum(rows * columns for rows, columns in perception.grid_shapes(HEIGHT, WIDTH))
    obstacles = np.full((1, cells, 1 + len(perception.CLASSES) + 5), -20, np.float32)
    obstacles[0, 5] = 0
    obstacles[0, 5, 0] = 8
    obstacles[0, 5, 1 + CHAIR] = 9
    constants = {
        "weights": np.array([[1, 0, -1, -2, -3]], np.float32),
        "constant": obstacles,
        "nothing": np.zeros((1, 1, 1), np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "flat": np.array([1, 1], np.int64),
        "cube": np.array([1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "flat"], ["brightness"]),
        helper.make_node("MatMul", ["brightness", "weights"], ["floor"]),
        helper.make_node("Reshape", ["mean", "cube"], ["mean3"]),
        helper.make_node("Mul", ["mean3", "nothing"], ["zero"]),
        helper.make_node("Add", ["constant", "zero"], ["obstacles"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, HEIGHT, WIDTH, 3])],
        [
            helper.make_tensor_value_info("floor", TensorProto.FLOAT, [1, len(perception.FLOORS)]),
            helper.make_tensor_value_info("obstacles", TensorProto.FLOAT, list(obstacles.shape)),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_members(**release_fields: object) -> dict[str, bytes]:
    """The members of a bundle around the tiny network; fields of `release.json` may be replaced."""
    cells = sum(rows * columns for rows, columns in perception.grid_shapes(HEIGHT, WIDTH))
    # The brightness of the self-check's picture is 0.499.
    signature = {
        "input": {"name": "image", "shape": [1, HEIGHT, WIDTH, 3], "dtype": "float32"},
        "outputs": [
            {"name": "floor", "shape": [1, len(perception.FLOORS)]},
            {"name": "obstacles", "shape": [1, cells, len(perception.CLASSES) + 6]},
        ],
        "postprocess": perception.signature(HEIGHT, WIDTH),
        "self_check": {"floor": [0.5, 0.0, -0.5, -1.0, -1.5], "tolerance": 0.1},
    }
    names = {"classes": perception.CLASSES, "floors": perception.FLOORS}
    members = {
        "model.onnx": tiny_network(),
        "signature.json": json.dumps(signature).encode(),
        "classes.json": json.dumps(names).encode(),
    }
    release = {
        "release": "abcdef0123456789",
        "recipe": "perception",
        "format": "onnx",
        "model_file": "model.onnx",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
        "requires": {"runtime": "onnxruntime", "memory_mb": 128},
        "metrics": {"floor_accuracy": 0.9},
        "trained": "2026-01-02T03:04:05+00:00",
        "lineage": {"model": "model/b-1/1111111111111111"},
    }
    return {"release.json": json.dumps(release | release_fields).encode(), **members}


@pytest.fixture(scope="session")
def members() -> Callable[..., dict[str, bytes]]:
    """Makes the members of a bundle; see `make_members`."""
    return make_members


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """A folder with the tiny release installed."""
    write_bundle(tmp_path / "bundle.tar", make_members())
    return unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot").folder
