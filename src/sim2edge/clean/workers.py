"""Distribute work over processes: results come in the order of the tasks, and no process outlives its parent.

for result in in_order(process_episode, tasks, workers=2):
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 3
"""Tasks a worker may be ahead of the reader: enough to keep it busy, few enough to fit in memory."""


def in_order(function: Callable[[T], R], tasks: Sequence[T], workers: int) -> Iterator[R]:
    """Yield `function(task)` for each task in order; in this process with one worker, otherwise in child processes."""
    if workers == 1 or len(tasks) < 2:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, initializer=follow_parent)
    pending: deque[Future[R]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(function, task))
            if len(pending) >= workers * AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def follow_parent() -> None:
    """Prepare a worker: ignore Ctrl-C, which the parent handles, and exit as soon as the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
