"""Choose the episodes of a batch to read: those that succeeded and have a valid `result.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from sim2edge.clean.config import CleanConfig
from sim2edge.clean.data_processor import Message, scan_geometry
from sim2edge.clean.episode_log import CONTROL, POSE, SCAN, Unreadable, first_scan
from sim2edge.errors import BadInput
from sim2edge.frames.episode import Quarantined, Scan, count_reasons

OPTIONAL = {"scan": SCAN, "pose": POSE, "command": CONTROL}
"""The topic of each role that an episode may declare absent."""


class Result(Message):
    """The fields read from an episode's `result.json`."""

    episode_id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    success: bool
    failure_reason: str = ""
    absent: list[str] = Field(default_factory=list)
    """Roles that the drive was recorded without, which only ingest declares, as the two below."""
    drive: str | None = Field(default=None, max_length=400)
    """The drive that the episode is a piece of."""
    recorded_from_s: float | None = None
    """When the first tick was recorded, seconds since 1970."""


@dataclass(frozen=True)
class Choice:
    """The episodes of a batch, sorted by id."""

    wanted: Mapping[str, frozenset[str]]
    """With the topics that each declares absent."""
    failed: Sequence[Quarantined]
    """Left out because they did not succeed; their data may be valid."""
    refused: Sequence[Quarantined]
    """Left out because a file is missing or `result.json` is invalid."""


def choose_episodes(folder: Path, config: CleanConfig, batch: str) -> Choice:
    """Choose the episodes by their `result.json`.

    Raises:
        BadInput: the batch has no episodes, or all of them failed.
    """
    wanted: dict[str, frozenset[str]] = {}
    failed: list[Quarantined] = []
    refused: list[Quarantined] = []
    for each in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            result = read_result(each)
        except ValueError as error:
            refused.append(Quarantined(each.name, None, f"bad_episode: {error}"))
            continue
        if result.success or not config.only_successful:
            wanted[each.name] = frozenset(OPTIONAL[role] for role in result.absent if role in OPTIONAL)
        else:
            failed.append(Quarantined(each.name, None, f"failed: {result.failure_reason or 'no reason given'}"))
    if not wanted and not failed and not refused:
        raise BadInput(f"{batch}: the batch has no episodes")
    if failed and not wanted and not refused:
        raise BadInput(
            f"{batch}: all {len(failed)} episodes failed ({count_reasons(failed)}); only_successful=false keeps them"
        )
    return Choice(wanted, failed, refused)


def read_result(folder: Path) -> Result:
    """Read `result.json` of one episode.

    Raises:
        ValueError: it is missing, has a wrong field, or belongs to another episode; or the log is missing.
    """
    try:
        result = Result.model_validate_json((folder / "result.json").read_bytes())
    except FileNotFoundError as error:
        raise ValueError("result.json is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "content"
        raise ValueError(f"result.json: {where}: {first['msg']}") from error
    if not (folder / "simulation.mcap").is_file():
        raise ValueError("simulation.mcap is missing")
    if result.episode_id != folder.name:
        raise ValueError(f"result.json: episode_id is {result.episode_id}")
    return result


def find_scan(folder: Path, wanted: Mapping[str, frozenset[str]], config: CleanConfig, batch: str) -> Scan | None:
    """Return the batch's scan geometry: that of the first readable scan (with the configured number of beams).

    None if an episode declares that it has no scan, and no other has one.

    Raises:
        BadInput: no episode can be read, or none has the configured beams.
    """
    problems: list[str] = []
    for episode_id in (episode_id for episode_id, absent in wanted.items() if SCAN not in absent):
        try:
            scan = scan_geometry(first_scan(folder / episode_id / "simulation.mcap"))
        except Unreadable as error:
            problems.append(f"{episode_id}/simulation.mcap: {error}")
            continue
        if config.lidar_beams in (None, scan.beams) and scan.beams:
            return scan
        problems.append(
            f"{episode_id}/simulation.mcap: {scan.beams} LiDAR beams, expected {config.lidar_beams or '> 0'}"
        )
    if any(SCAN in absent for absent in wanted.values()):
        return None
    first = f": {problems[0]}" if problems else ""
    raise BadInput(f"{batch}: none of its {len(wanted)} episodes can be used{first}")
