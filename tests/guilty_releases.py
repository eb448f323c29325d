"""Releases that must be refused, each around the tiny network, with a word of the true reason."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tiny_release import CELLS, VALUES, change, make_members, make_signature, reseal, tiny_network

from sim2edge.recipes import perception

Members = dict[str, bytes]
node = helper.make_node


def with_model(model: bytes, **requires: object) -> Members:
    """The tiny release with another model, and with other budgets."""
    budgets = {"runtime": "onnxruntime", "memory_mb": 128, "cpu_ms_p95": 80, **requires}
    return reseal(make_members(requires=budgets) | {"model.onnx": model})


def with_classes(**fields: object) -> Members:
    """The tiny release with other names."""
    return change(make_members(), "classes.json", **fields)


def with_self_test(edit: Callable[[Any], None]) -> Members:
    """The tiny release with an edited self-test."""
    signature: Any = make_signature()
    edit(signature["self_test"])
    return change(make_members(), "signature.json", self_test=signature["self_test"])


def with_tolerance(**numbers: float) -> Members:
    """The tiny release with other tolerances."""
    return with_self_test(lambda test: test["tolerance"].update(numbers))


def nan_network() -> bytes:
    """An obstacle output of NaN: the root of -1."""
    extra = [node("Sub", ["zero", "one"], ["minus"]), node("Sqrt", ["minus"], ["more"])]
    return tiny_network(extra, {"one": np.ones((1, 1, 1), np.float32)})


def nan_at_times_network() -> bytes:
    """An obstacle output of NaN for pictures of a brightness of 0.3 to 0.4 alone: there the root is of less than 0."""
    extra = [
        node("Sub", ["mean3", "low"], ["above"]),
        node("Sub", ["mean3", "high"], ["below"]),
        node("Mul", ["above", "below"], ["outside"]),
        node("Sqrt", ["outside"], ["root"]),
        node("Mul", ["root", "nothing"], ["more"]),
    ]
    return tiny_network(
        extra, {name: np.full((1, 1, 1), value, np.float32) for name, value in {"low": 0.3, "high": 0.4}.items()}
    )


def crashing_network() -> bytes:
    """The smallest integer divided by -1, which ends ONNX Runtime by SIGFPE on x86-64."""
    extra = [
        node("Cast", ["zero"], ["whole"], to=TensorProto.INT32),
        node("Add", ["whole", "minus"], ["divisor"]),
        node("Div", ["smallest", "divisor"], ["quotient"]),
        node("Cast", ["quotient"], ["more"], to=TensorProto.FLOAT),
    ]
    constants = {"minus": np.full((1, 1, 1), -1, np.int32), "smallest": np.full((1, 1, 1), -(2**31), np.int32)}
    return tiny_network(extra, constants)


def hungry_network(side: int = 20_000) -> bytes:
    """A small file that needs 4 x side² bytes: 1.6 GB."""
    extra = [
        node("Expand", ["zero", "huge"], ["large"]),
        node("ReduceSum", ["large"], ["more"], keepdims=1),
    ]
    return tiny_network(extra, {"huge": np.array([1, side, side], np.int64)})


def slow_network(products: int) -> bytes:
    """`products` products of matrices 1000 x 1000: 2 billion operations each."""
    extra = [node("Expand", ["zero", "square"], ["m0"])]
    extra += [node("MatMul", [f"m{number}", "m0"], [f"m{number + 1}"]) for number in range(products)]
    extra.append(node("ReduceSum", [f"m{products}"], ["more"], keepdims=1))
    return tiny_network(extra, {"square": np.array([1, 1000, 1000], np.int64)})


def endless_network() -> bytes:
    """A loop of 2^62 rounds."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Sin", ["carried"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [1, 1, 1]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 1, 1]),
        ],
    )
    extra = [node("Loop", ["rounds", "true", "zero"], ["more"], body=body)]
    return tiny_network(extra, {"rounds": np.array(2**62, np.int64), "true": np.array(True)})


def failing_network() -> bytes:
    """An index out of range, found only when it runs."""
    extra = [
        node("Cast", ["brightness"], ["index"], to=TensorProto.INT64),
        node("Add", ["index", "far"], ["outside"]),
        node("Gather", ["table", "outside"], ["picked"]),
        node("Reshape", ["picked", "cube"], ["more"]),
    ]
    return tiny_network(extra, {"far": np.array([[99]], np.int64), "table": np.zeros(3, np.float32)})


def edited_network(edit: Callable[[onnx.ModelProto], None]) -> bytes:
    """The tiny network after `edit`."""
    model = onnx.load_from_string(tiny_network())
    edit(model)
    return model.SerializeToString()


def set_constant(name: str, value: np.ndarray) -> bytes:
    """The tiny network with another constant."""

    def edit(model: onnx.ModelProto) -> None:
        (found,) = [each for each in model.graph.initializer if each.name == name]
        found.CopyFrom(onnx.numpy_helper.from_array(value, name))

    return edited_network(edit)


def lose_weights(model: onnx.ModelProto) -> None:
    """Refer to weights in a file that is not there."""
    (found,) = [each for each in model.graph.initializer if each.name == "constant"]
    found.ClearField("raw_data")
    found.data_location = TensorProto.EXTERNAL
    found.external_data.add(key="location", value="weights.bin")


def unknown_operator(model: onnx.ModelProto) -> None:
    """Use an operator that no runtime has."""
    model.graph.node[0].op_type = "Teleport"


def rename_output(model: onnx.ModelProto) -> None:
    """Call the obstacles something else."""
    model.graph.output[1].name = model.graph.node[-1].output[0] = "things"


def without(name: str) -> Members:
    """The tiny release without one of its files, as a faulty export would sign it."""
    return reseal({each: data for each, data in make_members().items() if each != name})


def dead_obstacles() -> np.ndarray:
    """Raw outputs that hold no obstacle."""
    return np.full((1, CELLS, VALUES), -20, np.float32)


NAMES = list(perception.CLASSES)
LIGHT: Mapping[str, tuple[Callable[[], Members], str]] = {
    "no model": (lambda: with_model(b"no model"), "ONNX Runtime cannot load it"),
    "empty model": (lambda: with_model(b""), "ONNX Runtime cannot load it|has to be|takes"),
    "cut model": (lambda: with_model(tiny_network()[:-700]), "ONNX Runtime cannot load it"),
    "unknown operator": (lambda: with_model(edited_network(unknown_operator)), "cannot load it: .*Teleport"),
    "lost weights": (lambda: with_model(edited_network(lose_weights)), "cannot load it: .*weights.bin"),
    "renamed output": (lambda: with_model(edited_network(rename_output)), "output 'obstacles': the model returns None"),
    "one output too many": (
        lambda: with_model(tiny_network(brightness=[1, 1])),
        "the model returns floor, obstacles, brightness; a detector needs floor and obstacles",
    ),
    "other weights": (
        lambda: with_model(set_constant("weights", np.array([[-1, 0, 1, 2, 3]], np.float32))),
        "self-check failed: floor logits are .* from those of the release",
    ),
    "dead head": (
        lambda: with_model(set_constant("constant", dead_obstacles())),
        "self-test failed: self-test-1.jpg: obstacle logits are .* from those of the release",
    ),
    "NaN output": (lambda: with_model(nan_network()), "self-check failed: .*output 'obstacles' is not finite"),
    "error at run time": (lambda: with_model(failing_network()), "self-check failed: .*(out of|within) .*bound"),
    "another input": (
        lambda: change(make_members(), "signature.json", input={"shape": [1, 64, 64, 3]}),
        r"the model takes \[1, 32, 32, 3\], signature.json declares \[1, 64, 64, 3\]",
    ),
    "another output": (
        lambda: change(make_members(), "signature.json", outputs=[{"name": "floor", "shape": [1, 4]}]),
        r"output 'floor': the model returns \[1, 5\], signature.json declares \[1, 4\]",
    ),
    "classes reversed": (lambda: with_classes(classes=NAMES[::-1]), "the chair at 1.00 m is taken for: "),
    "classes cut": (lambda: with_classes(classes=NAMES[:3]), "classes: 3 names; the model's outputs have 9"),
    "class twice": (lambda: with_classes(classes=[NAMES[1], *NAMES[1:]]), f"'{NAMES[1]}' is named twice"),
    "floors cut": (lambda: with_classes(floors=["wood"]), "floors: 1 names; the model's outputs have 5"),
    "tolerance NaN": (lambda: with_tolerance(logits=float("nan")), "tolerance.logits: nan is not a number above 0"),
    "tolerance negative": (lambda: with_tolerance(score=-0.1), "tolerance.score: -0.1 is not a number above 0"),
    "tolerance huge": (lambda: with_tolerance(logits=1e9), "tolerance.logits: 1e.09 would accept anything"),
    "tolerance infinite": (lambda: with_tolerance(distance=float("inf")), "tolerance.distance: inf is not a number"),
    "any box will do": (lambda: with_tolerance(iou=0.0), "tolerance.iou: 0 is not between"),
    "tolerance absent": (lambda: with_self_test(lambda test: test.pop("tolerance")), "'tolerance' is missing"),
    "expected NaN": (
        lambda: with_self_test(lambda test: test["pictures"][0]["floor"].__setitem__(0, float("nan"))),
        "an expected number is not finite",
    ),
    "no pictures": (lambda: with_self_test(lambda test: test["pictures"].clear()), "self_test: 0 pictures"),
    "lost picture": (lambda: without("self-test-2.jpg"), "the bundle has no 'self-test-2.jpg'"),
    "damaged picture": (lambda: reseal(make_members() | {"self-test-1.jpg": b"no"}), "self-test-1.jpg: not a JPEG"),
    "lost classes": (lambda: without("classes.json"), "files: 'classes.json' is missing"),
    "no self-test": (
        lambda: change(make_members(), "signature.json", self_test=None),
        "self_test: of the wrong type",
    ),
    "budget NaN": (lambda: with_model(tiny_network(), memory_mb=float("nan")), "requires.memory_mb: nan is not"),
}
"""Kinds that loading alone gives away."""
HEAVY: Mapping[str, tuple[Callable[[], Members], str]] = {
    "memory hog": (
        lambda: with_model(hungry_network(), memory_mb=64 + 64),
        "needs more memory than the 128 MB that it declares|uses .* MB of memory; it declares 128",
    ),
    "too little declared": (
        lambda: with_model(tiny_network(), memory_mb=64),
        "it uses [0-9]+ MB of memory; it declares 64",
    ),
    "crash": (lambda: with_model(crashing_network()), "its model crashes the runtime: SIGFPE"),
    "endless": (lambda: with_model(endless_network()), "does not end within 30 s of processor time"),
    "slow": (lambda: with_model(slow_network(8), memory_mb=256), "a detection takes .* processor time; it declares 80"),
    "slow, and says so": (
        lambda: with_model(slow_network(8), memory_mb=256, cpu_ms_p95=60_000),
        "a detection takes .* ms of processor time: at (10|20) frames a second it may take (80|40)",
    ),
}
"""Kinds that only show in a process of its own."""
LIVE: Mapping[str, tuple[Callable[[], Members], str]] = {
    "NaN at times": (
        lambda: with_model(nan_at_times_network()),
        "inferences failed: .*output 'obstacles' is not finite",
    ),
}
"""Kinds that only a trial shows."""
