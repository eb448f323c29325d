"""Build the file of every form, and run it for comparison."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sim2edge.edge.detector.camera_source import Image
from sim2edge.edge.detector.runtime import Runtime, load_runtime
from sim2edge.edge.obstacle_detector import Preprocessor
from sim2edge.export.device_network import OUTPUT_NAMES, TorchRuntime, example_input
from sim2edge.export.forms import FORMS, Form
from sim2edge.export.graph_export import export_onnx, export_torchscript
from sim2edge.export.parity import Outputs
from sim2edge.export.quiet import quietly
from sim2edge.export.tflite_export import export_float16, export_float32, export_int8


def export_all(
    network: nn.Module, height: int, width: int, calibration: Sequence[Image], folder: Path, log: Path
) -> Iterator[str]:
    """Write every form of `network` into `folder`, yielding each name once written; converters print to `log`."""
    float32 = folder / "model.float32.tflite"
    images = prepared(calibration, height, width)
    exports: Mapping[str, Callable[[Path], None]] = {
        "torchscript": lambda path: export_torchscript(network, height, width, path),
        "onnx": lambda path: export_onnx(network, height, width, path),
        "tflite-float32": lambda path: export_float32(network, height, width, path),
        "tflite-float16": lambda path: export_float16(float32, path),
        "tflite-int8": lambda path: export_int8(float32, images, path),
    }
    files = {form.name: form.file for form in FORMS}
    for name, export in exports.items():
        with quietly(log):
            export(folder / files[name])
        yield name


def prepared(
    images: Sequence[Image], height: int, width: int
) -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Yield each image as prepared by the device's own code, float32 [1, height, width, 3]."""
    preprocessor = Preprocessor(height, width)
    for image in images:
        yield preprocessor.prepare(image).copy()


def open_form(form: Form, folder: Path, height: int, width: int, threads: int) -> Runtime:
    """Load an exported file, in the device's runtime if one supports it, else in torch."""
    path = folder / form.file
    if form.on_device:
        return load_runtime(path, threads)
    module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return TorchRuntime(module, example_input(height, width))


def run_all(runtime: Runtime, images: Sequence[Image]) -> Outputs:
    """Return the raw outputs of every image, stacked."""
    height, width = runtime.input_shape[1:3]
    results = [runtime.run(image) for image in prepared(images, height, width)]
    return {name: np.concatenate([result[name] for result in results]) for name in OUTPUT_NAMES}
