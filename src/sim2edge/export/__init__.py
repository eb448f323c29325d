"""The export stage: convert a trained model to the best file for a class of device, and bundle it.

sim2edge export --input model=<reference> --input verdict=<reference>
"""

from sim2edge.export.config import ExportConfig
from sim2edge.stage import Image, Input, Shown, Stage, named

STAGE = Stage(
    name="export",
    version=4,
    produces="release",
    config=ExportConfig,
    entry="sim2edge.export.run:run",
    inputs={
        "model": Input("model", files=("model.pt", "model.json")),
        "verdict": Input("verdict", files=("verdict.json",)),
        # `choose` replaces the default by the verdict's dataset.
        "dataset": Input(
            "dataset", default="refs/datasets/current", files=("validation.parquet", "test.parquet", "dataset.json")
        ),
    },
    choose="sim2edge.registry:choose_judged",
    shown=Shown(
        figures=named("chosen", "latency", "latency_ms", "bundle_bytes", "map50", "floor_accuracy"),
        headline=lambda figures: (
            figures["chosen"] + (f" {figures['latency_ms']:.2f} ms" if "latency_ms" in figures else "")
        ),
        report="export_report.json",
        documented="device-profiles",
    ),
    image=Image(parent="learning"),
    resolve="sim2edge.export.device_profile:resolve",
)
