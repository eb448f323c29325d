"""The capture stage's function: episodes in parallel over processes, then their table and summary.

Which process captures an episode changes no byte of it: everything is drawn from the episode's own seed.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim2edge.capture.camera_capture import choose_backend
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.workers import Captured, capture_one, worker_pool
from sim2edge.recipes.perception import CLASSES, FLOORS
from sim2edge.stage import Job, Outcome

if TYPE_CHECKING:
    from sim2edge.capture.recorder import EpisodeResult


def run(job: Job[CaptureConfig]) -> Outcome:
    """Capture the batch named by the job's partition, or the job's share of it.

    Raises:
        BadInput: the config asks for rooms that cannot be built, or for EGL where there is none.
        RuntimeError: a worker process died.
    """
    backend, renderer = choose_backend(job.config.camera)
    job.progress.log("camera", backend=backend, renderer=renderer)
    captured = capture_all(job, backend)
    results = [one.result for one in captured]
    boxes = sum((one.boxes for one in captured), Counter[str]())
    rejected = sum((one.rejected for one in captured), Counter[str]())
    write_table(job.output / "aggregated_results.csv", results)
    return Outcome(summarise(results, boxes, rejected) | {"camera_backend": backend, "camera_renderer": renderer})


def capture_all(job: Job[CaptureConfig], backend: str) -> list[Captured]:
    """Capture every episode of this run's share; the result is in the order of the episodes."""
    config, share, captured = job.config, job.share(job.config.episodes), dict[int, Captured]()
    failures: Counter[str] = Counter()
    with worker_pool(config, job.partition, job.output, backend) as submit:
        futures = {submit(capture_one, index): index for index in share}
        for future in as_completed(futures):
            one = captured[futures[future]] = future.result()
            failures[one.result.failure_reason or "success"] += 1
            frames = sum(done.result.frames for done in captured.values())
            job.progress.update(len(captured), len(share), frames=frames, success=failures["success"])
    return [captured[index] for index in sorted(captured)]


def write_table(path: Path, results: Sequence["EpisodeResult"]) -> None:
    """Write `aggregated_results.csv`: one row an episode, the fields of `result.json`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(type(results[0]).model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(result.model_dump() for result in results)


def summarise(results: Sequence["EpisodeResult"], boxes: Counter[str], rejected: Counter[str]) -> dict[str, Any]:
    """What the episodes hold: counts and rates for the manifest."""
    return {
        "episodes": len(results),
        "successes": sum(result.success for result in results),
        "success_rate": round(sum(result.success for result in results) / len(results), 4),
        "failures": dict(sorted(Counter(r.failure_reason for r in results if not r.success).items())),
        "frames": sum(result.frames for result in results),
        "boxes": {name: boxes[name] for name in CLASSES},
        "floors": {name: sum(result.floor == name for result in results) for name in FLOORS},
        "path_length_m": round(sum(result.path_length_m for result in results), 2),
        "goals_reached": sum(result.goals_reached for result in results),
        "rooms_rejected": dict(sorted(rejected.items())),
        "seeds": {result.episode_id: result.seed for result in results},
    }
