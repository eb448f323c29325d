"""The worker processes that capture episodes, and their end: none outlives the stage, whatever ends it.

A worker that dies breaks the pool, and the stage fails with it; a stage that dies takes its workers along, because each
waits for the end of its parent on a thread of its own.
"""

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sim2edge.capture.camera_capture import prepare_environment
from sim2edge.capture.config import CaptureConfig
from sim2edge.cores import available_cores

if TYPE_CHECKING:
    from sim2edge.capture.recorder import EpisodeResult
    from sim2edge.capture.simulator import Simulator


@dataclass(frozen=True)
class Captured:
    """What a worker reports of an episode; the episode itself lies in its folder."""

    result: "EpisodeResult"
    boxes: Counter[str]
    """Labelled boxes by class."""
    rejected: Counter[str]
    """Rooms drawn and rejected before this one, by reason."""


@dataclass(frozen=True)
class _Duty:
    """What every episode of this worker has in common."""

    config: CaptureConfig
    batch: str
    output: Path
    simulator: "Simulator"


_duty: _Duty

Submit = Callable[[Callable[[int], Captured], int], "Future[Captured]"]


@contextmanager
def worker_pool(config: CaptureConfig, batch: str, output: Path, backend: str) -> Iterator[Submit]:
    """Processes that capture episodes of one batch into `output`: submit `capture_one` with an index to them.

    Raises:
        RuntimeError: a worker process died.
    """
    pool = ProcessPoolExecutor(
        min(config.workers or available_cores(), config.episodes),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(config, batch, output, backend),
    )
    try:
        yield pool.submit
    except BrokenProcessPool as error:
        raise RuntimeError("a capture worker process died: killed, or out of memory") from error
    finally:
        # After a failure what is left in the queue must not run.
        pool.shutdown(cancel_futures=True)


def start_worker(config: CaptureConfig, batch: str, output: Path, backend: str) -> None:
    """Prepare this process: one thread, the right GL, and a simulator."""
    global _duty
    threading.Thread(target=_follow_parent, daemon=True).start()
    prepare_environment(backend)
    import cv2

    from sim2edge.capture.mujoco_simulator import MujocoSimulator

    cv2.setNumThreads(1)
    _duty = _Duty(config, batch, output, MujocoSimulator(config, backend))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def capture_one(index: int) -> Captured:
    """Capture episode `index` of the worker's batch."""
    from sim2edge.capture.episode import capture_episode
    from sim2edge.capture.room_simulator import draw_episode

    spec, rejected = draw_episode(_duty.config, _duty.batch, index)
    result, boxes = capture_episode(spec, _duty.simulator, _duty.config, _duty.output / spec.episode_id)
    _duty.simulator.close()
    return Captured(result, boxes, rejected)
