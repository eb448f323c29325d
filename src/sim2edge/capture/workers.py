"""Run the worker processes that capture episodes; none outlives the stage, however the stage ends.

A worker that dies breaks the pool, and the stage fails with it; when the stage dies its workers end too, because each
waits for the end of its parent in a thread.
"""

import filecmp
import multiprocessing
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sim2edge.capture.camera_capture import prepare_environment
from sim2edge.capture.config import CaptureConfig
from sim2edge.cores import available_cores

if TYPE_CHECKING:
    from sim2edge.capture.episode import Drive
    from sim2edge.capture.specs import EpisodeSpec
    from sim2edge.episodes.result import EpisodeResult


@dataclass(frozen=True)
class Captured:
    """A worker's report on an episode; the episode itself is in its folder."""

    result: "EpisodeResult"
    drive: "Drive"
    """Statistics of the drive."""
    rejected: Counter[str]
    """Rooms drawn and rejected before this one, by reason."""


@dataclass(frozen=True)
class _Duty:
    """The data shared by all episodes of this worker."""

    config: CaptureConfig
    batch: str
    output: Path
    scratch: Path
    capture: "Capture"


Capture = Callable[["EpisodeSpec", Path], tuple["EpisodeResult", "Drive"]]
"""Drives an episode and writes its folder."""

_duty: _Duty

T = TypeVar("T")


class Submit(Protocol):
    """Submits work to a worker process."""

    def __call__(self, work: Callable[[int], T], index: int, /) -> "Future[T]":
        """Submit `work(index)`."""


@contextmanager
def worker_pool(config: CaptureConfig, batch: str, output: Path, scratch: Path) -> Iterator[Submit]:
    """Provide processes that capture episodes of one batch into `output`; submit `capture_one` or `verify_one`.

    Raises:
        RuntimeError: a worker process died.
    """
    pool = ProcessPoolExecutor(
        min(config.workers or available_cores(), config.episodes),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
        initargs=(config, batch, output, scratch),
    )
    try:
        yield pool.submit
    except BrokenProcessPool as error:
        raise RuntimeError("a capture worker process died: killed, or out of memory") from error
    finally:
        # After a failure the rest of the queue must not run.
        pool.shutdown(cancel_futures=True)


def start_worker(config: CaptureConfig, batch: str, output: Path, scratch: Path) -> None:
    """Prepare this process: one thread, the right GL, and a simulator."""
    global _duty
    threading.Thread(target=_follow_parent, daemon=True).start()
    prepare_environment(config.camera.backend)
    import cv2

    cv2.setNumThreads(1)
    capture = _in_webots(config, scratch) if config.simulator == "webots" else _in_mujoco(config)
    _duty = _Duty(config, batch, output, scratch, capture)


def _in_mujoco(config: CaptureConfig) -> Capture:
    from sim2edge.capture.episode import capture_episode
    from sim2edge.capture.mujoco_simulator import MujocoSimulator

    simulator = MujocoSimulator(config, config.camera.backend)

    def capture(spec: "EpisodeSpec", folder: Path) -> tuple["EpisodeResult", "Drive"]:
        done = capture_episode(spec, simulator, config, folder)
        simulator.close()
        return done

    return capture


def _in_webots(config: CaptureConfig, scratch: Path) -> Capture:
    from sim2edge.capture.webots.installed import find_webots
    from sim2edge.capture.webots.launch import capture_in_webots

    webots = find_webots()
    return lambda spec, folder: capture_in_webots(spec, config, folder, webots, scratch)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def capture_one(index: int) -> Captured:
    """Capture episode `index` of the worker's batch."""
    return _capture(index, _duty.output)


def verify_one(index: int) -> str:
    """Capture episode `index` again and return the path of the first file that differs, "" if none does."""
    with tempfile.TemporaryDirectory(dir=_duty.scratch) as again:
        identity = _capture(index, Path(again)).result.episode_id
        one, other = _duty.output / identity, Path(again) / identity
        paths = sorted({path.relative_to(folder) for folder in (one, other) for path in folder.rglob("*.*")})
        return next((f"{identity}/{path}" for path in paths if not _same(one / path, other / path)), "")


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def _capture(index: int, output: Path) -> Captured:
    from sim2edge.capture.room_simulator import draw_episode

    spec, rejected = draw_episode(_duty.config, _duty.batch, index)
    result, drive = _duty.capture(spec, output / spec.episode_id)
    return Captured(result, drive, rejected)
