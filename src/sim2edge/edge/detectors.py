"""Keep the wanted detector on duty: start it beside the old one, hand over without a gap, keep the old one ready.

    detectors = Detectors(settings)
    detectors.follow(wanted, spare, folder)     # at each tick, from the main thread
    detectors.on_duty, detectors.endings()

A process is started off duty: it loads and checks its release while the old one goes on. Then the old one lets go of
camera and port, and the new one takes them. During a trial the old one stays loaded, to go back in no time.
"""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim2edge.edge.events import log
from sim2edge.edge.supervisor import DetectorProcess, Ending, ServiceSettings, restart_delay_s
from sim2edge.edge.trial import Installed, Slot, Subject

Place = tuple[Slot, Installed]
HAND_OVER_S = 3.0
"""Longest wait for a detector to let go of the camera, before it is ended."""
PORT_RETRY_S = 10.0


@dataclass(frozen=True)
class Ended:
    """A detector that ended by itself, or was ended because it hung."""

    subject: Subject
    ending: Ending
    was_on_duty: bool


class Detectors:
    """The detector processes of one device: at most two, one of them on duty."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._processes: dict[Place, DetectorProcess] = {}
        self._duty: DetectorProcess | None = None
        self._leaving: tuple[DetectorProcess, float] | None = None
        self._exits: dict[Place, list[float]] = {}
        self._ended: list[Ended] = []
        self._starts = 0
        self._listening: socket.socket | None = None
        self._port_tried = float("-inf")

    @property
    def on_duty(self) -> DetectorProcess | None:
        """The process that has the camera."""
        return self._duty

    @property
    def port(self) -> int | None:
        """The port that answers; None while it is taken by another program."""
        return self._listening.getsockname()[1] if self._listening else None

    def of(self, place: Place) -> DetectorProcess | None:
        """Return the process of a release in a slot."""
        return self._processes.get(place)

    def endings(self) -> Sequence[Ended]:
        """Return, once, what ended since the last call."""
        found, self._ended = self._ended, []
        return found

    def follow(self, wanted: Place | None, spare: Place | None, start: Callable[[Place], Path | None]) -> None:
        """Do the next step towards `wanted` on duty, with `spare` loaded beside it.

        Args:
            wanted: slot and release to run; None: nothing.
            spare: those to keep loaded as they are, never started for it.
            start: called just before `wanted` is started; returns its folder, None: not now.

        Raises:
            OSError: no process can be started now.
        """
        self._take_answers()
        self._drop_others(wanted, spare)
        self._bring_on_duty(wanted)
        if wanted and wanted not in self._processes and time.monotonic() >= self._next_start(wanted):
            folder = start(wanted)
            if folder:
                self._open_port()
                self._starts += 1
                subject = Subject(*wanted, self._starts)
                log("starting", release=wanted[1].release, slot=wanted[0])
                self._processes[wanted] = DetectorProcess(self._settings, folder, subject, self._listening)

    def end(self, place: Place, reason: str, own_fault: bool) -> None:
        """End a process that hangs, and count it as ended."""
        process = self._processes.get(place)
        if process:
            self._remove(place, Ending(reason, own_fault))
            process.stop(grace_s=1.0)

    def stop(self) -> None:
        """End all of them."""
        for process in self._processes.values():
            process.stop()
        self._processes, self._duty, self._leaving = {}, None, None
        if self._listening:
            self._listening.close()
            self._listening = None

    def _take_answers(self) -> None:
        for place, process in list(self._processes.items()):
            process.poll()
            if ending := process.ending:
                self._remove(place, ending)
                process.stop()

    def _remove(self, place: Place, ending: Ending) -> None:
        process = self._processes.pop(place)
        self._ended.append(Ended(process.subject, ending, process is self._duty))
        self._exits.setdefault(place, []).append(time.monotonic())
        self._forget(process)

    def _forget(self, process: DetectorProcess) -> None:
        if process is self._duty:
            self._duty = None
        if self._leaving and process is self._leaving[0]:
            self._leaving = None

    def _drop_others(self, wanted: Place | None, spare: Place | None) -> None:
        """End what is neither wanted nor spare, but not before the wanted one has taken over."""
        takes_over = wanted is None or (self._duty is not None and self._duty is self._processes.get(wanted))
        for place, process in list(self._processes.items()):
            if place in (wanted, spare) or (process is self._duty and not takes_over):
                continue
            del self._processes[place]
            self._forget(process)
            process.stop()
        for place in [each for each in self._exits if each not in (wanted, spare)]:
            del self._exits[place]

    def _bring_on_duty(self, wanted: Place | None) -> None:
        """Have the wanted process take over once it is ready; until then any other that is."""
        best = self._processes.get(wanted) if wanted else None
        if best is None or not best.ready:
            best = self._duty or next((each for each in self._processes.values() if each.ready), None)
        if best is None or best is self._duty:
            return
        if self._duty:
            self._leaving = (self._duty, time.monotonic())
            self._duty.park()
            self._duty = None
        if self._leaving:
            leaving, since = self._leaving
            if leaving.report.get("state") != "standby" and time.monotonic() - since < HAND_OVER_S:
                return
            if leaving.report.get("state") != "standby":
                log("detector does not let go", release=leaving.subject.installed.release)
                self._processes.pop((leaving.subject.slot, leaving.subject.installed), None)
                leaving.stop(grace_s=0.2)
            self._leaving = None
        best.go()
        self._duty = best
        log("on duty", release=best.subject.installed.release, slot=best.subject.slot)

    def _next_start(self, place: Place) -> float:
        exits = self._exits.get(place, [])
        now = time.monotonic()
        return exits[-1] + restart_delay_s(exits, now) if exits else now

    def _open_port(self) -> None:
        """Take the port, unless another program has it: then detection goes on without HTTP."""
        now = time.monotonic()
        if self._listening or now - self._port_tried < PORT_RETRY_S:
            return
        self._port_tried = now
        try:
            self._listening = socket.create_server((self._settings.host, self._settings.port), backlog=64)
        except (OSError, OverflowError) as error:
            log("no port", host=self._settings.host, port=self._settings.port, error=str(error))
