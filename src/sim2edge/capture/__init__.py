"""The capture stage: drive a simulated robot through random rooms and log its sensors and actions, an episode per room.

    sim2edge capture --partition demo-1 --preset demo
    sim2edge capture --partition demo-1 episodes=4 camera.width=320 camera.height=240

    sim2edge capture --partition demo-1 --shard 3/8     # a share of the batch; `--gather 8` merges all shares

The inputs are the batch id and the config: every episode's seed is derived from both (`seeds.py`).
"""

from sim2edge.capture.config import CaptureConfig
from sim2edge.stage import Gather, Image, Shown, Stage, named

STAGE = Stage(
    name="capture",
    version=3,
    produces="episodes",
    config=CaptureConfig,
    entry="sim2edge.capture.run:run",
    ref="refs/batches/{partition}",
    shown=Shown(
        figures=named("episodes", "successes", "success_rate", "frames"),
        headline=lambda figures: f"{figures['success_rate']:.0%} ok",
        report="contact_sheet.png",
        documented="capture",
    ),
    image=Image(parent="rendering"),
    resolve="sim2edge.capture.webots.installed:declare_release",
    gather=Gather(
        units="episodes",
        entry="sim2edge.capture.gather:run",
        files=("aggregated_results.csv", "contact_sheet.*.jpg"),
    ),
)
