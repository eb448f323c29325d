"""Draw the training curves."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

PANELS = {
    "loss": ("train_total_loss", "train_objectness_loss", "train_boxes_loss", "train_classes_loss", "train_floor_loss"),
    "validation": ("validation_floor_accuracy", "validation_map_50", "validation_map_50_95"),
    "learning rate": ("learning_rate",),
}


def draw_curves(history: Sequence[Mapping[str, float | None]], path: Path) -> None:
    """Draw one panel per group of metrics, over epochs, as a PNG."""
    matplotlib.rcdefaults()  # ignore a matplotlibrc of this folder or home: artifacts are deterministic
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, (title, names) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for name in names:
            label = name.removeprefix("train_").removeprefix("validation_").removesuffix("_loss").replace("_", " ")
            values = [nan if row[name] is None else row[name] for row in history]
            axes.plot(epochs, values, marker=".", label=label)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=100, metadata={"Software": None})
