"""Runs inside a device image: every model of a folder on every picture of another, by the device's own code.

    python run_variants.py <folder of models> <folder of JPEGs> <file.npz to write>

The file holds an array `<model file>/<output>` for each output, stacked over the pictures in the order of their names.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from sim2edge.edge.detector.runtime import RUNTIME_OF_SUFFIX, load_runtime
from sim2edge.edge.obstacle_detector import Preprocessor


def main(models: Path, pictures: Path, out: Path) -> None:
    images = [cv2.imread(str(path)) for path in sorted(pictures.glob("*.jpg"))]
    results: dict[str, np.ndarray] = {}
    for model in sorted(path for path in models.iterdir() if path.suffix in RUNTIME_OF_SUFFIX):
        runtime = load_runtime(model)
        preprocessor = Preprocessor(*runtime.input_shape[1:3])
        outputs = [runtime.run(preprocessor.prepare(image)) for image in images]
        for name in outputs[0]:
            results[f"{model.name}/{name}"] = np.concatenate([output[name] for output in outputs])
    np.savez(out, **results)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
