"""Write the tables and pictures of a verdict."""

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim2edge.recipes.perception import Integers
from sim2edge.recipes.perception_frames import DatasetTable
from sim2edge.validate.metrics import Evaluation
from sim2edge.validate.rules import Rule

NOTHING = "nothing"


def write_report(evaluation: Evaluation, table: DatasetTable, folder: Path) -> None:
    """Write `confusion_matrix.csv`, `confusion_matrix.png` and `roc.png`."""
    matplotlib.rcdefaults()  # ignore a matplotlibrc of this folder or home: artifacts are deterministic
    matplotlib.rcParams["text.parse_math"] = False  # class names are text, even with a '$'
    obstacles = [*table.classes, NOTHING]
    write_matrices(evaluation, table.floors, obstacles, folder / "confusion_matrix.csv")
    draw_matrices(evaluation, table.floors, obstacles, folder / "confusion_matrix.png")
    draw_rocs(evaluation, folder / "roc.png")


def write_rules(rules: Sequence[Rule], path: Path) -> None:
    """Write every rule as a row: `rule,value,low,high,limit,state,reference,note`."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["rule", "value", "low", "high", "limit", "state", "reference", "note"])
        for rule in rules:
            figures = map(number, (rule.value, *(rule.interval or (None, None)), rule.limit))
            writer.writerow([rule.rule, *figures, rule.state, rule.reference or "", rule.note])


def write_matrices(evaluation: Evaluation, floors: Sequence[str], obstacles: Sequence[str], path: Path) -> None:
    """Write both matrices in long form: `head,truth,predicted,count`."""
    heads = (("floor", floors, evaluation.floor_confusion), ("obstacle", obstacles, evaluation.obstacle_confusion))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["head", "truth", "predicted", "count"])
        for head, names, matrix in heads:
            for truth, row in zip(names, matrix, strict=True):
                writer.writerows(
                    [head, truth, predicted, int(count)] for predicted, count in zip(names, row, strict=True)
                )


def draw_matrices(evaluation: Evaluation, floors: Sequence[str], obstacles: Sequence[str], path: Path) -> None:
    """Draw both matrices side by side, shaded by share of the row."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[len(floors), len(obstacles)])
    _draw_matrix(left, evaluation.floor_confusion, floors, "floor")
    _draw_matrix(right, evaluation.obstacle_confusion, obstacles, "obstacles at the working threshold")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _draw_matrix(axes: Axes, matrix: Integers, names: Sequence[str], title: str) -> None:
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="predicted", ylabel="truth")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    for row in range(len(names)):
        for column in range(len(names)):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=shade, fontsize="small")


def draw_rocs(evaluation: Evaluation, path: Path) -> None:
    """Draw the ROC of each floor type."""
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, (false_rate, true_rate) in evaluation.floor_curves.items():
        area = evaluation.metrics["floors"][name]["roc_auc"]
        axes.plot(false_rate, true_rate, label=f"{name} (area {area:.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
    axes.set(title="floor type, one against the rest", xlabel="false positive rate", ylabel="true positive rate")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100, metadata={"Software": None})
