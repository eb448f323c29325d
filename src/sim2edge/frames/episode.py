"""Define what a worker makes of one episode: its frames, and what it quarantined, with the reasons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa


class Defect(Exception):
    """A frame cannot be built: `<reason>: <detail>`."""


@dataclass(frozen=True)
class Scan:
    """The geometry of a scan: beam i points at `start_rad + i * step_rad`, counter-clockwise from ahead."""

    beams: int
    start_rad: float
    step_rad: float


@dataclass(frozen=True)
class Quarantined:
    """A frame in quarantine, or the whole episode when `frame` is None."""

    episode_id: str
    frame: int | None
    reason: str

    @property
    def code(self) -> str:
        """The reason without its detail."""
        return self.reason.partition(":")[0]


@dataclass(frozen=True)
class Episode:
    """An episode's frames (columns of `measured_schema`; None without frames) and its quarantine."""

    episode_id: str
    seen: int
    frames: pa.Table | None
    quarantined: list[Quarantined] = field(default_factory=list)


def refuse_episode(episode_id: str, reason: str) -> Episode:
    """Return an episode that is quarantined as a whole."""
    return Episode(episode_id, 0, None, [Quarantined(episode_id, None, reason)])


def count_reasons(items: Sequence[Quarantined]) -> str:
    """Return the reasons with their counts, most frequent first: `lidar_nan 12, box_outside 3`.

    For a failed episode, the reason is that of its failure.
    """
    reasons = (item.reason.removeprefix("failed: ").partition(":")[0] for item in items)
    counts = Counter(reasons)
    return ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
