"""Predict with a network that MLflow holds. It is shipped with each model and needs neither sim2edge nor torch.

    model = mlflow.pyfunc.load_model("models:/perception@champion")
    found = model.predict(images)      # [N, height, width, 3] uint8, RGB -> a row for each image

Needs numpy, onnxruntime, and pandas, which MLflow brings.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .perception import Detections, decode

if TYPE_CHECKING:
    import pandas as pd

NETWORK_FILE, META_FILE = "model.onnx", "model.json"
BATCH = 64
"""Images at once: 64 of 96x128 take 10 MB."""


class Predictor:
    """A network and what its outputs mean."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime  # here, as who packages a model imports this module, too

        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        self._classes, self._floors = meta["classes"], meta["floors"]
        self._shape = (meta["height"], meta["width"], 3)
        self._postprocess = meta["postprocess"]
        self._session = onnxruntime.InferenceSession(folder / NETWORK_FILE, providers=["CPUExecutionProvider"])

    def predict(self, images: npt.NDArray[np.uint8], params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Return a row for each image, in order.

        Args:
            images: [N, height, width, 3], RGB.
            params: none are known.

        Returns:
            `floor`, `floor_probability`, and of the obstacles, best first: `classes`, `scores` (0..1), `boxes`
            (x_min, y_min, x_max, y_max as fractions of the image), `distances_m`.

        Raises:
            ValueError: the images have another type or size, or there are parameters.
        """
        import pandas as pd

        if params:
            raise ValueError(f"no parameters are known, not {', '.join(params)}")
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self._shape:
            raise ValueError(f"images: expected uint8 [N, {self._shape}], not {images.dtype} {list(images.shape)}")
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        rows = [self._describe(found) for batch in batches for found in self._detect(batch)]
        columns = ["floor", "floor_probability", "classes", "scores", "boxes", "distances_m"]
        return pd.DataFrame(rows, columns=columns)

    def _detect(self, images: npt.NDArray[np.uint8]) -> list[Detections]:
        scaled = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        floor, obstacles = self._session.run(["floor", "obstacles"], {"image": scaled})
        return decode(floor, obstacles, **self._postprocess)

    def _describe(self, found: Detections) -> dict[str, Any]:
        floor = int(found.floor.argmax())
        return {
            "floor": self._floors[floor],
            "floor_probability": float(found.floor[floor]),
            "classes": [self._classes[kind] for kind in found.classes],
            "scores": found.scores.tolist(),
            "boxes": found.boxes.tolist(),
            "distances_m": found.distances_m.tolist(),
        }


def _load_pyfunc(path: str) -> Predictor:
    """Load a model for `mlflow.pyfunc`, which calls this by name with the model's data folder."""
    return Predictor(Path(path))
