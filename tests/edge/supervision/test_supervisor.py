"""How the end of a detector is explained, and how a hang is told from a process that may not run."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from types import SimpleNamespace

import pytest

from sim2edge.edge.judgement.starvation import WorkClock, waited_s
from sim2edge.edge.judgement.verdict import Phase
from sim2edge.edge.supervision.supervisor import MEMORY_READINGS, DetectorProcess, explain


@pytest.mark.parametrize(
    ("code", "phase", "own_fault"),
    [
        (3, Phase.LOAD, True),
        (2, Phase.LOAD, False),
        (0, Phase.INFERENCE, False),
        (1, Phase.START, False),
        (1, Phase.INFERENCE, True),
        (-signal.SIGSEGV, Phase.INFERENCE, True),
        (-signal.SIGSEGV, Phase.LOAD, True),
        (-signal.SIGSEGV, Phase.CAMERA, False),
        (-signal.SIGILL, Phase.LOAD, True),
        (-signal.SIGKILL, Phase.INFERENCE, False),
        (-signal.SIGTERM, Phase.LOAD, False),
        (-signal.SIGBUS, Phase.INFERENCE, False),
        (-signal.SIGHUP, Phase.LOAD, False),
        (-99, Phase.IDLE, False),
    ],
)
def test_only_what_the_release_does_is_its_fault(code, phase, own_fault):
    ending = explain(code, phase)
    assert ending.own_fault is own_fault
    assert phase.name.lower() in ending.reason


def test_its_own_words_are_the_reason():
    assert explain(3, Phase.LOAD, "the self-check failed").reason == "the self-check failed"
    assert explain(-signal.SIGSEGV, Phase.LOAD, "late").reason == "the detector ended by SIGSEGV, in load"


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_the_time_of_a_process_that_waits_for_itself_counts(sleeper):
    clock = WorkClock(sleeper.pid)
    time.sleep(0.3)
    clock.passed(0.3)
    assert clock.passed(0.1) > 0.09


def test_the_time_of_a_stopped_process_does_not_count(sleeper):
    clock = WorkClock(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGSTOP)
    time.sleep(0.1)
    assert clock.passed(5.0) == 0


def test_the_time_without_a_processor_does_not_count(tmp_path, monkeypatch):
    thread = tmp_path / "task" / "7"
    thread.mkdir(parents=True)
    (thread / "stat").write_text("7 (x) y) R 1 2 3")
    (thread / "schedstat").write_text("100 1000000000 3")
    monkeypatch.setattr("sim2edge.edge.judgement.starvation.Path", lambda _: tmp_path)
    clock = WorkClock(7)
    (thread / "schedstat").write_text("100 4000000000 3")
    assert clock.passed(5.0) == pytest.approx(2.0)
    (thread / "schedstat").write_text("nonsense")
    assert clock.passed(5.0) == 5.0
    assert waited_s(tmp_path / "gone") == {}


def test_the_time_of_any_thread_that_waits_for_the_disk_does_not_count(tmp_path, monkeypatch):
    """The main thread only waits for signals: an inference runs in another one."""
    for number, state in ((7, "S"), (8, "D")):
        thread = tmp_path / "task" / str(number)
        thread.mkdir(parents=True)
        (thread / "stat").write_text(f"{number} (x) {state} 1 2 3")
        (thread / "schedstat").write_text("100 1000000000 3")
    monkeypatch.setattr("sim2edge.edge.judgement.starvation.Path", lambda _: tmp_path)
    clock = WorkClock(7)
    assert clock.passed(5.0) == 0
    (tmp_path / "task" / "8" / "stat").write_text("8 (x) S 1 2 3")
    assert clock.passed(5.0) == 5.0


def test_memory_counts_by_its_least_reading_on_duty_without_the_camera_s():
    process = DetectorProcess.__new__(DetectorProcess)
    process._memory, process.on_duty_since = deque(maxlen=MEMORY_READINGS), None
    process._note_memory({"memory_mb": 900.0})
    assert process.newest_memory_mb is None, "off duty: it loads"
    process.on_duty_since = 1.0
    for reading, expected in ((900.0, None), (150.0, None), (900.0, 100.0), (900.0, 100.0), (900.0, 850.0)):
        process._note_memory({"memory_mb": reading, "camera_memory_mb": 50.0})
        assert process.newest_memory_mb == reading - 50
        assert process.memory_mb == expected


def test_what_python_takes_to_start_does_not_count_as_loading_the_model():
    phases = [Phase.START, Phase.START, Phase.LOAD, Phase.LOAD]
    process = DetectorProcess.__new__(DetectorProcess)
    process._line = SimpleNamespace(waits=True)
    process._clock = SimpleNamespace(passed=lambda seconds: seconds)
    process._owes_s, process._busy_s, process._inference, process._loads = 0.0, 0.0, None, False
    silent = []
    for phase in phases:
        process._phase = SimpleNamespace(get=lambda phase=phase: phase)
        process._measure_silence(30.0, [])
        silent.append(process.silent_s)
    assert silent == [30.0, 60.0, 30.0, 60.0]
