"""What systemd hears of an agent: ready once, a sign of life while it gets on, nothing once it hangs."""

import os
import socket

import pytest

from sim2edge.edge.supervision.notify import Beats, Systemd, watchdog_s


def test_ready_comes_with_the_first_round_that_goes_well_and_once():
    beats = Beats(None)
    assert beats.lines(False, "starting", 0) == ["STATUS=starting"]
    assert beats.lines(True, "running", 1) == ["READY=1", "STATUS=running"]
    assert beats.lines(True, "running", 2) == []


def test_signs_of_life_come_in_time_and_stop_with_the_first_round_that_fails():
    beats = Beats(60.0)
    sent = [second for second in range(120) if "WATCHDOG=1" in beats.lines(True, "running", second)]
    assert sent == [0, 15, 30, 45, 60, 75, 90, 105]
    assert all(beats.lines(False, "running", second) == [] for second in range(120, 400))
    assert "WATCHDOG=1" in beats.lines(True, "running", 400)


def test_a_status_is_one_short_line():
    assert Beats(None).lines(False, "a\nREADY=1 " + "x" * 500, 0) == ["STATUS=a READY=1 " + "x" * 190]


@pytest.mark.parametrize("abstract", [False, True])
def test_lines_arrive_at_the_socket_that_systemd_names(abstract, tmp_path):
    name = f"@sim2edge-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"})
        systemd.beat(well=True, status="running")
        systemd.stopping()
        assert manager.recv(1000).decode().splitlines() == ["READY=1", "WATCHDOG=1", "STATUS=running"]
        assert manager.recv(1000) == b"STOPPING=1"


def test_a_manager_that_does_not_listen_stops_nobody(tmp_path):
    Systemd({}).beat(well=True, status="running")
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).beat(well=True, status="running")
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(path))
        systemd = Systemd({"NOTIFY_SOCKET": str(path)})
        for number in range(2000):
            systemd.beat(well=True, status=str(number))


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdogs_time_is_that_of_this_process(variables, seconds):
    assert watchdog_s(variables) == seconds
