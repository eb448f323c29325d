"""Define the result of an episode: `result.json`, and a row of the batch's table."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

BETWEEN = ";"
"""Separator of the items of a list in a table cell."""


def _from_cell(value: Any) -> Any:
    return value.split(BETWEEN) if isinstance(value, str) and value else value or ()


def _nothing_if_empty(value: Any) -> Any:
    return None if value == "" else value


Words = Annotated[tuple[str, ...], BeforeValidator(_from_cell)]
Measure = Annotated[float | None, BeforeValidator(_nothing_if_empty)]


class EpisodeResult(BaseModel):
    """`result.json`, the result of an episode; also a row of `aggregated_results.csv`, see `cells`."""

    model_config = ConfigDict(frozen=True)

    episode_id: str
    seed: str
    success: bool
    failure_reason: str
    duration_s: float
    frames: int
    path_length_m: Measure
    """None, as the clearance: the drive was recorded without what it is measured by."""
    checkpoints_passed: int
    checkpoints: int
    collisions: int
    collided_with: Words
    """Classes of obstacles, or `wall`; sorted."""
    time_to_collision_s: Measure
    distance_to_collision_m: Measure
    """Along the path."""
    near_misses: int
    min_clearance_m: Measure
    driver: str
    layout: str
    floor: str
    style: str
    simulator: str
    camera_backend: str
    trace_sha256: str
    """Over times, poses, odometry, commands, scans and the IMU: equal for equal drives, whichever renderer is used."""

    def cells(self) -> dict[str, Any]:
        """Return the fields as table cells: a list in one cell, an empty cell for None.

        `EpisodeResult.model_validate` reads them back.
        """
        return self.model_dump() | {"collided_with": BETWEEN.join(self.collided_with)}
