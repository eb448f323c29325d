"""Define `outcome.json`, the controller's result of an episode."""

from pydantic import BaseModel, ConfigDict

from sim2edge.capture.episode import Drive
from sim2edge.episodes.result import EpisodeResult


class Outcome(BaseModel):
    """The return value of `capture_episode` inside Webots."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")

    result: EpisodeResult
    drive: Drive
