"""The export stage: a trained model becomes the file a device runs, chosen by measurement, in a bundle.

sim2edge export --input model=<reference> --input verdict=<reference>
"""

from sim2edge.export.config import ExportConfig
from sim2edge.stage import Input, Stage

STAGE = Stage(
    name="export",
    version=1,
    produces="release",
    config=ExportConfig,
    entry="sim2edge.export.run:run",
    inputs={
        "model": Input("model", files=("model.pt", "model.json")),
        "verdict": Input("verdict", files=("verdict.json",)),
        "dataset": Input(
            "dataset", default="refs/datasets/current", files=("validation.parquet", "test.parquet", "dataset.json")
        ),
    },
)
