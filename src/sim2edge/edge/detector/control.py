"""Connect the agent and a detector process by an inherited socket: what is said on it is about that process only.

    line, file = open_line()            # the agent; `file` is the child's end: pass_fds=(file.fileno(), ...)
    number = line.ask("go")
    line.answers()                      # never blocks: (number, report) of each answer since

    serve_line(descriptor, {"health": service.report, "go": service.go, "park": service.park})     # the detector
    say_last_words(descriptor, "the model cannot be loaded: ...")

Each message is one JSON object. An answer carries the number of its question, so that a late one is known as such: an
answer of before `go` says nothing about what the detector does on duty. The phase of the detector, one byte, is in
memory that both share: it can be read when the detector has crashed.
"""

import json
import mmap
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sim2edge.edge.judgement.verdict import Phase

MAX_MESSAGE = 64 * 1024
MAX_LAST_WORDS = 400
Report = Mapping[str, Any]


class Line:
    """The agent's end. Safe to use from one thread."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._asked = 0
        self._answered = 0
        self.last_words = ""
        """Why the detector ends, as it says itself."""

    @property
    def waits(self) -> bool:
        """Whether the last question is not answered yet."""
        return self._answered < self._asked

    def ask(self, word: str, **more: object) -> int:
        """Ask for a report, after the detector did what `word` says; return the question's number.

        A detector that is gone, or takes nothing any more, is no error: its answer does not come.
        """
        self._asked += 1
        with suppress(OSError):
            self._end.send(json.dumps({"number": self._asked, "word": word, **more}).encode())
        return self._asked

    def answers(self) -> list[tuple[int, Report]]:
        """Return the answers that have come, oldest first, each with its question's number; drop what is none."""
        found: list[tuple[int, Report]] = []
        while True:
            try:
                message = self._end.recv(MAX_MESSAGE)
            except OSError:
                return found
            if not message:
                return found
            self._take(message, found)

    def _take(self, message: bytes, found: list[tuple[int, Report]]) -> None:
        try:
            content = json.loads(message)
            if "last_words" in content:
                self.last_words = str(content["last_words"])
                return
            number, report = int(content["number"]), dict(content["report"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if self._answered < number <= self._asked:
            self._answered = number
            found.append((number, report))

    def close(self) -> None:
        """Close this end: the detector ends."""
        self._end.close()


def open_line() -> tuple[Line, socket.socket]:
    """Return the agent's end and the child's, which the child inherits and the agent closes after starting it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Line(ours), theirs


def serve_line(descriptor: int, actions: Mapping[str, Callable[[Mapping[str, Any]], Report]]) -> None:
    """Answer the agent's questions until it is gone; for a thread of the detector.

    Args:
        descriptor: the inherited socket.
        actions: what to do for each word; each takes the question.
    """
    with socket.socket(fileno=os.dup(descriptor)) as end:
        while message := _receive(end):
            question = json.loads(message)
            try:
                report = actions[question["word"]](question)
            except Exception as error:  # whatever it is: an answer must come, or the detector counts as hanging
                report = {"error": repr(error)}
            try:
                end.send(json.dumps({"number": question["number"], "report": dict(report)}).encode())
            except OSError:
                return


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(MAX_MESSAGE)
    except OSError:
        return b""


def say_last_words(descriptor: int, words: str) -> None:
    """Tell the agent why this detector ends."""
    with socket.socket(fileno=os.dup(descriptor)) as end:
        end.setblocking(False)
        try:
            end.send(json.dumps({"last_words": words[:MAX_LAST_WORDS]}).encode())
        except OSError:
            return


class SharedPhase:
    """The byte that says what a detector is doing; a crash does not lose it."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, 1)

    def set(self, phase: Phase) -> None:
        """Note the phase; costs no system call."""
        self._memory[0:1] = phase.value

    def get(self) -> Phase:
        """Return the phase noted last."""
        try:
            return Phase(self._memory[0:1])
        except ValueError:
            return Phase.START

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()


def make_phase() -> tuple[SharedPhase, int]:
    """Return a new phase and the descriptor that the child inherits.

    Raises:
        OSError: no memory or file can be had now.
    """
    descriptor = os.memfd_create("phase")
    try:
        os.ftruncate(descriptor, 1)
        phase = SharedPhase(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    phase.set(Phase.START)
    return phase, descriptor
