"""Connect the agent and a detector process by an inherited socket: what is said on it is about that process only.

    line, file = open_line()            # the agent; `file` is the child's end: pass_fds=(file.fileno(), ...)
    line.ask("go")
    line.answers()                      # never blocks: the reports that came since

    serve_line(descriptor, {"health": service.report, "go": service.go, "park": service.park})     # the detector

Each message is one JSON object. An answer carries the number of its question, so that a late one is known as such. The
phase of the detector, one byte, is in memory that both share: it can be read when the detector has crashed.
"""

import json
import mmap
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from sim2edge.edge.verdict import Phase

MAX_MESSAGE = 64 * 1024
Report = Mapping[str, Any]


class Line:
    """The agent's end. Safe to use from one thread."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._asked = 0
        self._answered = 0

    @property
    def waits(self) -> bool:
        """Whether the last question is not answered yet."""
        return self._answered < self._asked

    def ask(self, word: str) -> None:
        """Ask for a report, after the detector did what `word` says; a detector that is gone is not an error."""
        self._asked += 1
        try:
            self._end.send(json.dumps({"number": self._asked, "word": word}).encode())
        except (BlockingIOError, ConnectionError, OSError):
            return

    def answers(self) -> list[Report]:
        """Return the reports that have come, oldest first; what is not one is dropped."""
        found: list[Report] = []
        while True:
            try:
                message = self._end.recv(MAX_MESSAGE)
            except (BlockingIOError, ConnectionError, OSError):
                return found
            if not message:
                return found
            try:
                answer = json.loads(message)
                self._answered = max(self._answered, int(answer["number"]))
                found.append(dict(answer["report"]))
            except (ValueError, KeyError, TypeError):
                continue

    def close(self) -> None:
        """Close this end: the detector ends."""
        self._end.close()


def open_line() -> tuple[Line, socket.socket]:
    """Return the agent's end and the child's, which the child inherits and the agent closes after starting it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Line(ours), theirs


def serve_line(descriptor: int, actions: Mapping[str, Callable[[], Report]]) -> None:
    """Answer the agent's questions until it is gone; for a thread of the detector."""
    with socket.socket(fileno=descriptor) as end:
        while True:
            try:
                message = end.recv(MAX_MESSAGE)
            except ConnectionError:
                return
            if not message:
                return
            question = json.loads(message)
            action = actions.get(question["word"], actions["health"])
            report = json.dumps({"number": question["number"], "report": dict(action())})
            try:
                end.send(report.encode())
            except ConnectionError:
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


def make_phase() -> tuple[SharedPhase, int]:
    """Return a new phase and the descriptor that the child inherits."""
    descriptor = os.memfd_create("phase", 0)
    os.ftruncate(descriptor, 1)
    phase = SharedPhase(descriptor)
    phase.set(Phase.START)
    return phase, descriptor
