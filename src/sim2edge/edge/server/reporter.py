"""Send the device's status to the fleet when it changed, or was not sent for long; also beside a long download.

reporter = Reporter(bus, home, "pi-7", agent.status)
reporter.send()                     # in the loop that talks to the server
reporter.send_beside(busy_since)    # in the other one: while that loop is held up
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.edge.events import Repeated
from sim2edge.edge.server.identity import Signer
from sim2edge.edge.server.status import Status, is_news
from sim2edge.edge.supervision.aside import Aside
from sim2edge.errors import BadInput, Conflict, Unavailable

REPORT_S = 600.0
"""Longest time between two statuses: an unchanged one is sent that rarely."""
BESIDE_S = 30.0
"""A round of talking that takes longer is no reason to say nothing."""


class Reporter:
    """Sends the statuses of one device; safe to share between threads."""

    def __init__(self, bus: Bus, home: Path, device: str, status: Callable[[], Status]) -> None:
        self._bus, self._device, self._status = bus, device, status
        self._signer = Signer(home, device)
        self._repeated = Repeated()
        self._lock = threading.Lock()
        self._sent: tuple[Status | None, float] = (None, float("-inf"))
        self._looked = float("-inf")
        self._beside: Aside[None] | None = None

    @property
    def fault(self) -> str:
        """Why no status is believed, though the device is enrolled; empty: nothing."""
        return self._signer.fault

    def send(self) -> None:
        """Send the status if it is news; what the server does not take is sent another time."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            status, now = self._status(), time.monotonic()
            if is_news(self._sent[0], status) or now - self._sent[1] >= REPORT_S:
                self._bus.put(f"fleet/{self._device}/status.json", self._signer.envelope(status))
                self._sent = (status, now)
        except (Unavailable, BadInput, Conflict) as error:
            self._repeated.log("status not sent", message=str(error))
        finally:
            self._lock.release()

    def send_beside(self, busy_since: float | None) -> None:
        """Have it sent in a thread of its own, now and then, if the other loop is busy for long.

        Args:
            busy_since: when its round began, monotonic seconds; None: it waits.
        """
        now = time.monotonic()
        if busy_since is None or now - max(busy_since, self._looked) < BESIDE_S:
            return
        self._looked = now
        if self._beside is None or self._beside.ready():
            self._beside = Aside(self.send)
