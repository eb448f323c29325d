"""Merge the shards of a batch: the table and the summary of all episodes; the episodes stay in the shards.

    sim2edge capture --partition demo-1 --shard 1/2
    sim2edge capture --partition demo-1 --shard 2/2     # anywhere, at any time
    sim2edge capture --partition demo-1 --gather 2

The table and the counts equal those of a batch captured without shards.
"""

from collections import Counter
from collections.abc import Sequence

from sim2edge.capture.camera_capture import describe_camera
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.contact_sheet import gather_contact_sheet
from sim2edge.episodes.table import read_table, summarise, write_table
from sim2edge.stage import Artifact, Job, Outcome


def run(job: Job[CaptureConfig]) -> Outcome:
    """Gather the shards of one batch."""
    rows = [row for part in job.parts for row in read_table(part.path("aggregated_results.csv"))]
    results = sorted(rows, key=lambda result: result.episode_id)
    write_table(job.output / "aggregated_results.csv", results)
    tiles = [tile for part in job.parts for tile in part.folder.glob("contact_sheet.*.jpg")]
    gather_contact_sheet(job.output, tiles, results)
    tallies = {name: count(job.parts, name) for name in ("boxes", "rooms_rejected", "checks")}
    job.progress.update(len(results), job.config.episodes, shards=len(job.parts))
    return Outcome(summarise(results, tallies) | describe_camera(job.config))


def count(shards: Sequence[Artifact], name: str) -> Counter[str]:
    """Return the sum over the shards of the counts `name` in their summaries."""
    return sum((Counter(part.manifest.summary[name]) for part in shards), Counter[str]())
