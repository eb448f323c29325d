"""The one trigger of assets that S3 knows more about than Airflow: `AssetWatcher("...", BusTrigger("arrivals"))`.

It looks at the bus every few seconds for what asks for attention, and gives an event when there is something new, and
again every minute for as long as something does. So an event is a hint and carries nothing that anybody relies on:
whoever is started by it looks at the bus, too. Nothing has to be kept: a triggerer that was killed, wherever, comes
back, sees what asks for attention, and says so.

It never ends and never raises: Airflow would start it again every two seconds. A bus that cannot be reached is said in
the triggerer's log, once a minute.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from sim2edge import arrivals, retrain
from sim2edge.bus import Bus
from sim2edge_airflow.connections import connect_bus

REMIND_S = 60.0
NAMED = 5
"""Names that an event carries, for whoever reads it."""

LOOKS: Mapping[str, Callable[[Bus], Collection[str]]] = {
    "arrivals": arrivals.pending,
    "requests": retrain.pending,
}
"""By name, so that a trigger can be written down: what lists the names of all that asks for attention on a bus."""


class BusTrigger(BaseEventTrigger):
    """Gives an event when what it looks for is there.

    Args:
        look: what to look for, of `LOOKS`.
        poll_s: seconds between two looks.
        remind_s: seconds between two events about the same.
    """

    def __init__(self, look: str, poll_s: float = 5.0, remind_s: float = REMIND_S) -> None:
        super().__init__()
        self.look = look
        self.poll_s = poll_s
        self.remind_s = remind_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See `BaseTrigger.serialize`."""
        return "sim2edge_airflow.scheduling.bus_trigger.BusTrigger", {
            "look": self.look,
            "poll_s": self.poll_s,
            "remind_s": self.remind_s,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """See `BaseTrigger.run`."""
        findings, errors = Attention(self.remind_s), Attention()
        while True:
            try:
                seen = await asyncio.to_thread(self._see)
            except Exception as error:
                if errors.is_due({str(error)}, time.monotonic()):
                    self.log.warning("%s: %s: %s", self.look, type(error).__name__, error)
            else:
                if findings.is_due(seen, time.monotonic()):
                    yield TriggerEvent({"look": self.look, "count": len(seen), "some": sorted(seen)[:NAMED]})
            await asyncio.sleep(self.poll_s)

    def _see(self) -> set[str]:
        return set(LOOKS[self.look](connect_bus()))


class Attention:
    """Decides when to speak of what is seen: when some of it is new, and again after `remind_s` seconds."""

    def __init__(self, remind_s: float = REMIND_S) -> None:
        self._remind_s = remind_s
        self._spoken_of: set[str] = set()
        self._again = 0.0

    def is_due(self, seen: set[str], now: float) -> bool:
        """Return whether to speak now, `now` in seconds of a steady clock, of what is `seen`.

        What vanishes is forgotten.
        """
        due = bool(seen - self._spoken_of) or (bool(seen) and now >= self._again)
        self._spoken_of = seen
        if due:
            self._again = now + self._remind_s
        return due
