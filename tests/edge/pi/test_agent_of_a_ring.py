"""The agent that a ring names, from the server to the slot, and what the running agent makes of it."""

import socket
import threading
import time
from pathlib import Path

import pytest
from ota_server import OtaServer
from robot import Robot
from tuf.api.metadata import TargetFile

from sim2edge.edge.pi.self_update import SelfUpdate
from sim2edge.edge.storage.staging import download
from sim2edge.edge.supervision.notify import Systemd
from sim2edge.errors import BadInput
from sim2edge.push.agents import read_agent

from .packed_agent import packed
from .test_self_update import MACHINE

OTHER = "x86_64" if MACHINE == "aarch64" else "aarch64"


def agents_of(server: OtaServer, folder: Path) -> SelfUpdate:
    (folder / "agents").mkdir(parents=True, exist_ok=True)
    return SelfUpdate(folder / "agents", "factory", "", lambda target, part: download(server.bus, target, part))


def test_a_device_finds_the_agent_for_its_machine_downloads_it_and_puts_it_on_trial(server, tmp_path):
    updater, _ = server.device(tmp_path / "home")
    updater.check()
    assert updater.agent is None
    server.repository.publish_agent("canary", read_agent(packed(tmp_path, "3.0", arch=OTHER)))
    updater.check()
    assert updater.agent is None
    server.repository.publish_agent("canary", read_agent(packed(tmp_path, "2.0", arch=MACHINE)))
    updater.check()
    assert updater.agent.path == f"agents/2.0-{MACHINE}.tar.zst"
    assert agents_of(server, tmp_path / "home").follow(updater.agent)


def test_a_download_goes_on_where_it_ended_and_bytes_that_were_not_signed_leave_nothing(server, tmp_path):
    server.repository.publish_agent("canary", read_agent(packed(tmp_path, "2.0", arch=MACHINE)))
    updater, _ = server.device(tmp_path / "home")
    updater.check()
    key, part = server.key("agents/"), tmp_path / "part"
    whole = server.bus.get(key)
    for begun in (whole[:100], b"torn by a power cut"):
        part.write_bytes(begun)
        download(server.bus, updater.agent, part)
        assert part.read_bytes() == whole
        part.unlink()
    server.bus.put(key, whole[:-1] + b"!")
    with pytest.raises(BadInput, match="not those that were signed"):
        download(server.bus, updater.agent, part)
    assert not part.exists()


class Follower:
    """Agents that take whatever they are given."""

    message, status = "", {"slot": "a", "version": "2.0", "failed": None}

    def __init__(self) -> None:
        self.done: list[str] = []

    def confirm(self) -> None:
        self.done.append("confirm")

    def follow(self, target: TargetFile) -> bool:
        self.done.append(f"follow {target.path}")
        return True


def test_the_agent_ends_for_another_once_it_reached_the_server(tmp_path, members, bus):
    robot, stop = Robot(tmp_path, members, bus), threading.Event()
    robot.agent._agents = follower = Follower()
    robot.server.agent = TargetFile(1, {"sha256": "0"}, "agents/2.0")
    robot.agent._update_agent(stop)
    assert (follower.done, stop.is_set()) == ([], False)
    robot.server.update()
    robot.agent._update_agent(stop)
    assert (follower.done, stop.is_set()) == (["confirm", "follow agents/2.0"], True)
    assert robot.agent.status()["agent"] == follower.status


def test_the_agent_confirms_itself_at_its_first_contact_though_the_download_after_it_takes_hours(
    tmp_path, members, bus
):
    robot = Robot(tmp_path, members, bus)
    robot.agent._agents = follower = Follower()
    robot.agent.try_tick()
    assert follower.done == []
    robot.server.last_contact = time.monotonic()  # `OtaUpdater.update` is in the middle of its download
    robot.agent.try_tick()
    assert robot.agent._confirming
    assert robot.agent._confirming.ready(10.0)
    assert follower.done == ["confirm"]


def test_an_agent_whose_rounds_fail_does_not_confirm_itself(tmp_path, members, bus, monkeypatch):
    robot = Robot(tmp_path, members, bus)
    robot.agent._agents = follower = Follower()
    robot.server.last_contact = time.monotonic()
    monkeypatch.setattr(robot.agent, "tick", lambda: 1 / 0)
    robot.agent.try_tick()
    assert follower.done == []


def test_an_agent_does_not_end_in_the_middle_of_a_releases_trial(tmp_path, members, bus):
    robot, stop = Robot(tmp_path, members, bus), threading.Event()
    robot.agent._agents = follower = Follower()
    robot.server.agent = TargetFile(1, {"sha256": "0"}, "agents/2.0")
    robot.offer("r1")
    robot.server.update()
    robot.agent._update_agent(stop)
    assert (follower.done, stop.is_set()) == ([], False)


def test_systemd_hears_of_an_agent_that_gets_on_and_nothing_of_one_whose_rounds_fail(tmp_path, members, bus):
    robot = Robot(tmp_path, members, bus)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        heard = []
        for fault in (None, RuntimeError("broken")):
            robot.agent._systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"})
            if fault:
                robot.agent.tick = lambda fault=fault: (_ for _ in ()).throw(fault)
            stop = threading.Event()
            threading.Timer(1.0, stop.set).start()
            robot.agent.run(stop)
            lines: list[str] = []
            while "STOPPING=1" not in lines:
                lines += manager.recv(1000).decode().splitlines()
            heard.append(lines)
    assert heard[0][0] == "READY=1"
    assert heard[0].count("WATCHDOG=1") >= 3
    assert set(heard[1]) & {"READY=1", "WATCHDOG=1"} == set()
