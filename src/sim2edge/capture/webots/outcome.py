"""What the controller brings back of an episode: `outcome.json`."""

from pydantic import BaseModel, ConfigDict

from sim2edge.capture.episode import Drive
from sim2edge.episodes.result import EpisodeResult


class Outcome(BaseModel):
    """What `capture_episode` returned inside Webots."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    result: EpisodeResult
    drive: Drive
