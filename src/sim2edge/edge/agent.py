"""Run a device's agent: keep a verified release running, fetch others, try them, accept or roll them back, report.

    Agent(identity, bus, updater, slots, detectors, rules).run(stop)

Two loops. The first, in the main thread, looks after the detectors and carries out the decisions of `trial` and
`verdict`; it waits neither for the server nor, longer than half a second, for the disk. The second talks to the server.
So updates arrive while the detector crash-loops, and the detector runs on while the server is out of reach or the card
hangs. Neither ends by an error: it is logged, and the next round comes.
"""

import contextlib
import json
import random
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from sim2edge.bus import Bus
from sim2edge.edge.events import Repeated, log
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Installed, Rules, Slot, State, Step
from sim2edge.edge.judgement.verdict import BLAMED, Evidence, Outcome, judge
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.pi.self_update import SelfUpdate
from sim2edge.edge.server.reporter import Reporter
from sim2edge.edge.server.status import Status, describe, is_news
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.supervision.aside import Aside
from sim2edge.edge.supervision.detectors import Detectors, Ended, NotYet, Place
from sim2edge.edge.supervision.notify import Systemd
from sim2edge.edge.supervision.supervisor import DetectorProcess, Ending
from sim2edge.edge.supervision.switch_hook import SwitchHook
from sim2edge.errors import BadInput, Unavailable

TICK_S = 0.1
HAND_OVER_TICK_S = 0.01
START_S = 60.0
"""Longest time to load and check a release before it counts as hanging, without that in which it cannot work."""
UNWELL_S = 30.0
"""A good release that does not answer, or whose inferences fail, for this long is restarted."""
CAMERA_UNWELL_S = 120.0
"""A detector without frames is restarted after this long: the camera may come back."""
FALL_BACK_CRASHES = 8
"""Ends in a row after which a good release gives way to the proven one beside it."""
WELL_AGAIN_S = 60.0
"""A detector that worked for this long after a crash is well again: the crashes before do not count."""
CONTACT_S = 1.0
"""Pause between checks while a release on trial has not reached the server yet."""
VERIFY_S = 0.05
"""Longest wait of a tick for a slot that is read."""
LAST_WORDS_S = 3.0
"""Longest wait for the disk to take the last status."""
TALK_AGAIN_S = 10.0
"""Pause before the loop that talks to the server is started again, should it have ended."""
FAILING = 3
"""Inferences in a row that failed, after which a detector is restarted; frames, after which the camera is at fault."""
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
        self,
        identity: Identity,
        bus: Bus,
        updater: OtaUpdater,
        slots: Slots,
        detectors: Detectors,
        rules: Rules,
        hook: SwitchHook | None = None,
        agents: SelfUpdate | None = None,
    ) -> None:
        self._identity, self._updater = identity, updater
        self._reporter = Reporter(bus, slots.home, identity.device, self.status)
        self._slots, self._detectors, self._rules = slots, detectors, rules
        self._hook = hook or SwitchHook()
        self._agents = agents
        self._systemd = Systemd()
        self._repeated = Repeated()
        self._crashes: tuple[Place | None, list[Ending]] = (None, [])
        """How what ended last ended, each time in a row."""
        self._verifying: dict[tuple[Slot, Installed], Aside[str]] = {}
        self._writing: Aside[None] | None = None
        self._talker: threading.Thread | None = None
        self._talks_since = float("-inf")
        self._hurried = False
        self._round_since: float | None = None
        self._confirming: Aside[None] | None = None
        self._restarts = 0
        self._well = time.monotonic()
        self._failed_checks = 0
        self._fault = ""
        self._camera_fault = ""
        self._shown: Status | None = None
        self._message = ""
        self.wake = threading.Event()
        """Set when there is news: a check follows, unless the server asked for time."""

    def hurry(self) -> None:
        """Have a check for an update made at once, whatever the server asked for: a person wants it."""
        self._hurried = True
        self.wake.set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then stop the detectors."""
        try:
            while not stop.wait(HAND_OVER_TICK_S if self._detectors.hands_over else TICK_S):
                self._keep_talking(stop)
                self.try_tick()
                self._systemd.beat(well=not self._fault or self._detectors.on_duty is not None, status=self._summary())
        finally:
            self._systemd.stopping()
            self._detectors.stop()
            Aside(partial(self._write_last_status, self._writing)).ready(LAST_WORDS_S)

    def _keep_talking(self, stop: threading.Event) -> None:
        """Start the loop that talks to the server, also when it has ended: only an update can repair this device."""
        now = time.monotonic()
        if (self._talker and self._talker.is_alive()) or now - self._talks_since < TALK_AGAIN_S:
            return
        if self._talker:
            self._repeated.log("talking ended, and begins again")
        self._talks_since = now
        self._talker = threading.Thread(target=self._talk, args=(stop,), daemon=True, name="talk")
        try:
            self._talker.start()
        except (RuntimeError, MemoryError) as error:  # can't start new thread
            self._repeated.log("cannot talk", error=str(error))

    # Looking after the detectors

    def try_tick(self) -> None:
        """Do the next step; what fails is logged, and tried again in the next round: the detectors run on."""
        try:
            self.tick()
            self._fault = ""
        except Exception as error:
            self._fault = f"{type(error).__name__}: {error}"
            self._repeated.log("tick failed", error=repr(error))

    def tick(self) -> None:
        """Do the next step towards what the state wants, and judge what runs."""
        wanted, spare = self._places()
        before = self._detectors.on_duty
        self._detectors.follow(wanted, spare, self._before_start, self._may_switch)
        places = [(each.slot, each.installed) for each in (wanted, spare) if each]
        self._verifying = {what: task for what, task in self._verifying.items() if what in places or not task.ready()}
        if self._detectors.on_duty is not before:
            self._well = time.monotonic()
            self.wake.set()  # a trial needs contact with the server
        for ended in self._detectors.endings():
            self._account(ended)
        self._end_what_hangs(wanted, spare)
        if (duty := self._detectors.on_duty) and duty.report:
            self._judge(duty)
        self._show_status()
        self._reporter.send_beside(self._round_since)
        self._confirm_meanwhile()

    def _places(self) -> tuple[Place | None, Place | None]:
        state, damaged = self._slots.state, self._slots.damaged
        slot = trial.boots(state, damaged)
        if slot is None:
            return None, None
        on_trial = state.trial if state.trial and state.trial.slot == slot else None
        wanted = Place(slot, state.slots[slot], on_trial.number if on_trial else None)
        good = state.active if state.active not in damaged else None
        return wanted, Place(good, state.slots[good]) if on_trial and good else None

    def _verify(self, place: Place) -> str:
        """Return what is wrong with a slot; empty: nothing. It is read beside this loop, which never waits for a card.

        Raises:
            NotYet: it is being read.
            OSError: nothing is known about it now.
        """
        what = (place.slot, place.installed)
        task = self._verifying.get(what) or Aside(partial(self._slots.verify, place.slot))
        self._verifying[what] = task
        if not task.ready(VERIFY_S):
            raise NotYet
        del self._verifying[what]
        return task.result()

    def _before_start(self, place: Place) -> Path | None:
        """Verify the slot, and count a trial's start before it is made, so that a crash cannot undo the count."""
        if problem := self._verify(place):
            self._message = "damaged"
            about = asdict(place.installed)
            if self._repeated.log("damaged", **about, slot=place.slot, problem=problem):  # not at each tick
                self.wake.set()
            return None
        if place.trial is not None:
            now = self._slots.now()
            state = self._slots.apply(lambda state: trial.start(state, self._rules, now), must_last=False)
            if not state.trial or state.trial.number != place.trial:
                self._tell_rest(state, place.installed)
                return None
        return self._slots.folder(place.slot)

    def _may_switch(self, place: Place) -> bool:
        if place.trial is None or self._hook.allows(place, self._slots.folder(place.slot)):
            return True
        self._message = f"release {place.installed.release} is ready, and waits for a good time to switch"
        return False

    def _account(self, ended: Ended) -> None:
        """Count the end of a detector for its release, or for nothing."""
        subject, reason, own_fault = ended.subject, ended.ending.reason, ended.ending.own_fault
        self._restarts += 1
        self._message = reason
        log("ended", release=subject.installed.release, slot=subject.slot, reason=reason, own_fault=own_fault)
        before, now = self._slots.state, self._slots.now()
        if not trial.is_about(before, subject):
            self._fall_back(ended)
            return
        if own_fault:
            after = self._slots.apply(
                lambda state: trial.crashed(state, subject, self._rules, reason, now), must_last=False
            )
            if not trial.is_about(after, subject):
                self._say(f"rolled back: {reason}", subject.installed)
        else:
            after = self._slots.apply(
                lambda state: trial.hindered(state, subject, self._rules, reason, now), must_last=False
            )
            if not trial.is_about(after, subject):
                self._tell_rest(after, subject.installed)

    def _tell_rest(self, state: State, installed: Installed) -> None:
        rest = trial.rest_of(state, installed)
        self._say(f"withdrawn: {rest.reason}" if rest else "withdrawn", installed)

    def _fall_back(self, ended: Ended) -> None:
        """Give up a good release that ends again and again, if there is a proven one beside it."""
        subject, now = ended.subject, self._slots.now()
        place = Place(subject.slot, subject.installed)
        before = self._crashes[1] if self._crashes[0] == place else []  # those of another release say nothing
        endings = [*before, ended.ending][-FALL_BACK_CRASHES:]
        self._crashes = (place, endings)
        if len(endings) < FALL_BACK_CRASHES:
            return
        own_fault = all(each.own_fault for each in endings)
        reason = f"ended {len(endings)} times in a row: {ended.ending.reason}"
        after = self._slots.apply(
            lambda state: trial.fall_back(state, subject, reason, now, own_fault), must_last=False
        )
        if after.active != subject.slot:
            self._crashes = (None, [])
            self._say(f"rolled back: {reason}", subject.installed)

    def _end_what_hangs(self, *places: Place | None) -> None:
        """End a detector that does not answer, or is of no use, for too long."""
        for place in filter(None, places):
            process = self._detectors.of(place)
            if process is None:
                continue
            silent, blamed = process.silent_s, process.phase in BLAMED
            if silent > (UNWELL_S if process.ready else START_S):
                reason = f"the detector did not answer for {silent:.0f} s, in {process.phase.name.lower()}"
                self._detectors.end(process, reason, blamed)
        if (duty := self._detectors.on_duty) and duty.report:
            self._end_what_is_unwell(duty)

    def _end_what_is_unwell(self, duty: DetectorProcess) -> None:
        report, now = duty.report, time.monotonic()
        if report.get("state") in ("running", "starting", "crashing"):
            self._well = now
        if now - max(duty.on_duty_since or now, duty.started) > WELL_AGAIN_S:
            self._crashes = (None, [])
        kinds = ("inference", "machine", "camera")
        errors = {kind: report.get(f"{kind}_errors_in_a_row", 0) for kind in kinds}
        failing = errors["inference"] >= FAILING and not errors["machine"] and not errors["camera"]
        if now - self._well > (UNWELL_S if failing else CAMERA_UNWELL_S):
            kind = "inference" if failing else "machine" if errors["machine"] else "camera"
            last = report.get(f"last_{kind}_error", "")
            self._detectors.end(duty, f"the detector was {report.get('state')}: {last}", own_fault=failing)

    def _judge(self, duty: DetectorProcess) -> None:
        state, subject, now = self._slots.state, duty.subject, self._slots.now()
        if not trial.is_about(state, subject):
            return
        verdict = judge(self._rules, self._slots.budgets(subject.slot), self._evidence(duty))
        reason = verdict.reason
        if verdict.outcome is Outcome.PASSED:
            self._slots.apply(lambda state: trial.accept(state, subject), must_last=False)
            self._crashes = (None, [])
            self._say("accepted", subject.installed)
        elif verdict.outcome is Outcome.FAILED:
            self._slots.apply(lambda state: trial.reject(state, subject, reason, now), must_last=False)
            self._say(f"rolled back: {reason}", subject.installed)
        elif verdict.outcome is Outcome.WITHDRAWN and state.active:  # with nothing to go back to, it runs on
            self._slots.apply(lambda state: trial.withdraw(state, subject, reason, now), must_last=False)
            self._say(f"withdrawn: {reason}", subject.installed)

    def _evidence(self, duty: DetectorProcess) -> Evidence:
        now, since, report = time.monotonic(), duty.on_duty_since or duty.started, duty.report
        contact = self._updater.last_contact
        return Evidence(
            elapsed_s=now - since,
            contacted=contact is not None and contact > since,
            silent_s=duty.silent_s,
            phase=duty.phase,
            inferences=report.get("inferences", 0),
            inference_errors=report.get("inference_errors", 0),
            camera_errors=report.get("camera_errors_in_a_row", 0),
            machine_errors=report.get("machine_errors_in_a_row", 0),
            last_inference_error=report.get("last_inference_error", ""),
            last_camera_error=report.get("last_camera_error", ""),
            last_machine_error=report.get("last_machine_error", ""),
            cpu_ms_p95=report.get("cpu_ms_p95"),
            memory_mb=duty.memory_mb,
            newest_memory_mb=duty.newest_memory_mb,
            other_faults=self._slots.faults,
        )

    def _own_faults(self) -> dict[str, str]:
        """Return what is wrong with this program, the clock, the key and the camera, which no release is judged by."""
        faults = {"agent": self._fault, "clock": self._slots.clock.fault, "identity": self._reporter.fault}
        faults["camera"] = self._find_camera_fault()
        return {what: words for what, words in faults.items() if words}

    def _find_camera_fault(self) -> str:
        """Return what the camera said when it began to fail; the same as long as it fails: each change is written."""
        report = self._detectors.on_duty.report if self._detectors.on_duty else {}
        if not report.get("camera_errors_in_a_row"):
            self._camera_fault = ""
        elif report["camera_errors_in_a_row"] >= FAILING and not self._camera_fault:
            self._camera_fault = report.get("last_camera_error", "") or "no frames"
        return self._camera_fault

    def _say(self, what: str, about: Installed, **more: object) -> None:
        self._message = what
        log(what, release=about.release, sha256=about.sha256, **more)
        self.wake.set()

    # Talking to the server

    def _talk(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._round_since = time.monotonic()
            for step in (self._update, partial(self._update_agent, stop), self._slots.check, self._reporter.send):
                try:
                    step()
                except BaseException as error:
                    self._note_failed_check(f"{type(error).__name__}: {error}")
            self._round_since = None
            self._wait()

    def _wait(self) -> None:
        """Wait for the next check; news brings it forward, but not before a server in trouble may be asked again."""
        pause_s, now = self._pause_s(), time.monotonic()
        least_s = max(self._updater.retry_after_s, self._identity.interval_s if self._failed_checks else 0.0)
        self.wake.wait(pause_s)
        while not self._hurried and (left := now + min(pause_s, least_s) - time.monotonic()) > 0:
            self.wake.clear()
            self.wake.wait(left)
        self.wake.clear()
        self._hurried = False

    def _pause_s(self) -> float:
        if self._trial_lacks_contact() and not self._failed_checks:
            return max(CONTACT_S, self._updater.retry_after_s)
        backoff = min(1 << self._failed_checks, MAX_BACKOFF)
        pause = self._identity.interval_s * backoff * random.uniform(0.9, 1.1)  # jitter: devices must not poll in step
        return max(pause, self._updater.retry_after_s)

    def _trial_lacks_contact(self) -> bool:
        duty, contact = self._detectors.on_duty, self._updater.last_contact
        if duty is None or duty.on_duty_since is None or not trial.is_about(self._slots.state, duty.subject):
            return False
        return contact is None or contact <= duty.on_duty_since

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

    def _update_agent(self, stop: threading.Event) -> None:
        """Confirm this agent, and follow the ring's between trials of releases: another starts when this one ends."""
        if self._agents is None or self._updater.last_contact is None:
            return
        if self._is_proven():
            self._agents.confirm()
        target = self._updater.agent
        if target is not None and not self._slots.state.trial and self._agents.follow(target):
            log("ending", reason="another agent is to start")
            stop.set()
        self._message = self._agents.message or self._message

    def _is_proven(self) -> bool:
        """Return whether this agent has done what it is for: it reached the server, and a detector runs if it can."""
        reached = self._updater.last_contact is not None
        return reached and not self._fault and bool(self._detectors.on_duty or not self._places()[0])

    def _confirm_meanwhile(self) -> None:
        """Confirm this agent, beside the loops: a download that takes long must not end its trial."""
        if self._agents and self._confirming is None and self._is_proven():
            self._confirming = Aside(self._agents.confirm)

    def _note_failed_check(self, line: str) -> None:
        self._failed_checks = min(self._failed_checks + 1, MAX_BACKOFF)
        self._repeated.log("refused", message=line)
        self._message = line

    # The status

    def _summary(self) -> str:
        """Return the status in a few words."""
        status = self._shown or {}
        return f"{status.get('state', 'starting')}: release {status.get('release') or 'none'}"

    def status(self) -> Status:
        """Return the device's status, as reported to the fleet."""
        duty, state = self._detectors.on_duty, self._slots.state
        found = describe(
            device=self._identity.device,
            ring=self._updater.ring,
            state=state,
            damaged=self._slots.damaged,
            duty=duty.subject if duty else None,
            health=duty.report if duty else {},
            restarts=self._restarts,
            crashing=self._detectors.crashing,
            loading=self._detectors.loading,
            port=self._detectors.port,
            message=self._message,
            faults={**self._slots.faults, **self._own_faults()},
        )
        return found | ({"agent": self._agents.status} if self._agents else {})

    def _show_status(self) -> None:
        """Write the local status when it changed, beside this loop: writes wear the card, and may hang."""
        if self._writing and not self._writing.ready():
            return
        status = self.status()
        if is_news(self._shown, status):
            self._shown = status
            self._writing = Aside(partial(self._write_status, status))

    def _write_last_status(self, writing: Aside[None] | None) -> None:
        if writing is None or writing.ready(LAST_WORDS_S):
            self._write_status(self.status())

    def _write_status(self, status: Status) -> None:
        with contextlib.suppress(OSError):  # a disk that is full or read-only: the status is sent to the server as well
            self._slots.write_status(json.dumps(status, indent=1) + "\n")
