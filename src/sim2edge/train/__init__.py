"""The train stage: train a model on a dataset by a recipe; tracked in MLflow, resumable, seeded.

sim2edge train --input dataset=refs/datasets/current epochs=20
"""

import os

from sim2edge.stage import Image, Input, Shown, Stage, named
from sim2edge.train.config import TrainConfig

# OpenMP reads this once, when torch is loaded. By default its threads spin for milliseconds while they wait for each
# other: training is ten times slower on cores shared with other processes. Disabling spinning altogether costs a third.
# https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

STAGE = Stage(
    name="train",
    version=4,
    produces="model",
    config=TrainConfig,
    entry="sim2edge.train.run:run",
    inputs={
        "dataset": Input(
            kind="dataset",
            default="refs/datasets/current",
            files=("train.parquet", "validation.parquet", "dataset.json"),
        )
    },
    tracked=True,
    shown=Shown(
        figures=named("map_50", "map_50_95", "floor_accuracy", "epochs"),
        headline=lambda figures: f"mAP {figures['map_50']:.3f}" if "map_50" in figures else "mAP unknown",
        report="curves.png",
        documented="retraining",
    ),
    image=Image(parent="tracked"),
    deterministic=lambda config: config.reproducible,
    tolerances={"floor_accuracy": 0.05, "map_50": 0.1, "map_50_95": 0.1},
)
