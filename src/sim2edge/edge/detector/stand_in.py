"""Answer 503 on the detector's port while no detector is on duty, so that a health check is red in a crash loop.

    stand_in = StandIn(listening, nobody_for_s)
    stand_in.stop()

The agent holds the listening socket for its whole life, so connections wait in it during a hand-over and are answered
by the next detector. Only when there is none for a while does the agent answer itself, and everything alike.
"""

import json
import select
import socket
import threading
from collections.abc import Callable

from sim2edge.edge.events import Repeated

PATIENCE_S = 2.0
"""How long requests may wait for the next detector."""
POLL_S = 0.25
BODY = json.dumps({"healthy": False, "state": "down", "error": "no detector is running"}).encode() + b"\n"
HEAD = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
ANSWER = HEAD.encode() + b"Connection: close\r\n\r\n" + BODY


class StandIn:
    """A thread that answers when nobody else does."""

    def __init__(self, listening: socket.socket, nobody_for_s: Callable[[], float]) -> None:
        self._listening = listening.dup()
        self._listening.setblocking(False)  # a detector may take the connection between select and accept
        self._nobody_for_s = nobody_for_s
        self._stop = threading.Event()
        self._repeated = Repeated()
        threading.Thread(target=self._run, daemon=True, name="stand-in").start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _run(self) -> None:
        with self._listening:
            while not self._stop.wait(POLL_S):
                try:
                    while self._nobody_for_s() > PATIENCE_S and select.select([self._listening], [], [], 0)[0]:
                        self._answer()
                except (OSError, ValueError) as error:
                    self._repeated.log("cannot answer", error=str(error))

    def _answer(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            connection.settimeout(1.0)
            connection.recv(4096)
            connection.sendall(ANSWER)
            connection.shutdown(socket.SHUT_WR)
