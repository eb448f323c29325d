"""The verdict's pictures."""

from dataclasses import replace

import matplotlib
import numpy as np

from sim2edge.recipes.perception_frames import DatasetTable
from sim2edge.validate.metrics import Evaluation
from sim2edge.validate.report import write_report

TABLE = DatasetTable(("chair", "shoe"), ("wood", "rug"), 48, 64, (0.5,) * 3, (0.2,) * 3, (1.0, 1.0))
CURVE = (np.float32([0, 1]), np.float32([0, 1]))


def pictures(folder, table=TABLE, floor="wood"):
    """Draw one evaluation's pictures; their bytes by name."""
    metrics = {"floors": {floor: {"roc_auc": 0.5}}}
    evaluation = Evaluation(metrics, None, np.eye(2, dtype=int), np.eye(3, dtype=int), {floor: CURVE})
    folder.mkdir()
    write_report(evaluation, table, folder)
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_somebodys_matplotlibrc_changes_no_picture(tmp_path):
    here = pictures(tmp_path / "here")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "blue"}):
        there = pictures(tmp_path / "there")
    assert here.keys() == {"confusion_matrix.png", "roc.png"}
    assert there == here


def test_names_are_drawn_as_they_are(tmp_path):
    odd = r"$\frac{$"
    assert pictures(tmp_path / "odd", replace(TABLE, classes=("chair", odd), floors=(odd, "rug")), odd)
