"""Tell systemd that the agent supervises, gets on, and how it fares (sd_notify(3)).

    systemd = Systemd()                             # does nothing where systemd does not listen
    systemd.beat(well=True, status="running")       # in each round of the main loop

READY=1 comes with the first round that went well, WATCHDOG=1 with those that go well afterwards: an agent that hangs,
or whose rounds fail, is ended and started again by systemd.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence

MAX_STATUS = 200
SHARE = 4
"""How often WATCHDOG=1 is sent within the time that systemd waits for it."""


class Beats:
    """Decides what to send in a round; keeps what was sent."""

    def __init__(self, watchdog_s: float | None) -> None:
        """`watchdog_s`: the time that systemd waits for a sign of life; None: for ever."""
        self._every_s = watchdog_s / SHARE if watchdog_s else None
        self._ready = False
        self._status = ""
        self._sent = float("-inf")

    def lines(self, well: bool, status: str, now: float) -> Sequence[str]:
        """Return the lines to send.

        Args:
            well: whether this round went well.
            status: what an operator reads in `systemctl status`.
            now: monotonic seconds.
        """
        found = []
        if well and not self._ready:
            self._ready = True
            found.append("READY=1")
        if well and self._every_s is not None and now - self._sent >= self._every_s:
            self._sent = now
            found.append("WATCHDOG=1")
        line = " ".join(status.split())[:MAX_STATUS]
        if line != self._status:
            self._status = line
            found.append(f"STATUS={line}")
        return found


class Systemd:
    """The connection to systemd of the process it started."""

    def __init__(
        self, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._beats = Beats(watchdog_s(environment))

    def beat(self, well: bool, status: str) -> None:
        """Send what is due after a round of the main loop."""
        if self._address:
            self._send(self._beats.lines(well, status, self._clock()))

    def stopping(self) -> None:
        """Say that the agent ends because it was asked to."""
        self._send(["STOPPING=1"])

    def _send(self, lines: Sequence[str]) -> None:
        """Send lines; a manager that does not take them is no reason to stop."""
        if not lines or not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                connection.sendto("\n".join(lines).encode(), address)
        except OSError:
            return


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Return the time that systemd waits for a sign of life of this process, seconds; None: for ever."""
    try:
        meant = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
        usec = int(environment.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return usec / 1e6 if meant and usec > 0 else None
