"""Call the inference runtime alone, as its documentation shows, without sim2edge: the peer of the detector.

python -m benchmarks.bare_runtime model.tflite      # {"ready_ms": ..., "memory_mb": ...} of a process of its own
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[Any], Any]
"""Maps the network's input, float32 NHWC, to its raw outputs."""


def load_bare(model: Path) -> Call:
    """Return the bare call of a `.tflite` or `.onnx` file, on one thread."""
    return load_tflite(model) if model.suffix == ".tflite" else load_onnx(model)


def load_tflite(model: Path) -> Call:
    """Return the bare call of a LiteRT interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    outputs = [output["index"] for output in interpreter.get_output_details()]

    def call(values: Any) -> Any:
        interpreter.set_tensor(image["index"], values)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return call


def load_onnx(model: Path) -> Call:
    """Return the bare call of an ONNX Runtime session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda values: session.run(None, {name: values})


def main() -> None:
    """Import the libraries that any detector needs, load the model, and print time and memory."""
    start = time.perf_counter()
    import cv2  # noqa: F401
    import numpy  # noqa: F401

    load_bare(Path(sys.argv[1]))
    seconds = time.perf_counter() - start
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    print(json.dumps({"ready_ms": 1000 * seconds, "memory_mb": memory}))


if __name__ == "__main__":
    main()
