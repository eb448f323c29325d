"""Measure the peak memory of a process tree, in a thread."""

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import psutil

SECONDS_BETWEEN_LOOKS = 1.0


def tree_memory(roots: Iterable[int]) -> int:
    """Return the proportional memory (PSS), in bytes, of the processes and all their descendants; 0 for ended ones."""
    total, seen = 0, set()
    for root in roots:
        try:
            process = psutil.Process(root)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for member in family:
            if member.pid not in seen:
                seen.add(member.pid)
                total += _proportional(member)
    return total


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


class MemoryWatch:
    """Records the peak of `tree_memory` while it is open."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = list(roots)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_LOOKS):
            self.peak_bytes = max(self.peak_bytes, tree_memory(self._roots))
