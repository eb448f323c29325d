"""The validate stage: judge a model on the test split, against floors and against the best models so far.

sim2edge validate --input model=<reference> --input dataset=refs/datasets/current

A model that fails a rule is refused (exit code 3); one that passes is accepted, and becomes the champion when it
is released.
"""

from sim2edge.stage import Grants, Image, Input, Shown, Stage, named
from sim2edge.validate.config import ValidateConfig

STAGE = Stage(
    name="validate",
    version=4,
    produces="verdict",
    config=ValidateConfig,
    entry="sim2edge.validate.run:run",
    inputs={
        "model": Input(kind="model", files=("model.pt", "model.json")),
        "dataset": Input(kind="dataset", default="refs/datasets/current", files=("test.parquet", "dataset.json")),
        "trained_on": Input(kind="dataset", optional=True, files=("dataset.json",)),
        "champion": Input(kind="model", optional=True, files=("model.pt", "model.json")),
        "best": Input(kind="model", many=True, optional=True, files=("model.pt", "model.json")),
    },
    choose="sim2edge.registry:choose_champion",
    post_commit="sim2edge.registry:accept",
    grants=Grants(write=("refs/models/accepted",)),
    shown=Shown(
        figures=named("passed", "map_50", "map_50_95", "floor_accuracy", "distance_error_m"),
        headline=lambda figures: (
            f"{'passed ' if figures.get('passed', True) else ''}{figures['map_50']:.3f}"
            if "map_50" in figures
            else "mAP unknown"
        ),
        report="confusion_matrix.png",
        documented="gate",
    ),
    image=Image(parent="tracked"),
)
