"""Emit asset events for work that is pending on the bus: `AssetWatcher("...", BusTrigger("arrivals"))`.

The trigger polls the bus every few seconds for pending items. It emits an event when an item is new, and repeats it
every minute while any is pending. An event is only a hint: the task it starts reads the bus itself. The trigger keeps
no state: after a restart of the triggerer it finds the pending items again and emits an event.

It never ends and never raises: Airflow would restart it every two seconds. If the bus cannot be reached, it logs a
warning in the triggerer's log, once a minute.
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
"""Number of item names in an event, for people."""

LOOKS: Mapping[str, Callable[[Bus], Collection[str]]] = {
    "arrivals": arrivals.pending,
    "requests": retrain.pending,
}
"""Name, so that a trigger can be serialized, to the function that lists the pending items of a bus."""


class BusTrigger(BaseEventTrigger):
    """Emits an event while items are pending.

    Args:
        look: which items, a key of `LOOKS`.
        poll_s: seconds between two polls.
        remind_s: seconds between two events about the same items.
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
    """Decides when an event is due: when an item is new, and again after `remind_s` seconds."""

    def __init__(self, remind_s: float = REMIND_S) -> None:
        self._remind_s = remind_s
        self._spoken_of: set[str] = set()
        self._again = 0.0

    def is_due(self, seen: set[str], now: float) -> bool:
        """Return whether to emit an event for the items `seen`; forget items no longer present.

        `now` is in seconds of a monotonic clock.
        """
        due = bool(seen - self._spoken_of) or (bool(seen) and now >= self._again)
        self._spoken_of = seen
        if due:
            self._again = now + self._remind_s
        return due
