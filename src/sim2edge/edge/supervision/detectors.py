"""Keep the wanted detector on duty: start it beside the old one, hand over without a gap, keep the old one ready.

    detectors = Detectors(settings)
    detectors.follow(wanted, spare, folder_of, may_switch)      # at each tick, from the main thread; never blocks
    detectors.on_duty, detectors.endings()

A process is started off duty: it loads and checks its release while the old one goes on. Then the old one lets go of
camera and port, and the new one takes them. During a trial the old one stays loaded, to go back in no time. One that
does not let go is killed: it cannot keep its cure from running.
"""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim2edge.edge.detector.stand_in import StandIn
from sim2edge.edge.events import log
from sim2edge.edge.judgement.trial import Installed, Slot, Subject
from sim2edge.edge.supervision.supervisor import (
    CRASH_WINDOW_S,
    DetectorProcess,
    Ending,
    ServiceSettings,
    restart_delay_s,
)

HAND_OVER_S = 1.0
"""Longest wait for a detector to let go of the camera, before it is killed."""
STOP_GRACE_S = 3.0
"""Longest wait for a detector to end, before it is killed."""
KILL_GRACE_S = 1.0
"""Longest wait for the end of one that was killed: one stuck in a driver does not end."""
HANGS_S = 5.0
"""A detector on duty that is silent for this long is replaced without asking whether now is the time."""
PORT_RETRY_S = 10.0
STUCK_PAUSE_S = 600.0
"""Pause before a third detector is started while two that were killed are not gone; it doubles with each more."""
CRASH_LOOP = 3
"""Ends of a detector within CRASH_WINDOW_S that make a crash loop."""


@dataclass(frozen=True)
class Place:
    """A release to run, and where it is."""

    slot: Slot
    installed: Installed
    trial: int | None = None
    """Number of the trial it is to run for: a process of another trial is none for it."""

    def is_of(self, process: DetectorProcess) -> bool:
        """Return whether a process runs it."""
        subject = process.subject
        same = (subject.slot, subject.installed) == (self.slot, self.installed)
        return same and self.trial in (None, subject.trial)


@dataclass(frozen=True)
class Ended:
    """A detector that ended by itself, or was ended because it hung."""

    subject: Subject
    ending: Ending


class NotYet(Exception):
    """Whether something can be started is not known yet: ask again at the next tick."""


@dataclass
class Leaving:
    """A detector that was told to let go of the camera."""

    process: DetectorProcess
    since: float
    killed: bool = False


class Detectors:
    """The detector processes of one device: at most two, one of them on duty."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._processes: list[DetectorProcess] = []
        self._duty: DetectorProcess | None = None
        self._leaving: Leaving | None = None
        self._dying: list[tuple[DetectorProcess, float]] = []
        self._exits: dict[Place, list[float]] = {}
        self._ended: list[Ended] = []
        self._starts = 0
        self._last_start = float("-inf")
        self._wanted: Place | None = None
        self._nobody_since = time.monotonic()
        self._listening: socket.socket | None = None
        self._stand_in: StandIn | None = None
        self._port_tried = float("-inf")

    @property
    def on_duty(self) -> DetectorProcess | None:
        """The process that has the camera."""
        return self._duty

    @property
    def loading(self) -> bool:
        """Whether a detector is there that is not on duty yet."""
        return self._duty is None and bool(self._processes)

    @property
    def hands_over(self) -> bool:
        """Whether nobody has the camera just now, because one waits for another."""
        return self._leaving is not None

    @property
    def crashing(self) -> bool:
        """Whether what is on duty, or should be, ends again and again."""
        place = self._wanted
        if self._duty and not (place and place.is_of(self._duty)):
            return False
        now = time.monotonic()
        recent = [each for each in (self._exits.get(place, []) if place else []) if now - each < CRASH_WINDOW_S]
        return len(recent) >= CRASH_LOOP

    @property
    def port(self) -> int | None:
        """The port that answers; None while it is taken by another program."""
        return int(self._listening.getsockname()[1]) if self._listening else None

    def of(self, place: Place) -> DetectorProcess | None:
        """Return the process of a place."""
        return next((each for each in self._processes if place.is_of(each)), None)

    def endings(self) -> Sequence[Ended]:
        """Return, once, what ended since the last call."""
        found, self._ended = self._ended, []
        return found

    def follow(
        self,
        wanted: Place | None,
        spare: Place | None,
        start: Callable[[Place], Path | None],
        may_switch: Callable[[Place], bool] = lambda _: True,
    ) -> None:
        """Do the next step towards `wanted` on duty, with `spare` loaded beside it.

        Args:
            wanted: what to run; None: what runs goes on.
            spare: what to keep loaded beside it.
            start: called just before one is started; returns its folder, None: not now; may raise NotYet.
            may_switch: called before the detector on duty gives way to `wanted`.
        """
        self._wanted = wanted
        self._take_answers()
        self._bury()
        self._drop_others(wanted, spare)
        self._bring_on_duty(wanted, may_switch)
        process = self.of(wanted) if wanted else None
        if wanted and process is None:
            self._start_when_due(wanted, start)
        if spare and self.of(spare) is None and (process is None or process is self._duty):
            self._start_when_due(spare, start)

    def end(self, process: DetectorProcess, reason: str, own_fault: bool) -> None:
        """End a process that hangs, and count it as ended."""
        if process in self._processes:
            self._remove(process, Ending(reason, own_fault))
            process.kill()
            self._dying.append((process, time.monotonic()))

    def stop(self) -> None:
        """End all of them; return when they are gone, but for one that even the kernel cannot end."""
        for process in self._processes:
            self._let_die(process)
        self._processes, self._duty, self._leaving = [], None, None
        give_up = time.monotonic() + STOP_GRACE_S + KILL_GRACE_S
        while self._dying and time.monotonic() < give_up:
            self._bury()
            time.sleep(0.02)
        if self._stand_in:
            self._stand_in.stop()
        if self._listening:
            self._listening.close()
            self._listening = None

    def _take_answers(self) -> None:
        for process in list(self._processes):
            process.poll(crashing=self.crashing and process is self._duty)
            if ending := process.ending:
                self._remove(process, ending)
                process.is_gone()

    def _remove(self, process: DetectorProcess, ending: Ending) -> None:
        self._processes.remove(process)
        self._ended.append(Ended(process.subject, ending))
        self._note_exit(Place(process.subject.slot, process.subject.installed))
        self._forget(process)

    def _note_exit(self, place: Place) -> None:
        key = Place(place.slot, place.installed)
        now = time.monotonic()
        recent = [each for each in self._exits.get(key, []) if now - each < CRASH_WINDOW_S]
        self._exits[key] = [*recent, now]

    def _forget(self, process: DetectorProcess) -> None:
        if process is self._duty:
            self._duty, self._nobody_since = None, time.monotonic()
        if self._leaving and process is self._leaving.process:
            self._leaving = None

    def _let_die(self, process: DetectorProcess) -> None:
        process.terminate()
        self._dying.append((process, time.monotonic() + STOP_GRACE_S))

    def _bury(self) -> None:
        """Give back what ended processes held, and kill those that do not end."""
        now = time.monotonic()
        left = []
        for process, deadline in self._dying:
            if process.is_gone():
                continue
            if now >= deadline:
                process.kill()
            left.append((process, deadline))
        self._dying = left

    def _drop_others(self, wanted: Place | None, spare: Place | None) -> None:
        """End what is neither wanted nor spare, but not before the wanted one has taken over."""
        places = [each for each in (wanted, spare) if each]
        taken_over = self._duty is not None and wanted is not None and wanted.is_of(self._duty)
        for process in list(self._processes):
            busy = process is self._duty and not taken_over
            if busy or any(place.is_of(process) for place in places):
                continue
            self._processes.remove(process)
            self._forget(process)
            self._let_die(process)
        known = [Place(each.slot, each.installed) for each in places]
        self._exits = {place: exits for place, exits in self._exits.items() if place in known}

    def _bring_on_duty(self, wanted: Place | None, may_switch: Callable[[Place], bool]) -> None:
        """Have the wanted process take over once it is ready; until then any other that is."""
        best = self.of(wanted) if wanted else None
        if best is None or not best.ready:
            best = self._duty or next((each for each in self._processes if each.ready), None)
        if best is None or best is self._duty:
            return
        if self._duty:
            if wanted and self._duty.silent_s < HANGS_S and not may_switch(wanted):
                return
            self._leaving = Leaving(self._duty, time.monotonic())
            self._duty.park()
            self._duty, self._nobody_since = None, time.monotonic()
        if self._leaving and self._leaving.process is not best and not self._has_left(self._leaving):
            return
        self._leaving = None
        best.go()
        self._duty = best
        log("on duty", release=best.subject.installed.release, slot=best.subject.slot)

    def _has_left(self, leaving: Leaving) -> bool:
        """Return whether a detector has let go of the camera; kill it when it does not in time."""
        process, waited = leaving.process, time.monotonic() - leaving.since
        if process.has_let_go or process.is_gone():
            return True
        if waited > HAND_OVER_S and not leaving.killed:
            log("detector does not let go", release=process.subject.installed.release)
            leaving.killed = True
            if process in self._processes:
                self._processes.remove(process)
            process.kill()
            self._dying.append((process, time.monotonic()))
        return waited > HAND_OVER_S + KILL_GRACE_S

    def _start_when_due(self, place: Place, start: Callable[[Place], Path | None]) -> None:
        key, now = Place(place.slot, place.installed), time.monotonic()
        exits = self._exits.get(key, [])
        if exits and now < exits[-1] + restart_delay_s(exits, now):
            return
        if now < self._last_start + self._stuck_pause_s(now):
            return
        try:
            folder = start(place)
        except NotYet:
            return
        if folder is None:
            self._note_exit(key)
            return
        self._open_port()
        self._last_start = now
        self._starts += 1
        subject = Subject(place.slot, place.installed, self._starts, place.trial)
        log("starting", release=place.installed.release, slot=place.slot)
        try:
            self._processes.append(DetectorProcess(self._settings, folder, subject, self._listening))
        except OSError as error:  # no memory, no file, no process
            self._ended.append(Ended(subject, Ending(f"the detector cannot be started: {error}", own_fault=False)))
            self._note_exit(key)

    def _stuck_pause_s(self, now: float) -> float:
        """Return the pause between two starts: one that a driver holds keeps its memory, and the next may hang, too."""
        stuck = sum(now - deadline > KILL_GRACE_S for _, deadline in self._dying)
        return STUCK_PAUSE_S * 2 ** (stuck - 2) if stuck >= 2 else 0.0

    def _open_port(self) -> None:
        """Take the port, unless another program has it: then detection goes on without HTTP."""
        now = time.monotonic()
        if self._listening or now - self._port_tried < PORT_RETRY_S:
            return
        self._port_tried = now
        try:
            self._listening = socket.create_server((self._settings.host, self._settings.port), backlog=64)
            self._stand_in = StandIn(self._listening, self._nobody)
        except (OSError, OverflowError) as error:
            log("no port", host=self._settings.host, port=self._settings.port, error=str(error))

    def _nobody(self) -> float:
        """Return how long nobody has been on duty, seconds."""
        return 0.0 if self._duty else time.monotonic() - self._nobody_since
