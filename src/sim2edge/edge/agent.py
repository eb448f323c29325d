"""Run a device's agent: keep a verified release running, fetch others, try them, accept or roll them back, report.

    Agent(identity, bus, updater, slots, detectors, rules).run(stop)

Two loops. The first, in the main thread, looks after the detectors and carries out the decisions of `trial` and
`verdict`; it waits for nothing. The second talks to the server. So updates arrive while the detector crash-loops, and
the detector runs on while the server is out of reach. Neither ends by an error: it is logged, and the next round comes.
"""

import contextlib
import json
import random
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

from sim2edge.bus import Bus
from sim2edge.edge import trial
from sim2edge.edge.detectors import Detectors, Ended, Place
from sim2edge.edge.events import Repeated, log
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.slots import Slots
from sim2edge.edge.status import Status, describe, is_news
from sim2edge.edge.supervisor import CRASH_WINDOW_S, DetectorProcess
from sim2edge.edge.trial import Installed, Rules, Step
from sim2edge.edge.verdict import BLAMED, Evidence, Outcome, judge
from sim2edge.errors import BadInput, Conflict, Unavailable

TICK_S = 0.1
START_S = 60.0
"""Longest time to load and check a release before it counts as hanging."""
UNWELL_S = 30.0
"""A good release that does not answer, or gets no frame, for this long is restarted."""
FALL_BACK_CRASHES = 8
"""Crashes by its own fault within CRASH_WINDOW_S after which a good release gives way to the proven one beside it."""
REPORT_S = 600.0
"""Longest time between two statuses: an unchanged one is sent that rarely."""
MAX_BACKOFF = 10
"""The longest pause after failed checks, in intervals."""


@dataclass(frozen=True)
class Identity:
    """Who this device is."""

    device: str
    ring: str
    interval_s: float


class Agent:
    """Runs the device of one home folder."""

    def __init__(
        self, identity: Identity, bus: Bus, updater: OtaUpdater, slots: Slots, detectors: Detectors, rules: Rules
    ) -> None:
        self._identity, self._bus, self._updater = identity, bus, updater
        self._slots, self._detectors, self._rules = slots, detectors, rules
        self._repeated = Repeated()
        self._crashes: list[float] = []
        self._restarts = 0
        self._well = time.monotonic()
        self._failed_checks = 0
        self._shown: Status | None = None
        self._sent: tuple[Status | None, float] = (None, float("-inf"))
        self._message = ""
        self.wake = threading.Event()
        """Set it to check for an update at once."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then stop the detectors."""
        talker = threading.Thread(target=self._talk, args=(stop,), daemon=True, name="talk")
        talker.start()
        try:
            while not stop.wait(TICK_S):
                try:
                    self.tick()
                except Exception as error:  # whatever it is: the next round may go well, and the detector runs on
                    self._repeated.log("tick failed", error=repr(error))
        finally:
            self._detectors.stop()
            self._write_status(self.status())

    # Looking after the detectors

    def tick(self) -> None:
        """Do the next step towards what the state wants, and judge what runs."""
        wanted, spare = self._places()
        try:
            self._detectors.follow(wanted, spare, self._before_start)
        except OSError as error:  # no memory, no file, no process: later
            self._repeated.log("cannot start", error=str(error))
        for ended in self._detectors.endings():
            self._account(ended)
        self._end_what_hangs()
        if (duty := self._detectors.on_duty) and duty.ready:
            self._judge(duty)
        self._show_status()

    def _places(self) -> tuple[Place | None, Place | None]:
        state = self._slots.state
        slot = trial.boots(state, self._slots.damaged)
        wanted = (slot, state.slots[slot]) if slot else None
        spare = (state.active, state.slots[state.active]) if state.trial and state.active else None
        return wanted, spare

    def _before_start(self, place: Place) -> Any:
        """Verify the slot, and count a trial's start before it is made, so that a crash cannot undo the count."""
        slot, installed = place
        if problem := self._slots.verify(slot):
            self._say("damaged", installed, slot=slot, problem=problem)
            return None
        if self._slots.state.trial:
            self._slots.apply(lambda state: trial.start(state, self._rules, self._slots.now()), must_last=False)
            if not self._slots.state.trial:
                self._say("withdrawn", installed)
                return None
        return self._slots.folder(slot)

    def _account(self, ended: Ended) -> None:
        subject, reason = ended.subject, ended.ending.reason
        self._restarts += 1
        log("ended", release=subject.installed.release, reason=reason, own_fault=ended.ending.own_fault)
        self._message = reason
        on_trial = trial.is_about(self._slots.state, subject)
        now = self._slots.now()
        if on_trial and ended.ending.own_fault:
            self._slots.apply(lambda state: trial.crashed(state, subject, self._rules, reason, now), must_last=False)
            if not self._slots.state.trial:
                self._say(f"rolled back: {reason}", subject.installed)
        elif on_trial:
            self._slots.apply(lambda state: trial.ended(state, subject), must_last=False)
        elif ended.ending.own_fault:
            self._fall_back(ended)

    def _fall_back(self, ended: Ended) -> None:
        """Give up a good release that crashes again and again, if there is a proven one beside it."""
        seen = time.monotonic()
        self._crashes = [*(each for each in self._crashes if seen - each < CRASH_WINDOW_S), seen]
        if len(self._crashes) < FALL_BACK_CRASHES:
            return
        reason = f"{len(self._crashes)} crashes in {CRASH_WINDOW_S:.0f} s; the last: {ended.ending.reason}"
        before, now = self._slots.state, self._slots.now()
        self._slots.apply(lambda state: trial.fall_back(state, ended.subject, reason, now), must_last=False)
        if self._slots.state != before:
            self._crashes = []
            self._say(f"rolled back: {reason}", ended.subject.installed)

    def _end_what_hangs(self) -> None:
        now = time.monotonic()
        for place in filter(None, self._places()):
            process = self._detectors.of(place)
            if process is None:
                continue
            silent = now - process.answered
            if silent > (UNWELL_S if process.ready else START_S):
                doing = process.phase.name.lower()
                reason = f"the detector did not answer for {silent:.0f} s, in {doing}"
                self._detectors.end(place, reason, process.phase in BLAMED)

    def _judge(self, duty: DetectorProcess) -> None:
        state, subject, now = self._slots.state, duty.subject, self._slots.now()
        if not trial.is_about(state, subject):
            return
        verdict = judge(self._rules, self._slots.budgets(subject.slot), self._evidence(duty))
        if verdict.outcome is Outcome.PASSED:
            self._slots.apply(lambda state: trial.accept(state, subject), must_last=False)
            self._say("accepted", subject.installed)
        elif verdict.outcome is Outcome.FAILED:
            self._slots.apply(lambda state: trial.reject(state, subject, verdict.reason, now), must_last=False)
            self._say(f"rolled back: {verdict.reason}", subject.installed)
        elif verdict.outcome is Outcome.WITHDRAWN and state.active:
            self._slots.apply(lambda state: trial.withdraw(state, subject, verdict.reason, now), must_last=False)
            self._say(f"withdrawn: {verdict.reason}", subject.installed)

    def _evidence(self, duty: DetectorProcess) -> Evidence:
        now, since, report = time.monotonic(), duty.on_duty_since or duty.started, duty.report
        contact = self._updater.last_contact
        return Evidence(
            elapsed_s=now - since,
            contacted=contact is not None and contact > since,
            silent_s=now - duty.answered,
            phase=duty.phase,
            inferences=report.get("inferences", 0),
            inference_errors=report.get("inference_errors", 0),
            camera_errors=report.get("camera_errors_in_a_row", 0),
            last_inference_error=report.get("last_inference_error", ""),
            cpu_ms_p95=report.get("cpu_ms_p95"),
            memory_mb=report.get("memory_mb"),
            other_faults=self._slots.faults,
        )

    def _say(self, what: str, about: Installed, **more: object) -> None:
        self._message = what
        log(what, release=about.release, sha256=about.sha256, **more)
        self.wake.set()

    # Talking to the server

    def _talk(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._update()
                self._slots.check()
                self._report()
            except Exception as error:  # keep polling: only an update can mend this device
                self._note_failed_check(f"update failed: {error!r}")
            self.wake.wait(self._pause_s())
            self.wake.clear()

    def _pause_s(self) -> float:
        backoff = min(1 << self._failed_checks, MAX_BACKOFF)
        pause = self._identity.interval_s * backoff * random.uniform(0.9, 1.1)  # jitter: devices must not poll in step
        return max(pause, self._updater.retry_after_s)

    def _update(self) -> None:
        try:
            update = self._updater.update()
        except (BadInput, Unavailable) as error:
            self._note_failed_check(str(error))
            return
        self._failed_checks = 0
        offer = update.offer
        if update.step in (Step.INSTALL, Step.RETRY):
            self._message = "on trial"
            log("installed", **asdict(offer))
        elif update.step is Step.HOLD:
            self._message = f"held back: release {offer.release} {update.reason}"

    def _note_failed_check(self, line: str) -> None:
        self._failed_checks = min(self._failed_checks + 1, MAX_BACKOFF)
        self._repeated.log("refused", message=line)
        self._message = line

    def _report(self) -> None:
        """Send the status if it changed, or was not sent for long."""
        status, now = self.status(), time.monotonic()
        if not is_news(self._sent[0], status) and now - self._sent[1] < REPORT_S:
            return
        try:
            self._bus.put(f"fleet/{self._identity.device}/status.json", json.dumps(status, indent=1).encode())
            self._sent = (status, now)
        except (Unavailable, BadInput, Conflict) as error:
            self._repeated.log("status not sent", message=str(error))

    # The status

    def status(self) -> Status:
        """Return the device's status, as reported to the fleet."""
        duty = self._detectors.on_duty
        return describe(
            device=self._identity.device,
            ring=self._identity.ring,
            state=self._slots.state,
            runs=duty.subject.installed.release if duty else None,
            health=dict(duty.report) if duty else None,
            restarts=self._restarts,
            crashing=len(self._crashes) >= 2,
            port=self._detectors.port,
            message=self._message,
            faults=self._slots.faults,
        )

    def _show_status(self) -> None:
        """Write the local status when it changed: writes wear the card."""
        status = self.status()
        if is_news(self._shown, status):
            self._shown = status
            self._write_status(status)

    def _write_status(self, status: Status) -> None:
        with contextlib.suppress(OSError):  # a disk that is full or read-only: the status is sent to the server as well
            self._slots.write_status(json.dumps(status, indent=1) + "\n")
