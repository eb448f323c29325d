"""Compute the statistics that LeRobot keeps of each feature (`meta/stats.json`), by which policies normalise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLE_EVERY = 10
"""Images that count; LeRobot samples them, too."""


def of_vectors(rows: Sequence[Any]) -> dict[str, list[float]]:
    """Return the statistics of a feature, each a vector, over its rows."""
    values = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    found |= {name: np.quantile(values, q, axis=0) for name, q in QUANTILES.items()}
    return {name: value.tolist() for name, value in found.items()} | {"count": [len(values)]}


class ImageStatistics:
    """Statistics of the pixels of images, 0..1 for each channel, over a sample of them."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros((3, 256), dtype=np.int64)
        self._images = 0

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Count the pixels of an RGB image, height x width x 3."""
        self._counts += [np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)]
        self._images += 1

    def result(self) -> dict[str, Any]:
        """Return the statistics, each 3 x 1 x 1."""
        shares, levels = self._counts / self._counts.sum(1, keepdims=True), np.arange(256) / 255
        mean = shares @ levels
        std = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
        below = np.cumsum(shares, axis=1)
        found = {name: levels[(below >= q - 1e-12).argmax(1)] for name, q in QUANTILES.items()}
        ends = [levels[np.flatnonzero(row)[[0, -1]]] for row in self._counts]
        found |= {"mean": mean, "std": std, "min": np.array(ends)[:, 0], "max": np.array(ends)[:, 1]}
        return {name: value.reshape(3, 1, 1).tolist() for name, value in found.items()} | {"count": [self._images]}
