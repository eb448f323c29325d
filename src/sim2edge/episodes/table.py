"""Write `aggregated_results.csv`, one row per episode, and summarise a batch from it."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from sim2edge.episodes.moment import Layout
from sim2edge.episodes.result import EpisodeResult
from sim2edge.recipes.perception import CLASSES, FLOORS

Tallies = Mapping[str, Counter[str]]
"""Counts beside the results: `boxes` by class, `rooms_rejected` by reason, and `checks` (`frames`, of which `wrong`,
and `episodes` simulated twice)."""


def write_table(path: Path, results: Sequence[EpisodeResult]) -> None:
    """Write the fields of each `result.json` as a row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(EpisodeResult.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(result.cells() for result in results)


def read_table(path: Path) -> list[EpisodeResult]:
    """Return the rows of a table written by `write_table`."""
    with path.open(newline="", encoding="utf-8") as file:
        return [EpisodeResult.model_validate(row) for row in csv.DictReader(file)]


def summarise(results: Sequence[EpisodeResult], tallies: Tallies) -> dict[str, Any]:
    """Return counts and rates over the episodes, for the manifest."""
    return {
        "episodes": len(results),
        "successes": sum(result.success for result in results),
        "success_rate": round(sum(result.success for result in results) / len(results), 4),
        "failures": _sorted(Counter(r.failure_reason for r in results if not r.success)),
        "collided_with": _sorted(Counter(name for result in results for name in result.collided_with)),
        "near_misses": sum(result.near_misses for result in results),
        "frames": sum(result.frames for result in results),
        "boxes": {name: tallies["boxes"][name] for name in CLASSES},
        "floors": {name: sum(result.floor == name for result in results) for name in FLOORS},
        "layouts": {name: sum(result.layout == name for result in results) for name in get_args(Layout)},
        "drivers": _sorted(Counter(result.driver for result in results)),
        "path_length_m": round(sum(result.path_length_m or 0 for result in results), 2),
        "checkpoints_passed": sum(result.checkpoints_passed for result in results),
        "rooms_rejected": _sorted(tallies["rooms_rejected"]),
        "checks": {name: tallies["checks"][name] for name in ("frames", "wrong", "episodes")},
        "seeds": {result.episode_id: result.seed for result in results},
    }


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
