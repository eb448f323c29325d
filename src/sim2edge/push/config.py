"""The config of the push stage; `sim2edge ota` reads the lifetimes of the metadata from it, too."""

from pydantic import Field
from pydantic.config import JsonDict

from sim2edge.config import StageConfig
from sim2edge.enrol.names import RING

NOT_IN_CACHE_KEY: JsonDict = {"affects_cache_key": False}
"""A lifetime does not change the rollout, only when it has to be re-signed."""


class PushConfig(StageConfig):
    """The ring that gets the release, and the lifetimes of signed metadata."""

    ring: str = Field("canary", pattern=f"^{RING}$", description="slice of the fleet that gets the release")
    window_s: int = Field(
        600,
        ge=0,
        le=604_800,
        description="seconds over which the devices of the ring take the release; 0: all at once",
    )
    root_days: float = Field(
        365,
        gt=0,
        le=3650,
        description="days until a root has to be re-signed, offline",
        json_schema_extra=NOT_IN_CACHE_KEY,
    )
    root_margin_days: float = Field(
        7,
        ge=0,
        le=365,
        description="days that the root has to last for a release to be pushed under it",
        json_schema_extra=NOT_IN_CACHE_KEY,
    )
    targets_days: float = Field(
        90,
        gt=0,
        le=3650,
        description="days until the targets have to be re-signed",
        json_schema_extra=NOT_IN_CACHE_KEY,
    )
    snapshot_days: float = Field(
        7, gt=0, le=365, description="days until a snapshot has to be re-signed", json_schema_extra=NOT_IN_CACHE_KEY
    )
    timestamp_days: float = Field(
        1,
        gt=0,
        le=365,
        description="days until a device considers the repository outdated",
        json_schema_extra=NOT_IN_CACHE_KEY,
    )
