"""Every form the network is exported in: how each file is made, and how it is run to compare it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sim2edge.edge.camera_source import Image
from sim2edge.edge.obstacle_detector import Preprocessor
from sim2edge.edge.runtime import RUNTIME_OF_SUFFIX, Runtime, load_runtime
from sim2edge.export.choose import FLOAT16, FLOAT32, INT8
from sim2edge.export.device_network import OUTPUT_NAMES, TorchRuntime, example_input
from sim2edge.export.onnx_export import export_onnx
from sim2edge.export.parity import Outputs
from sim2edge.export.quiet import quietly
from sim2edge.export.tflite_export import export_float16, export_float32, export_int8
from sim2edge.export.torchscript_export import export_torchscript


@dataclass(frozen=True)
class Form:
    """One form: its name, the file it is written to, and how exact its numbers are."""

    name: str
    file: str
    precision: str

    @property
    def on_device(self) -> bool:
        """Whether a device runtime loads it."""
        return Path(self.file).suffix in RUNTIME_OF_SUFFIX


FORMS = (
    Form("onnx", "model.onnx", FLOAT32),
    Form("torchscript", "model.torchscript", FLOAT32),
    Form("tflite-float32", "model.float32.tflite", FLOAT32),
    Form("tflite-float16", "model.float16.tflite", FLOAT16),
    Form("tflite-int8", "model.int8.tflite", INT8),
)


def export_all(
    network: nn.Module, height: int, width: int, calibration: Sequence[Image], folder: Path, log: Path
) -> Iterator[str]:
    """Write every form of `network` into `folder`, yielding each name once it is there; converters print to `log`."""
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
    """Each image as the device's own code prepares it, float32 [1, height, width, 3]."""
    preprocessor = Preprocessor(height, width)
    for image in images:
        yield preprocessor.prepare(image).copy()


def open_form(form: Form, folder: Path, height: int, width: int, threads: int) -> Runtime:
    """Load an exported file: in the device's runtime where one takes it, else in torch."""
    path = folder / form.file
    if form.on_device:
        return load_runtime(path, threads)
    module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return TorchRuntime(module, example_input(height, width))


def run_all(runtime: Runtime, images: Sequence[Image]) -> Outputs:
    """Raw outputs of every image, stacked."""
    height, width = runtime.input_shape[1:3]
    results = [runtime.run(image) for image in prepared(images, height, width)]
    return {name: np.concatenate([result[name] for result in results]) for name in OUTPUT_NAMES}
