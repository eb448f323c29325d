"""Model runtimes: chosen by suffix, and a file that is no model gives one clear line."""

from pathlib import Path

import numpy as np
import pytest

from sim2edge.edge.detector import runtime as runtimes
from sim2edge.edge.detector.runtime import available_runtimes, load_runtime
from sim2edge.errors import BadInput


def test_outputs_come_by_name(slot: Path) -> None:
    runtime = load_runtime(slot / "model.onnx")
    outputs = runtime.run(np.ones(runtime.input_shape, np.float32))
    assert {name: output.shape for name, output in outputs.items()} == runtime.output_shapes
    assert outputs["floor"][0].tolist() == pytest.approx([1, 0, -1, -2, -3])


def test_outputs_belong_to_the_caller(slot: Path) -> None:
    runtime = load_runtime(slot / "model.onnx")
    first = runtime.run(np.ones(runtime.input_shape, np.float32))["floor"]
    kept = first.copy()
    runtime.run(np.zeros(runtime.input_shape, np.float32))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx"])
@pytest.mark.parametrize("content", [b"", b"not a model" * 100, bytes(4096)])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match="cannot load it") as caught:
        load_runtime(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_unknown_suffix_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"ends in one of: \.tflite, \.onnx"):
        load_runtime(tmp_path / "model.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load_runtime(tmp_path / "model.onnx")


def test_the_older_runtime_takes_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without ai_edge_litert the loader asks for tflite_runtime, and says what is missing when neither is there."""
    find = runtimes.importlib.util.find_spec

    def without(name: str) -> object:
        return None if name in ("ai_edge_litert", "tflite_runtime") else find(name)

    monkeypatch.setattr(runtimes.importlib.util, "find_spec", without)
    assert available_runtimes() == {"onnxruntime"}
    (tmp_path / "model.tflite").write_bytes(b"x")
    with pytest.raises(BadInput, match="the runtime 'litert' is not installed: No module named 'tflite_runtime'"):
        load_runtime(tmp_path / "model.tflite")
