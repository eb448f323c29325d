"""Follow the log of a container, complete from its first line even if the connection breaks.

The engine sends messages, each with its stream and time; a long line comes in several. `LogPosition` keeps what was
read, so that a broken stream is resumed where it stopped.
"""

import math
import queue
import struct
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from sim2edge_airflow.runtimes.docker_engine import open_log
from sim2edge_airflow.runtimes.process_runtime import LineReader

HEADER = struct.Struct(">BxxxL")
OVERLAP_S = 5
"""Seconds read again when a stream is resumed: the two streams of a container are not written in order of time."""
BROKEN = (OSError, RequestException, DockerException, HTTPError, struct.error)


class Message(NamedTuple):
    """One message of the engine: a line with its line break, or a part of a long line."""

    stream: int
    """1: standard output, 2: standard error."""
    time: str
    """The engine's time stamp: of fixed length, so it sorts as text."""
    content: bytes


class LogPosition:
    """The position up to which a log was read; each stream has its own reader, so that parts of lines do not mix."""

    def __init__(self) -> None:
        self._readers = {1: LineReader(), 2: LineReader()}
        self._last: dict[int, tuple[str, int]] = {}

    @property
    def since(self) -> str | None:
        """A time before every unread message, as the engine's `since`; None: from the beginning."""
        if not self._last:
            return None
        earliest = datetime.fromisoformat(min(time for time, _ in self._last.values()))
        return str(math.floor(earliest.timestamp()) - OVERLAP_S)  # rounded up, it would skip messages

    def read(self, messages: Iterator[Message]) -> Iterator[str]:
        """Yield the lines that new messages complete; skip messages that were read before."""
        known = dict(self._last)
        repeated: dict[int, int] = {}
        for stream, time, content in messages:
            last, count = known.get(stream, ("", 0))
            if time < last:
                continue
            if time == last and repeated.get(stream, 0) < count:
                repeated[stream] = repeated.get(stream, 0) + 1
                continue
            before, seen = self._last.get(stream, ("", 0))
            self._last[stream] = (time, seen + 1 if time == before else 1)
            yield from self._readers[stream].feed(content)

    def end(self) -> Iterator[str]:
        """Yield the last lines if they lack a newline."""
        for reader in self._readers.values():
            yield from reader.end()


def stream_messages(engine: docker.DockerClient, container: str, since: str | None, follow: bool) -> Iterator[Message]:
    """Yield the messages of a container since a time, until the container ends or the stream breaks."""
    parameters: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow)}
    if since:
        parameters["since"] = since
    try:
        log = open_log(engine, container, parameters)
        while header := log.read(HEADER.size):
            stream, length = HEADER.unpack(header)
            frame = log.read(length)
            if len(frame) < length:
                return
            time, _, content = frame.partition(b" ")
            yield Message(stream, time.decode(), content)
    except BROKEN:
        return


def in_background(messages: Iterator[Message]) -> "queue.SimpleQueue[Message | None]":
    """Read the messages in a thread and return their queue, closed by None, so that the caller can poll."""
    filled: queue.SimpleQueue[Message | None] = queue.SimpleQueue()

    def fill() -> None:
        try:
            for message in messages:
                filled.put(message)
        finally:
            filled.put(None)

    threading.Thread(target=fill, daemon=True, name="container-log").start()
    return filled
