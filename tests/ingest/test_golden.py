"""A change of what ingest makes has to raise the stage's version, or old and new episodes would share an id."""

import hashlib
import json

from ingest.foreign_logs import robot_drive, write_bag

from sim2edge.ingest import STAGE
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.understand import understand


def test_golden_ticks(tmp_path):
    """Raise the stage's version, and then this, when what is made of a log changes on purpose."""
    episode = understand(write_bag(tmp_path / "a.mcap", robot_drive(6)), IngestConfig())
    chosen, streams = episode.ticks.chosen, episode.log.streams
    made = [
        [
            index,
            int(chosen["image"][tick]),
            *[round(value, 6) for value in streams["pose"].values[chosen["pose"][tick]]],
            *[round(value, 6) for value in streams["command"].values[chosen["command"][tick]]],
            *[str(round(value, 4)) for value in streams["scan"].values[chosen["scan"][tick]]],
        ]
        for tick, index in enumerate(episode.ticks.index.tolist())
    ]
    digest = hashlib.sha256(json.dumps(made).encode()).hexdigest()
    assert (STAGE.version, digest[:16]) == (2, "91f26e0dd7537b59")
