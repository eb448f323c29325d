"""Export the network as TFLite: float32, float16 weights, and static int8 with float input and output.

    export_float32(network, 96, 128, Path("model.float32.tflite"))
    export_float16(Path("model.float32.tflite"), Path("model.float16.tflite"))
    export_int8(Path("model.float32.tflite"), images, Path("model.int8.tflite"))

int8 is calibrated by the smallest and largest value seen: the quantizer's default, a moving average, clips the ranges.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sim2edge.export.device_network import NamedOutputs, example_input

SIGNATURE = "serving_default"
INPUT_NAME = "args_0"


def export_float32(network: nn.Module, height: int, width: int, path: Path) -> None:
    """Write `network` (NCHW in, evaluation mode) to `path`; the file takes NHWC and names its outputs."""
    import litert_torch  # takes seconds to import, hence only when used
    from litert_torch import _config

    _config.config.show_progress = False
    channels_last = litert_torch.to_channel_last_io(NamedOutputs(network).eval(), args=[0])
    litert_torch.convert(channels_last.eval(), (example_input(height, width),)).export(str(path))


def export_float16(float32: Path, path: Path) -> None:
    """Write a copy of a float32 file whose convolution and dense weights are float16; it computes in float32."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    work = quantizer.Quantizer(str(float32))
    operations = qtyping.TFLOperationName
    for operation in (operations.CONV_2D, operations.DEPTHWISE_CONV_2D, operations.FULLY_CONNECTED):
        work.update_quantization_recipe(".*", operation, config, AlgorithmName.FLOAT_CASTING)
    work.quantize().export_model(path, overwrite=True)


def export_int8(float32: Path, images: Iterable[NDArray[np.float32]], path: Path) -> None:
    """Write a copy of a float32 file with int8 weights and activations.

    Args:
        float32: the file to quantize.
        images: calibration images, each float32 [1, height, width, 3], RGB 0..1.
        path: where to write.
    """
    from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.utils import qsv_utils

    work = quantizer.Quantizer(str(float32))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    for operation in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        work.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
    ranges: Any = calibrator.Calibrator(float32.read_bytes(), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    recipes = work._recipe_manager  # no public way to calibrate by min-max
    ranges.calibrate({SIGNATURE: [{INPUT_NAME: image} for image in images]}, recipes)
    work.quantize(ranges.get_model_qsvs()).export_model(path, overwrite=True)
