"""The clean stage: check, synchronise and resize the frames of a batch; quarantine bad ones with the reason.

sim2edge clean --partition demo-1
sim2edge clean --partition demo-1 height=72 width=96 only_successful=false
"""

from sim2edge.clean.config import CleanConfig
from sim2edge.stage import Image, Input, Shown, Stage, named

STAGE = Stage(
    name="clean",
    version=3,
    produces="frames",
    config=CleanConfig,
    entry="sim2edge.clean.run:run",
    inputs={
        "episodes": Input(
            kind="episodes", default="refs/batches/{partition}", files=("*/simulation.mcap", "*/result.json")
        )
    },
    ref="refs/frames/{partition}",
    shown=Shown(
        figures=named("frames", "frames_seen", "episodes", "episodes_failed"),
        headline=lambda figures: f"{figures['frames'] / figures['frames_seen']:.1%} kept",
        report="report.html",
        documented="data-format",
    ),
    image=Image(parent="tables"),
)
