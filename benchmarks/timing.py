"""Times things by turns, so that whatever else the machine does hits all of them alike."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


def take_turns(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Call each contestant once a round, after one round that is not counted.

    Returns:
        the median seconds of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, call in contestants.items():
            taken = time_once(call)
            if number:
                seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_once(call: Callable[[], object]) -> float:
    """Return seconds that one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and threads it starts, on a single core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
