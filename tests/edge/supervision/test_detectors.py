"""Which detectors are started, with processes that the test makes up."""

import time

import pytest

from sim2edge.edge.judgement.trial import Installed
from sim2edge.edge.supervision import detectors as detectors_module
from sim2edge.edge.supervision.detectors import STUCK_PAUSE_S, Detectors, Place
from sim2edge.edge.supervision.supervisor import ServiceSettings

PLACE = Place("a", Installed("r1", "11"))


class Process:
    """A detector that loads without end; `gone` says whether the kernel can end it."""

    ready, ending, silent_s, on_duty_since = False, None, 0.0, None

    def __init__(self, _settings, _folder, subject, _listening) -> None:
        self.subject = subject
        self.gone = False

    def poll(self, **_note) -> None:
        return None

    def kill(self) -> None:
        return None

    def is_gone(self) -> bool:
        return self.gone


@pytest.fixture
def detectors(tmp_path, monkeypatch):
    monkeypatch.setattr(detectors_module, "DetectorProcess", Process)
    monkeypatch.setattr(detectors_module, "restart_delay_s", lambda *_: 0.0)
    return Detectors(ServiceSettings(tmp_path, None, port=0, rate_hz=10))


def test_detectors_that_a_driver_holds_do_not_eat_the_memory(detectors, tmp_path, monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr(detectors_module.time, "monotonic", lambda: clock[0])
    hung, starts = [], 0

    def follow_for(seconds: float) -> int:
        """Follow for a time; each detector that starts hangs after two minutes, and cannot be ended."""
        nonlocal starts
        before, until = starts, clock[0] + seconds
        while clock[0] < until:
            detectors.follow(PLACE, None, lambda _: tmp_path)
            if process := detectors.of(PLACE):
                starts += 1
                clock[0] += 120
                hung.append(process)
                detectors.end(process, "the camera hangs", own_fault=False)
            clock[0] += 10
        return starts - before

    assert follow_for(STUCK_PAUSE_S) <= 3
    assert follow_for(24 * 3600) <= 8
    for process in hung:
        process.gone = True
    detectors.follow(PLACE, None, lambda _: tmp_path)
    assert follow_for(200) >= 1
