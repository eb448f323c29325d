"""The export stage: a trained model becomes the file that a class of device runs, in a bundle.

sim2edge export --input model=<reference> --input verdict=<reference>
"""

from sim2edge.export.config import ExportConfig
from sim2edge.stage import Input, Stage

STAGE = Stage(
    name="export",
    version=2,
    produces="release",
    config=ExportConfig,
    entry="sim2edge.export.run:run",
    inputs={
        "model": Input("model", files=("model.pt", "model.json")),
        "verdict": Input("verdict", files=("verdict.json",)),
        # `choose` has the verdict's in place of the default.
        "dataset": Input(
            "dataset", default="refs/datasets/current", files=("validation.parquet", "test.parquet", "dataset.json")
        ),
    },
    choose="sim2edge.registry:choose_judged",
    resolve="sim2edge.export.device_profile:resolve",
)
