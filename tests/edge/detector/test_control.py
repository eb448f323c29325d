"""The line between agent and detector: numbered answers, last words, and whatever a broken detector sends."""

import json
import os
import threading

import pytest

from sim2edge.edge.detector.control import make_phase, open_line, say_last_words, serve_line
from sim2edge.edge.judgement.verdict import Phase


@pytest.fixture
def ends():
    line, theirs = open_line()
    yield line, theirs
    line.close()
    theirs.close()


def until_answered(line):
    found = []
    while line.waits:
        found += line.answers()
    return found


def test_each_answer_has_the_number_of_its_question(ends):
    line, theirs = ends
    actions = {"health": lambda _: {"state": "running"}, "park": lambda _: {"state": "standby"}}
    thread = threading.Thread(target=serve_line, args=(theirs.fileno(), actions))
    thread.start()
    line.ask("health")
    number = line.ask("park")
    assert until_answered(line) == [(1, {"state": "running"}), (number, {"state": "standby"})]
    line.close()
    theirs.close()
    thread.join(5)
    assert not thread.is_alive(), "the detector notices that the agent is gone"


def test_a_detector_whose_action_fails_answers_that(ends):
    line, theirs = ends

    def fail(_question):
        raise OSError("too many open files")

    thread = threading.Thread(target=serve_line, args=(theirs.fileno(), {"go": fail}), daemon=True)
    thread.start()
    line.ask("go")
    ((_, report),) = until_answered(line)
    assert "too many open files" in report["error"]


NO_ANSWERS = [
    b"",
    b"\xff",
    b"[]",
    b"{}",
    b"7",
    b'{"number": 1}',
    b'{"number": "x", "report": {}}',
    b'{"number": 9, "report": {}}',
    b'{"number": 0, "report": {"state": "standby"}}',
    b'{"number": 1, "report": 3}',
]


@pytest.mark.parametrize("message", NO_ANSWERS)
def test_what_is_no_answer_is_dropped(ends, message):
    line, theirs = ends
    line.ask("park")
    theirs.send(message)
    assert line.answers() == []
    assert line.waits


def test_no_question_is_answered_twice(ends):
    line, theirs = ends
    number = line.ask("park")
    for state in ("standby", "running"):
        theirs.send(json.dumps({"number": number, "report": {"state": state}}).encode())
    assert line.answers() == [(number, {"state": "standby"})]


def test_last_words_come_through(ends):
    line, theirs = ends
    say_last_words(theirs.fileno(), "the model cannot be loaded")
    theirs.close()
    assert line.answers() == []
    assert line.last_words == "the model cannot be loaded"


def test_a_detector_that_is_gone_or_takes_nothing_is_no_error(ends):
    line, theirs = ends
    for _ in range(5000):
        line.ask("health")
    theirs.close()
    line.ask("health")
    assert line.answers() == []
    say_last_words(line._end.fileno(), "to nobody")


def test_the_phase_is_shared_and_outlives_its_writer():
    ours, descriptor = make_phase()
    child = os.fork()
    if not child:
        ours.set(Phase.INFERENCE)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(descriptor)
    assert ours.get() is Phase.INFERENCE
    ours.close()
    assert ours.get() is Phase.START
