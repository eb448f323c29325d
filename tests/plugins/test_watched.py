"""A watched value is read while somebody looks, never more than once at a time, and survives its source."""

import threading
import time

from sim2edge.errors import Unavailable
from sim2edge_airflow.pages import watched
from sim2edge_airflow.pages.watched import Watched, pause


def wait_for(look, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_first_look_waits_for_a_value_and_the_next_do_not():
    value = Watched(lambda: 7, first=0, seconds=60)
    assert value.look() == 7
    assert value.age_s < 5


def test_a_slow_source_does_not_hold_up_whoever_looks():
    gate = threading.Event()
    value = Watched(lambda: gate.wait() and 7, first=0, seconds=0.01)
    start = time.monotonic()
    assert value.look(wait_s=0.1) == 0
    assert time.monotonic() - start < 1
    assert value.age_s is None
    gate.set()
    wait_for(lambda: value.look() == 7)


def test_when_the_source_fails_the_last_value_stays_and_the_error_is_said():
    answers = [1]

    def read():
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    value = Watched(read, first=0, seconds=0.05)
    assert value.look() == 1
    for problem, said in ((Unavailable("S3 is away"), "S3 is away"), (ValueError("a bug"), "ValueError: a bug")):
        answers.append(problem)
        wait_for(lambda said=said: (value.look(), value.error) == (1, said))
    answers.append(2)
    wait_for(lambda: (value.look(), value.error) == (2, None))


def test_a_long_first_read_does_not_put_off_the_next_for_long():
    assert pause(took=0.1, seconds=5) == 5
    assert pause(took=2, seconds=5) == 18, "a tenth of the time"
    assert pause(took=600, seconds=5) == watched.MAX_S


def test_whoever_looks_later_in_a_long_read_does_not_wait_again():
    gate = threading.Event()
    value = Watched(lambda: gate.wait() and 7, first=0, seconds=60)
    value.look(wait_s=0.2)
    start = time.monotonic()
    assert value.look(wait_s=0.2) == 0
    assert time.monotonic() - start < 0.15
    gate.set()


def test_a_source_that_comes_back_after_a_long_wait_is_read_soon():
    answers = iter([Unavailable("S3 is away"), 7])

    def read():
        answer = next(answers)
        time.sleep(0.2)
        if isinstance(answer, Exception):
            raise answer
        return answer

    value = Watched(read, first=0, seconds=0.01)
    start = time.monotonic()
    wait_for(lambda: value.look() == 7)
    assert time.monotonic() - start < 1.5, "not ten times what the failed read took"


def test_the_thread_ends_when_nobody_looks_and_comes_back(monkeypatch):
    monkeypatch.setattr(watched, "IDLE_S", 0.05)
    reads = []
    value = Watched(lambda: reads.append(1), first=None, seconds=0.02)
    value.look()
    wait_for(lambda: not value._thread.is_alive())
    before = len(reads)
    time.sleep(0.1)
    assert len(reads) == before
    value.look()
    wait_for(lambda: len(reads) > before)


def test_many_who_look_at_once_are_served_by_one_reader():
    running, most = [], []

    def read():
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()

    value = Watched(read, first=None, seconds=0.001)
    threads = [threading.Thread(target=value.look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
