"""Ingest: capture by other means. Turns MCAP logs of other producers (a robot, a Webots farm) into a batch of episodes.

    sim2edge ingest logs/ --partition lab-1                                    deliver a folder, then make the batch
    sim2edge ingest logs/ --partition lab-1 topics.image=/front/image floor=wood skip_bad=true
    sim2edge ingest --partition lab-1                                          what a producer left in inbox/lab-1/

ROS 2 bags in MCAP, Foxglove logs and our own are understood; `docs/ingest.md` says which topics and schemas.
"""

from sim2edge.capture.ingest.config import IngestConfig
from sim2edge.stage import Stage

STAGE = Stage(
    name="ingest",
    version=1,
    produces="episodes",
    config=IngestConfig,
    entry="sim2edge.capture.ingest.run:run",
    ref="refs/batches/{partition}",
    post_commit="sim2edge.capture.ingest.run:log_report",
    deliver="sim2edge.capture.ingest.deliver:deliver_folder",
)
