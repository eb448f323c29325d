"""Package a model for MLflow's `pyfunc`: the network as ONNX with the code that decodes it.

package_model(artifact_folder, meta, folder)
mlflow.pyfunc.load_model(folder).predict(images)      # needs mlflow, numpy and onnxruntime; no sim2edge, no torch
"""

import json
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sim2edge.recipes import perception, perception_names, perception_predictor
from sim2edge.recipes.perception_predictor import META_FILE, NETWORK_FILE
from sim2edge.train.cnn_model import OUTPUT_NAMES, PerceptionNet, load_model

CODE = "perception_code"
"""The package that the code is shipped as: under its own name it would hide an installed sim2edge."""
OPSET = 18
REQUIREMENTS = ("mlflow", "numpy", "onnxruntime")
"""What loading and predicting needs."""
MODEL_FILES = ("model.pt", "model.json")


def package_model(artifact: Path, folder: Path) -> None:
    """Write the MLflow model `folder` from a model artifact's folder.

    Its input example is a grey image: one of the data could outlive the batch that it is of.
    """
    import mlflow.pyfunc

    meta = json.loads((artifact / "model.json").read_text(encoding="utf-8"))
    grey = np.full((1, meta["height"], meta["width"], 3), 127, np.uint8)
    with tempfile.TemporaryDirectory(prefix="mlflow-") as scratch:
        code, data = Path(scratch) / CODE, Path(scratch) / "network"
        write_code(code)
        data.mkdir()
        shutil.copy(artifact / "model.json", data / META_FILE)
        export_network(load_model(artifact / "model.pt"), data / NETWORK_FILE)
        mlflow.pyfunc.save_model(
            path=folder,
            loader_module=f"{CODE}.{perception_predictor.__name__.rpartition('.')[2]}",
            code_paths=[str(code)],
            data_path=str(data),
            signature=describe_signature(meta["height"], meta["width"]),
            input_example=grey,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )
    for name in MODEL_FILES:
        shutil.copy(artifact / name, folder / name)


def write_code(folder: Path) -> None:
    """Write the package with the modules that a prediction needs; they import one another by relative names."""
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Code of sim2edge, shipped with the model."""\n', encoding="utf-8")
    for module in (perception, perception_names, perception_predictor):
        path = Path(str(module.__file__))
        shutil.copyfile(path, folder / path.name)


def export_network(network: PerceptionNet, path: Path) -> None:
    """Write the network as ONNX for any number of images, [N, 3, H, W] RGB 0..1."""
    image = torch.zeros(2, 3, network.shape.height, network.shape.width)
    with warnings.catch_warnings():
        # The other exporter takes ten times as long. https://docs.pytorch.org/docs/stable/onnx_export.html
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network.eval(),
            (image,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUT_NAMES),
            dynamic_axes={name: {0: "images"} for name in ("image", *OUTPUT_NAMES)},
        )


def describe_signature(height: int, width: int) -> Any:
    """Return MLflow's signature: images [N, height, width, 3] uint8 RGB in, a row for each image out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Array

    columns: dict[str, DataType | Array] = {
        "floor": DataType.string,
        "floor_probability": DataType.double,
        "classes": Array(DataType.string),
        "scores": Array(DataType.double),
        "boxes": Array(Array(DataType.double)),
        "distances_m": Array(DataType.double),
    }
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, height, width, 3))]),
        outputs=Schema([ColSpec(kind, name) for name, kind in columns.items()]),
    )
