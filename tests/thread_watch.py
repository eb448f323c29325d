"""Fails a test at once when a thread of its process dies of an exception, so that nothing waits for what will not come.

`conftest.py` registers it; alone: `python -m pytest -p thread_watch`, with this folder on the path. A dying thread is
recorded and interrupts the main thread with a signal, whose handler raises inside the running test. A thread that dies
between two tests fails the next one, which says so.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

INTERRUPT = signal.SIGUSR1
_deaths: list[str] = []
_in_test = False
_heard = 0
"""How often the main thread was interrupted."""


def pytest_sessionstart() -> None:
    """Watch the threads of this process: later than `pytest_configure`, in which pytest sets a hook of its own."""
    before, owner = threading.excepthook, os.getpid()

    def record(died: threading.ExceptHookArgs) -> None:
        before(died)
        if os.getpid() == owner and died.exc_type is not SystemExit:
            _deaths.append(_describe(died))
            threading.Thread(target=_call, args=(_heard,), daemon=True).start()

    threading.excepthook = record
    signal.signal(INTERRUPT, _interrupt)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Watch while fixtures are made."""
    with _watching():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Watch while the test runs."""
    with _watching():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Watch while fixtures are undone."""
    with _watching():
        return (yield)


@contextmanager
def _watching() -> Iterator[None]:
    global _in_test
    _in_test = True
    try:
        _fail("before this test")
        yield
    finally:
        _in_test = False
        try:
            _fail("during this test")  # again: the test may have caught the interruption
        finally:
            _deaths.clear()


def _call(heard: int) -> None:
    """Signal the main thread until it has heard: a signal just before it begins to wait for a lock does not wake it."""
    while _heard == heard:
        signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
        time.sleep(0.5)


def _interrupt(_: int, __: FrameType | None) -> None:
    global _heard
    _heard += 1
    if _in_test:
        _fail("during this test")


def _fail(when: str) -> None:
    if _deaths:
        told = "\n".join(_deaths)
        pytest.fail(f"a thread died {when}: {told}", pytrace=False)


def _describe(died: threading.ExceptHookArgs) -> str:
    name = died.thread.name if died.thread else "unknown"
    return f"{name}\n" + "".join(traceback.format_exception(died.exc_type, died.exc_value, died.exc_traceback))
