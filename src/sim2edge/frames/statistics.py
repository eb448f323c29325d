"""Accumulate the content of `stats.json` while a batch's frames are processed."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sim2edge.frames.episode import Episode, Quarantined, Scan
from sim2edge.frames.tables import lidar_matrix
from sim2edge.recipes.perception import CLASSES, FLOORS

BIN_M = 0.25
BINS = 32
"""Distances of boxes are counted in bins of 0.25 m up to 8 m; the last bin includes larger ones."""


ROLE_COLUMNS = {"scan": "lidar", "pose": "x_m", "command": "linear_m_s"}
"""By role, a column that is null in frames without it."""


class Statistics:
    """Running sums over episodes and cleaned frames."""

    def __init__(self, failed: Sequence[Quarantined], refused: Sequence[Quarantined]) -> None:
        self.failed = failed
        self.refused = refused
        self.frames = 0
        self.frames_seen = 0
        self.boxes = 0
        self.episodes: set[str] = set()
        self.quarantined: list[Quarantined] = [*failed, *refused]
        self._classes: Counter[str] = Counter()
        self._floors: Counter[str] = Counter()
        self._distances = np.zeros(BINS, np.int64)
        self._image_mean = np.zeros(3)
        self._image_square = np.zeros(3)
        self._ranges = 0
        self._range_sum = 0.0
        self._range_low, self._range_high = np.inf, -np.inf
        self._with: Counter[str] = Counter()

    def add_episode(self, episode: Episode) -> None:
        """Count an episode after its processing, before the value checks."""
        self.frames_seen += episode.seen
        self.quarantined += episode.quarantined

    def add_frames(self, table: pa.Table) -> None:
        """Count cleaned frames: a table with the columns of `measured_schema`."""
        self.frames += len(table)
        self.episodes.update(table["episode_id"].unique().to_pylist())
        self._floors.update(table["floor"].to_pylist())
        self._image_mean += _sums(table["image_mean"])
        self._image_square += _sums(table["image_square"])
        self._with.update({role: len(table) - table[column].null_count for role, column in ROLE_COLUMNS.items()})
        self._add_boxes(table)
        self._add_ranges(lidar_matrix(table))

    def _add_boxes(self, table: pa.Table) -> None:
        boxes = table["boxes"].combine_chunks().flatten()
        self.boxes += len(boxes)
        self._classes.update(boxes.field("class").to_pylist())
        distances = boxes.field("distance_m").drop_null().to_numpy()
        bins = np.minimum(distances / BIN_M, BINS - 1).astype(np.int64)
        self._distances += np.bincount(bins, minlength=BINS)

    def _add_ranges(self, lidar: np.ndarray) -> None:
        returns = lidar[np.isfinite(lidar)].astype(np.float64)
        self._ranges += returns.size
        self._range_sum += float(returns.sum())
        if returns.size:
            self._range_low = min(self._range_low, float(returns.min()))
            self._range_high = max(self._range_high, float(returns.max()))

    def quarantine_counts(self) -> dict[str, int]:
        """Return the quarantine reasons with their counts, most frequent first."""
        counts = Counter(item.code for item in self.quarantined)
        return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))

    def to_json(self, height: int, width: int, scan: Scan | None) -> dict[str, Any]:
        """Return the content of `stats.json`; its `lidar` is null if no frame has a scan."""
        mean = self._image_mean / self.frames
        deviation = np.sqrt(np.maximum(self._image_square / self.frames - mean**2, 0))
        return {
            "frames": self.frames,
            "frames_seen": self.frames_seen,
            "episodes": len(self.episodes),
            "episodes_failed": len(self.failed),
            "boxes": self.boxes,
            "height": height,
            "width": width,
            "image_mean": mean.round(8).tolist(),
            "image_std": deviation.round(8).tolist(),
            "roles": {role: round(self._with[role] / self.frames, 6) for role in ROLE_COLUMNS},
            "lidar": self._lidar(scan) if scan and self._with["scan"] else None,
            "class_counts": {name: self._classes[name] for name in CLASSES},
            "floor_counts": {name: self._floors[name] for name in FLOORS},
            "distance_histogram": {"bin_m": BIN_M, "counts": self._distances.tolist()},
            "quarantine_counts": self.quarantine_counts(),
        }

    def _lidar(self, scan: Scan) -> dict[str, Any]:
        return {
            "beams": scan.beams,
            "start_rad": scan.start_rad,
            "step_rad": scan.step_rad,
            "returned_fraction": self._ranges / (self._with["scan"] * scan.beams),
            "min_m": self._range_low if self._ranges else None,
            "mean_m": round(self._range_sum / self._ranges, 6) if self._ranges else None,
            "max_m": self._range_high if self._ranges else None,
        }


def _sums(column: pa.ChunkedArray) -> np.ndarray:
    triples = column.combine_chunks().flatten().to_numpy().reshape(-1, 3)
    return np.asarray(triples.sum(axis=0))
