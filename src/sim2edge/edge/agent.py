"""Run a device's agent: supervise the detector, fetch releases, try them, accept or roll them back, report.

    Agent(identity, bus, updater, slots, settings, rules).run(stop)

Two loops. The first, in the main thread, supervises the detector and carries out the decisions of `trial`; it never
waits for the network. The second talks to the server: update, status. So updates arrive while the detector crash-loops,
and the detector keeps running while the server is unreachable.
"""

import contextlib
import json
import random
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sim2edge.bus import Bus
from sim2edge.edge import trial
from sim2edge.edge.events import log
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.slots import Slots
from sim2edge.edge.supervisor import CRASH_WINDOW_S, DetectorProcess, ServiceSettings, restart_delay_s
from sim2edge.edge.trial import Evidence, Installed, Outcome, Rules, Slot, Step
from sim2edge.errors import BadInput, Conflict, Unavailable

TICK_S = 0.25
PROBE_EVERY_S = 1.0
UNWELL_FOR_S = 30.0
"""A good release that does not answer, or is unhealthy, for this long is restarted."""

TRIAL_CHECK_S = 1.0
"""Pause between checks while a release on trial has not yet reached the server."""

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
        self, identity: Identity, bus: Bus, updater: OtaUpdater, slots: Slots, settings: ServiceSettings, rules: Rules
    ) -> None:
        self._identity = identity
        self._bus = bus
        self._updater = updater
        self._slots = slots
        self._settings = settings
        self._rules = rules
        self._detector: DetectorProcess | None = None
        self._runs: tuple[Slot, Installed] | None = None
        self._exits: list[float] = []
        self._restarts = 0
        self._health: dict[str, Any] | None = None
        self._probed = 0.0
        self._well = 0.0
        self._failed_checks = 0
        self._resting: dict[str, tuple[int, float]] = {}
        """Hash of a withdrawn release to its number of withdrawals and the time until which it rests."""
        self._shown: tuple[tuple[Any, ...], float] = ((), 0.0)
        self._message = ""
        self.wake = threading.Event()
        """Set it to check for an update at once."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then stop the detector."""
        talker = threading.Thread(target=self._talk, args=(stop,), daemon=True, name="talk")
        talker.start()
        try:
            while not stop.wait(TICK_S):
                self.tick()
        finally:
            self._end("stopping")
            self._write_status()

    # Supervising the detector

    def tick(self) -> None:
        """Check the detector once and act on its state."""
        now = time.monotonic()
        self._notice_exit(now)
        if self._detector and self._runs != self._wanted():
            self._end("another release was selected")
        if not self._detector and self._wanted() and now >= self._next_start(now):
            self._start()
        pause = TICK_S if self._slots.state.trial else PROBE_EVERY_S
        if self._detector and now - self._probed >= pause:
            self._probed = now
            self._health = self._detector.health()
            self._judge()
        self._show_status(now)

    def _wanted(self) -> tuple[Slot, Installed] | None:
        state = self._slots.state
        slot = trial.boots(state)
        return (slot, state.slots[slot]) if slot else None

    def _next_start(self, now: float) -> float:
        self._exits = [each for each in self._exits if now - each < CRASH_WINDOW_S]
        return self._exits[-1] + restart_delay_s(self._exits, now) if self._exits else now

    def _start(self) -> None:
        """Start the wanted slot; count a trial's attempt before making it, so that a crash cannot undo the count."""
        before = trial.running(self._slots.state)
        self._slots.apply(lambda state: trial.next_attempt(state, self._rules), must_last=False)
        self._runs = self._wanted()
        if trial.running(self._slots.state) != before:
            self._say("rolled back", trial.failure_of(self._slots.state, before.sha256) if before else None)
            return
        if self._runs:
            slot, installed = self._runs
            log("starting", release=installed.release, slot=slot, trial=self._slots.state.trial is not None)
            self._detector = DetectorProcess(self._settings, self._slots.folder(slot))
            self._well = self._detector.started
            self.wake.set()

    def _end(self, reason: str) -> None:
        if self._detector:
            log("ending", reason=reason)
            self._detector.stop()
        self._detector, self._health, self._exits = None, None, []

    def _notice_exit(self, now: float) -> None:
        if self._detector and (code := self._detector.exit_code) is not None:
            self._count_restart(now, f"the detector ended with code {code}")

    def _count_restart(self, now: float, reason: str) -> None:
        exits = [*self._exits, now]
        self._end(reason)
        self._exits = exits
        self._restarts += 1
        self._message = reason
        log("restarting", reason=reason, recent=len(exits))

    def _judge(self) -> None:
        """Act on the detector's health: end its trial, or restart it when it is stuck."""
        now = time.monotonic()
        if self._health and self._health["healthy"]:
            self._well = now
        state, installed = self._slots.state, trial.running(self._slots.state)
        if state.trial is None or installed is None:
            if now - self._well > UNWELL_FOR_S:
                word = self._health["state"] if self._health else "not answering"
                self._count_restart(now, f"the detector was {word} for {UNWELL_FOR_S:g} s")
            return
        verdict = trial.judge(self._rules, installed.release, self._evidence(now))
        if verdict.outcome is Outcome.PASSED:
            self._slots.apply(trial.accept, must_last=False)
            self._say("accepted", installed)
        elif verdict.outcome is Outcome.FAILED:
            self._slots.apply(lambda state: trial.reject(state, verdict.reason), must_last=False)
            self._say("rolled back", trial.failure_of(self._slots.state, installed.sha256))
        elif verdict.outcome is Outcome.WITHDRAWN and state.active:  # with nothing to go back to, it runs on
            withdrawals = self._resting.get(installed.sha256, (0, 0.0))[0] + 1
            self._resting[installed.sha256] = (withdrawals, now + trial.rest_s(withdrawals))
            self._slots.apply(trial.withdraw, must_last=False)
            self._say(f"withdrawn: {verdict.reason}", installed)

    def _evidence(self, now: float) -> Evidence:
        started = self._detector.started if self._detector else now
        contact = self._updater.last_contact
        health = self._health or {}
        return Evidence(
            elapsed_s=now - started,
            contacted=contact is not None and contact > started,
            release=health.get("release"),
            inferences=health.get("inferences", 0),
            errors=health.get("errors", 0),
            camera_failed=bool(health.get("consecutive_errors")) and str(health["last_error"]).startswith("camera"),
        )

    def _say(self, what: str, about: Any) -> None:
        self._message = what
        log(what, **(asdict(about) if about else {}))
        self.wake.set()

    # Talking to the server

    def _talk(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._update()
            self._report()
            self.wake.wait(self._pause_s())
            self.wake.clear()

    def _pause_s(self) -> float:
        if self._slots.state.trial and not self._failed_checks:
            return TRIAL_CHECK_S
        backoff = min(1 << self._failed_checks, MAX_BACKOFF)
        return self._identity.interval_s * backoff * random.uniform(0.9, 1.1)  # jitter: devices must not poll in step

    def _update(self) -> None:
        try:
            now = time.monotonic()
            update = self._updater.update([sha256 for sha256, (_, until) in dict(self._resting).items() if now < until])
        except (BadInput, Unavailable) as error:
            self._note_failed_check(str(error))
        except Exception as error:  # keep polling: only an update can fix this device
            self._note_failed_check(f"update failed: {error!r}")
        else:
            self._failed_checks = 0
            installed = update.offer.installed
            if update.step in (Step.INSTALL, Step.RETRY):
                self._message = "on trial"
                log("installed", **asdict(installed))
            elif update.step is Step.HOLD:
                failure = trial.failure_of(self._slots.state, installed.sha256)
                why = f"failed: {failure.reason}" if failure else "was withdrawn"
                self._message = f"held back: release {installed.release} {why}"

    def _note_failed_check(self, line: str) -> None:
        self._failed_checks = min(self._failed_checks + 1, MAX_BACKOFF)
        if line != self._message:
            log("refused", message=line)
        self._message = line

    def _report(self) -> None:
        try:
            self._bus.put(f"fleet/{self._identity.device}/status.json", json.dumps(self.status(), indent=1).encode())
        except (Unavailable, BadInput, Conflict) as error:
            log("status not sent", message=str(error))

    def _show_status(self, now: float) -> None:
        """Write the local status when it changed, else once per interval: writes wear the SD card."""
        status = self.status()
        news = tuple(status[name] for name in ("release", "state", "message", "port"))
        if news != self._shown[0] or now - self._shown[1] >= self._identity.interval_s:
            self._shown = (news, now)
            self._write_status()

    def _write_status(self) -> None:
        part = self._settings.home / ".status.json.part"
        with contextlib.suppress(OSError):  # disk full: the status is sent to the server as well
            part.write_text(json.dumps(self.status(), indent=1) + "\n")
            part.replace(part.with_name("status.json"))

    def status(self) -> dict[str, Any]:
        """Return the device's status, as reported to the fleet."""
        state, health, detector = self._slots.state, self._health or {}, self._detector
        now = trial.running(state)
        others = [held.release for slot, held in state.slots.items() if slot != trial.boots(state)]
        word = "trial" if state.trial else health.get("state", "starting") if detector else "down" if now else "empty"
        return {
            "device": self._identity.device,
            "ring": self._identity.ring,
            "release": now.release if now else None,
            "previous": others[0] if others else None,
            "state": word,
            "inferences": health.get("inferences", 0),
            "errors": health.get("errors", 0),
            "latency_ms_p50": health.get("latency_ms_p50"),
            "restarts": self._restarts,
            "port": detector.port if detector else None,
            "message": self._message,
            "failure": asdict(state.failures[-1]) if state.failures else None,
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        }
