"""Run a model file on a device through one interface to several runtimes; the file's suffix selects the runtime.

    runtime = load_runtime(Path("model.tflite"), threads=1)
    outputs = runtime.run(image)        # {"floor": ..., "obstacles": ...}, by the names of the model's signature

LiteRT (`ai_edge_litert`, else its predecessor `tflite_runtime`) runs `.tflite`, ONNX Runtime runs `.onnx`. A runtime is
not thread-safe. The file is read once, into memory: a loaded model needs the disk no more.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sim2edge.errors import BadInput
from sim2edge.lines import join_lines

LITERT_MODULES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
RUNTIME_OF_SUFFIX = {".tflite": "litert", ".onnx": "onnxruntime"}
RUNTIME_MEMORY_MB = {"litert": 96, "onnxruntime": 112}
"""Memory of the detector's process before it loads a model: 65 and 81 MB measured on x86-64, plus a margin."""
OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate", "failed to allocate", "Unable to allocate")
"""What the runtimes say when an allocation failed."""


class Runtime(Protocol):
    """A loaded model with one float32 image input."""

    input_shape: tuple[int, ...]
    """NHWC."""
    output_shapes: dict[str, tuple[int, ...]]
    """Shape of each output, by its name in the model's signature."""

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Run the model once.

        Args:
            image: float32 of `input_shape`, RGB, 0..1, contiguous.

        Returns:
            Each output by name; the arrays belong to the caller.

        Raises:
            MemoryError: this process gets no more memory.
        """


class LiteRT:
    """A `.tflite` file in the LiteRT interpreter, with XNNPACK if compiled in."""

    def __init__(self, model: Path, threads: int) -> None:
        interpreter_class = _litert_module().Interpreter
        content = model.read_bytes()
        try:
            self._interpreter: Any = interpreter_class(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
            runner = self._interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise_if_out_of_memory(error)
            raise BadInput(f"{model}: LiteRT cannot load it: {join_lines(error)}") from error
        (image,) = runner.get_input_details().values()
        outputs = runner.get_output_details()
        _check_float(model, [image, *outputs.values()])
        self._input = image["index"]
        self._outputs = {name: detail["index"] for name, detail in outputs.items()}
        self.input_shape = tuple(int(n) for n in image["shape"])
        self.output_shapes = {name: tuple(int(n) for n in detail["shape"]) for name, detail in outputs.items()}

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See `Runtime`."""
        self._interpreter.set_tensor(self._input, image)
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise_if_out_of_memory(error)
            raise
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


class OnnxRuntime:
    """An `.onnx` file in ONNX Runtime on the CPU."""

    def __init__(self, model: Path, threads: int) -> None:
        onnxruntime = _import("onnxruntime", "onnxruntime")
        content = model.read_bytes()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises its own C++ exception types, without a common base
            raise_if_out_of_memory(error)
            raise BadInput(f"{model}: ONNX Runtime cannot load it: {join_lines(error)}") from error
        (image,) = self._session.get_inputs()
        outputs = self._session.get_outputs()
        if any(tensor.type != "tensor(float)" for tensor in (image, *outputs)):
            raise BadInput(f"{model}: its inputs and outputs have to be float32")
        self._input = image.name
        self._names = [output.name for output in outputs]
        self.input_shape = tuple(image.shape)
        self.output_shapes = {output.name: tuple(output.shape) for output in outputs}

    def run(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See `Runtime`."""
        try:
            outputs = self._session.run(self._names, {self._input: image})
        except Exception as error:  # as above
            raise_if_out_of_memory(error)
            raise
        return dict(zip(self._names, outputs, strict=True))


def load_runtime(model: Path, threads: int = 1) -> Runtime:
    """Load `model` into the runtime for its suffix.

    Raises:
        BadInput: the suffix is unknown, the runtime is not installed, or the file is not a valid model.
        OSError: the file cannot be read.
        MemoryError: this process gets no more memory.
    """
    runtime = RUNTIME_OF_SUFFIX.get(model.suffix)
    if runtime is None:
        raise BadInput(f"{model}: a model file ends in one of: {', '.join(RUNTIME_OF_SUFFIX)}")
    if not model.is_file():
        raise BadInput(f"{model}: no such file")
    return LiteRT(model, threads) if runtime == "litert" else OnnxRuntime(model, threads)


def raise_if_out_of_memory(error: Exception) -> None:
    """Raise MemoryError if a library's error says that an allocation failed: the model need not be at fault."""
    if any(words in str(error) for words in OUT_OF_MEMORY):
        raise MemoryError(join_lines(error)) from error


def import_runtime(name: str) -> None:
    """Import a runtime, so that what it costs is not counted as the model's.

    Raises:
        BadInput: it is not installed.
    """
    _ = _litert_module() if name == "litert" else _import("onnxruntime", "onnxruntime")


def available_runtimes() -> frozenset[str]:
    """Return the names of the installed runtimes, found without loading them."""
    litert = any(importlib.util.find_spec(name.partition(".")[0]) for name in LITERT_MODULES)
    onnxruntime = importlib.util.find_spec("onnxruntime")
    found = {"litert": litert, "onnxruntime": onnxruntime is not None}
    return frozenset(name for name, there in found.items() if there)


def _litert_module() -> ModuleType:
    newest, older = LITERT_MODULES
    if importlib.util.find_spec(newest.partition(".")[0]):
        return _import(newest, "litert")
    return _import(older, "litert")


def _import(module: str, runtime: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(f"the runtime '{runtime}' is not installed: {join_lines(error)}") from error


def _check_float(model: Path, tensors: list[dict[str, Any]]) -> None:
    if any(tensor["dtype"] is not np.float32 for tensor in tensors):
        raise BadInput(f"{model}: its inputs and outputs have to be float32")
