"""The agent's decisions without any detector process: whom it blames, what it waits for, and what it survives."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
from robot import MadeUpServer, MadeUpSlots

from sim2edge.edge.agent import FALL_BACK_CRASHES, Agent, Identity
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Installed, Rules, State, Subject
from sim2edge.edge.supervision.detectors import Ended, NotYet, Place
from sim2edge.edge.supervision.supervisor import Ending

A, B = Installed("a", "aa"), Installed("b", "bb")


class NoDetectors:
    """No process: what is to be started is asked for, and that is all."""

    on_duty = None
    hands_over = crashing = loading = False
    port = None

    def __init__(self) -> None:
        self.folders: list[object] = []
        self.waits = 0

    def follow(self, wanted, _spare, start, _may_switch) -> None:
        if wanted is None:
            return
        try:
            self.folders.append(start(wanted))
        except NotYet:
            self.waits += 1

    def endings(self) -> list[Ended]:
        return []

    def of(self, _place: Place) -> None:
        return None

    def stop(self) -> None:
        return None


@pytest.fixture
def device(tmp_path, bus):
    """An agent with slots in memory; slot a is good."""
    slots = MadeUpSlots(tmp_path)
    slots.state = State({"a": A}, frozenset({"a"}), "a")
    slots.folders = {"a": tmp_path, "b": tmp_path}
    detectors, server = NoDetectors(), MadeUpServer(slots)
    agent = Agent(Identity("pi-1", "canary", 0.2), bus, server, slots, detectors, Rules())
    return SimpleNamespace(agent=agent, slots=slots, detectors=detectors, server=server)


def end(device, slot: str, installed: Installed, own_fault: bool = True, number: int | None = None) -> None:
    subject = Subject(slot, installed, start=1, trial=number)
    device.agent._account(Ended(subject, Ending("it crashed", own_fault)))


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Whom it blames


def test_the_cure_is_not_blamed_for_the_crashes_of_what_it_replaced(device):
    for _ in range(FALL_BACK_CRASHES):
        end(device, "a", A)
    device.slots.apply(lambda state: trial.begin(state, "b", B))
    number = device.slots.state.trial.number
    device.slots.apply(lambda state: trial.accept(state, Subject("b", B, 2, number)))
    end(device, "b", B)
    assert (device.slots.state.active, device.slots.state.bans, device.slots.state.rests) == ("b", (), ())
    for _ in range(FALL_BACK_CRASHES - 1):
        end(device, "b", B)
    assert device.slots.state.active == "a"
    assert [ban.installed for ban in device.slots.state.bans] == [B]


def test_ends_of_the_spare_in_a_trial_do_not_count_for_the_release_on_trial(device):
    device.slots.apply(lambda state: trial.begin(state, "b", B))
    number = device.slots.state.trial.number
    for _ in range(FALL_BACK_CRASHES - 1):
        end(device, "a", A)
    device.slots.apply(lambda state: trial.accept(state, Subject("b", B, 2, number)))
    end(device, "b", B, own_fault=False)
    assert device.slots.state.active == "b"
    assert device.slots.state.rests == ()


@pytest.mark.parametrize(
    ("report", "blamed"),
    [
        ({"inference_errors_in_a_row": 3}, True),
        ({"inference_errors_in_a_row": 1, "camera_errors_in_a_row": 50}, False),
        ({"inference_errors_in_a_row": 9, "machine_errors_in_a_row": 1}, False),
        ({"inference_errors_in_a_row": 1}, False),
    ],
)
def test_one_odd_frame_and_then_no_camera_is_no_fault_of_a_release(device, monkeypatch, report, blamed):
    monkeypatch.setattr("sim2edge.edge.agent.CAMERA_UNWELL_S", 0.0)
    monkeypatch.setattr("sim2edge.edge.agent.UNWELL_S", 0.0)
    ended = []
    device.detectors.end = lambda _process, _reason, own_fault: ended.append(own_fault)
    now = time.monotonic()
    device.agent._well = now - 1
    duty = SimpleNamespace(report={"state": "failing"} | report, on_duty_since=now, started=now)
    device.agent._end_what_is_unwell(duty)
    assert ended == [blamed]


# What it waits for


def test_a_slot_that_is_read_for_long_does_not_hold_up_the_loop(device):
    read = threading.Event()

    def verify(_slot) -> str:
        read.wait(20)
        return ""

    device.slots.verify = verify
    start = time.monotonic()
    for _ in range(5):
        device.agent.tick()
    assert time.monotonic() - start < 2
    assert (device.detectors.folders, device.detectors.waits) == ([], 5)
    read.set()
    until(lambda: device.agent.tick() or device.detectors.folders)
    assert device.detectors.folders[0] == device.slots.folders["a"]


def test_a_status_that_cannot_be_written_does_not_hold_up_the_loop(device):
    card = threading.Event()
    written = []

    def write_status(text: str) -> None:
        card.wait(20)
        written.append(text)

    device.slots.write_status = write_status
    start = time.monotonic()
    for _ in range(5):
        device.agent.tick()
    assert time.monotonic() - start < 2
    card.set()
    device.agent._message = "the newest"
    until(lambda: device.agent.tick() or (written and "the newest" in written[-1]))


def test_news_does_not_haste_a_server_that_asked_for_time_but_a_person_does(device, monkeypatch):
    device.server.retry_after_s = 0.6
    waited = []

    def wait() -> float:
        start = time.monotonic()
        device.agent._wait()
        return time.monotonic() - start

    device.agent.wake.set()
    waited.append(wait())
    device.agent.hurry()
    waited.append(wait())
    device.server.retry_after_s = 0.0
    monkeypatch.setattr(device.agent, "_pause_s", lambda: 20.0)
    device.agent.wake.set()
    waited.append(wait())
    assert waited[0] > 0.5
    assert max(waited[1:]) < 0.3


def test_a_download_over_a_slow_link_is_no_silence(device, bus, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.server.reporter.BESIDE_S", 0.1)
    arrived, stop = threading.Event(), threading.Event()
    download = device.server.update
    device.server.update = lambda: arrived.wait(20) and download()
    runner = threading.Thread(target=device.agent._talk, args=(stop,), daemon=True)
    runner.start()
    until(lambda: device.agent.tick() or list(bus.list("fleet")))
    stop.set()
    arrived.set()
    device.agent.hurry()
    runner.join(20)
    assert json.loads(bus.get("fleet/pi-1/status.json"))


def test_an_agent_on_trial_is_confirmed_while_a_download_takes_long(device):
    """It has reached the server: the timer of its trial must not end it in the middle of a large release."""
    confirmed = []
    device.agent._agents = SimpleNamespace(confirm=lambda: confirmed.append(1), status={}, message="")
    device.detectors.on_duty = SimpleNamespace(report={}, subject=Subject("a", A, 1), on_duty_since=1.0, started=1.0)
    device.agent.tick()
    assert confirmed == [], "the server was not reached"
    device.server.last_contact = time.monotonic()
    until(lambda: device.agent.tick() or confirmed)
    device.agent.tick()
    assert confirmed == [1]


# What it survives


class Panic(BaseException):
    """What a library in Rust raises: no Exception."""


def test_talking_goes_on_after_a_panic_of_a_library(device):
    panics = iter([Panic("index out of bounds")])
    updates = []

    def update():
        updates.append(1)
        for panic in panics:
            raise panic
        return device.server.__class__.update(device.server)

    device.server.update = update
    stop = threading.Event()
    runner = threading.Thread(target=device.agent._talk, args=(stop,), daemon=True)
    runner.start()
    until(lambda: len(updates) > 1)
    stop.set()
    runner.join(20)


def test_talking_is_taken_up_again_when_its_thread_ended(device, monkeypatch):
    monkeypatch.setattr("sim2edge.edge.agent.TALK_AGAIN_S", 0.1)
    talks = []

    def talk(_stop) -> None:
        talks.append(threading.get_ident())

    monkeypatch.setattr(device.agent, "_talk", talk)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    device.agent.run(stop)
    assert len(talks) > 1


# What it tells of the camera


def test_a_camera_that_fails_is_a_fault_with_its_first_words_until_it_gives_frames(device):
    """Also in the trial of a first release, which nothing else explains; other words each time would wear the card."""
    duty = device.detectors.on_duty = SimpleNamespace(report={}, subject=Subject("a", A, start=1))

    def fault(in_a_row: int, words: str) -> str | None:
        duty.report = {"camera_errors_in_a_row": in_a_row, "last_camera_error": words}
        return device.agent.status()["faults"].get("camera")

    assert fault(2, "0.jpg: not an image") is None
    assert fault(3, "0.jpg: not an image") == "0.jpg: not an image"
    assert fault(4, "1.jpg: not an image") == "0.jpg: not an image"
    assert fault(0, "1.jpg: not an image") is None
    assert fault(3, "unplugged") == "unplugged"
