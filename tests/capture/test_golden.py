"""A change of what is captured has to raise the stage's version, or old and new episodes would share an id."""

import hashlib
import json

from sim2edge.capture import STAGE
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.room_simulator import draw_episode

OTHER_PROCESSOR = "if nothing was changed, this processor computes otherwise in spite of the pinned code paths"


def rounded(value):
    """Six digits of every number: the last bits are the processor's, not ours."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value


def test_golden_rooms():
    """Raise the stage's version, and then this, when what is drawn from a seed changes on purpose."""
    drawn = [draw_episode(CaptureConfig(), "golden", index)[0].model_dump(mode="json") for index in range(8)]
    digest = hashlib.sha256(json.dumps(rounded(drawn), sort_keys=True).encode()).hexdigest()
    assert (STAGE.version, digest[:16]) == (3, "2aed97efa0a17fed")


def test_golden_files(batch):
    """The same of every byte that is captured; also with a new release of a library."""
    _, manifest, _ = batch
    digest = hashlib.sha256("".join(file.path + file.sha256 for file in manifest.files).encode()).hexdigest()
    assert (STAGE.version, digest[:16]) == (3, "b65e194a16914c2f"), OTHER_PROCESSOR
