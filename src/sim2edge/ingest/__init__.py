"""The ingest stage: turn logs of other producers (a robot, a Webots farm) into a batch of episodes.

    sim2edge ingest logs/ --partition lab-1                                    deliver a folder, then build the batch
    sim2edge ingest logs/ --partition lab-1 topics.image=/front/image floor=wood skip_bad=true
    sim2edge ingest --partition lab-1                                          the files of a producer in inbox/lab-1/
    sim2edge ingest lekiwi/ --partition kitchen-1                              a LeRobot dataset, or a tub of donkeycar

ROS 1 and ROS 2 bags, Foxglove logs and our own logs are supported; `docs/ingest.md` lists topics and schemas.
"""

from sim2edge.inbox import PAYLOAD
from sim2edge.ingest.config import IngestConfig
from sim2edge.stage import Grants, Image, Shown, Source, Stage, named

STAGE = Stage(
    name="ingest",
    version=2,
    produces="episodes",
    config=IngestConfig,
    entry="sim2edge.ingest.run:run",
    ref="refs/batches/{partition}",
    post_commit="sim2edge.ingest.run:log_report",
    source=Source(
        pin="sim2edge.inbox:pin",
        pins=("ready",),
        fetch="sim2edge.ingest.others:fetch",
        deliver="sim2edge.ingest.deliver:deliver_folder",
    ),
    instead_of="capture",
    grants=Grants(read=("inbox/*",), write=tuple(f"inbox/{each}" for each in PAYLOAD), create=("inbox/*/READY.json",)),
    shown=Shown(
        figures=named("episodes", "successes", "success_rate", "frames"),
        headline=lambda figures: f"{figures['success_rate']:.0%} ok",
        documented="ingest",
    ),
    image=Image(parent="vision"),
)
