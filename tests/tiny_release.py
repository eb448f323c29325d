"""A tiny hand-made release for ONNX Runtime: its floor follows the image's brightness, and it sees one chair."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sim2edge.recipes import perception

HEIGHT, WIDTH = 32, 32
CHAIR = perception.CLASSES.index("chair")
CELLS = sum(rows * columns for rows, columns in perception.grid_shapes(HEIGHT, WIDTH))
VALUES = len(perception.CLASSES) + 6
SHADES = {"self-test-1.jpg": 51, "self-test-2.jpg": 204}
"""Grey pictures of the self-test: brightness 0.2 and 0.8."""


def tiny_network(
    extra: Sequence[onnx.NodeProto] = (), constants: Mapping[str, np.ndarray] | None = None, **outputs: Sequence[int]
) -> bytes:
    """floor = brightness x (1, 0, -1, -2, -3); cell 5 of the fine grid always holds a chair.

    Args:
        extra: nodes to run before; their output `more` [1, 1, 1] is added to the obstacles.
        constants: more constants for them.
        outputs: further outputs with their shapes.
    """
    obstacles = np.full((1, CELLS, VALUES), -20, np.float32)
    obstacles[0, 5] = 0
    obstacles[0, 5, 0] = 8
    obstacles[0, 5, 1 + CHAIR] = 9
    known = {
        "weights": np.array([[1, 0, -1, -2, -3]], np.float32),
        "constant": obstacles,
        "nothing": np.zeros((1, 1, 1), np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "flat": np.array([1, 1], np.int64),
        "cube": np.array([1, 1, 1], np.int64),
        **(constants or {}),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "flat"], ["brightness"]),
        helper.make_node("MatMul", ["brightness", "weights"], ["floor"]),
        helper.make_node("Reshape", ["mean", "cube"], ["mean3"]),
        helper.make_node("Mul", ["mean3", "nothing"], ["zero"]),
        *extra,
        helper.make_node("Add", ["constant", "more" if extra else "zero"], ["obstacles"]),
    ]
    shapes = {"floor": [1, len(perception.FLOORS)], "obstacles": list(obstacles.shape), **outputs}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value, name) for name, value in known.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_signature() -> dict[str, object]:
    """What is expected of the tiny network."""
    chair = {"label": "chair", "score": 1.0, "box": [0.25, 0.25, 0.5, 0.5], "distance_m": 1.0}
    peaks = [8.0] + [0.0] * (VALUES - 1)
    peaks[1 + CHAIR] = 9.0
    pictures = [
        {
            "file": name,
            "floor": [round(shade / 255 * weight, 2) for weight in (1, 0, -1, -2, -3)],
            "peaks": peaks,
            "obstacles": [chair],
        }
        for name, shade in SHADES.items()
    ]
    # The brightness of the self-check's picture is 0.499.
    return {
        "input": {"name": "image", "shape": [1, HEIGHT, WIDTH, 3], "dtype": "float32"},
        "outputs": [
            {"name": "floor", "shape": [1, len(perception.FLOORS)]},
            {"name": "obstacles", "shape": [1, CELLS, VALUES]},
        ],
        "postprocess": perception.signature(HEIGHT, WIDTH),
        "self_check": {"floor": [0.5, 0.0, -0.5, -1.0, -1.5], "tolerance": 0.1},
        "self_test": {
            "tolerance": {"logits": 0.1, "score": 0.15, "distance": 0.25, "iou": 0.5},
            "pictures": pictures,
        },
    }


def make_members(**release_fields: object) -> dict[str, bytes]:
    """The members of a bundle around the tiny network; fields of `release.json` may be replaced."""
    names = {"classes": perception.CLASSES, "floors": perception.FLOORS}
    members = {
        "model.onnx": tiny_network(),
        "signature.json": json.dumps(make_signature()).encode(),
        "classes.json": json.dumps(names).encode(),
        **{name: grey_jpeg(shade) for name, shade in SHADES.items()},
    }
    release = {
        "release": "abcdef0123456789",
        "recipe": "perception",
        "format": "onnx",
        "model_file": "model.onnx",
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
        "requires": {"runtime": "onnxruntime", "memory_mb": 128, "cpu_ms_p95": 80},
        "metrics": {"floor_accuracy": 0.9},
        "trained": "2026-01-02T03:04:05+00:00",
        "lineage": {"model": "model/b-1/1111111111111111"},
    }
    return {"release.json": json.dumps(release | release_fields).encode(), **members}


def grey_jpeg(shade: int) -> bytes:
    """A picture of one shade, 0..255."""
    return cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), shade, np.uint8))[1].tobytes()


def reseal(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same members with a `release.json` whose hashes fit them."""
    release = json.loads(files["release.json"])
    release["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in files if name != "release.json"}
    return {**files, "release.json": json.dumps(release).encode()}


def change(files: Mapping[str, bytes], name: str, **fields: object) -> dict[str, bytes]:
    """The same members with fields of a JSON member replaced."""
    return reseal({**files, name: json.dumps(json.loads(files[name]) | fields).encode()})
