"""Another attempt at a release that failed: asked for at the device, or signed in the ring's file."""

import errno
import json
import os
import signal
import threading

import pytest
from ota_server import accept, reject

from sim2edge.edge import device
from sim2edge.edge import unban as unban_module
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.pi import launcher
from sim2edge.edge.storage.home import RuntimeFolder, lock_home
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.unban import find_hashes, held_releases, leave_request, take_requests, unban
from sim2edge.errors import BadInput


@pytest.fixture
def banned(server, tmp_path, monkeypatch):
    """A device that runs r1, and has banned r2, which its ring offers."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    updater, slots = server.device(tmp_path / "home")
    updater.update()
    accept(slots)
    server.publish("r2")
    updater.update()
    reject(slots, "2 of 20 inferences failed: shapes differ")
    return updater, slots


def test_a_ban_holds_and_tells_its_reason(banned):
    update = banned[0].update()
    assert (update.step, update.reason) == (Step.HOLD, "failed: 2 of 20 inferences failed: shapes differ")


def test_the_ring_asks_for_another_attempt(server, banned):
    updater, slots = banned
    assert server.repository.unban("canary") == "r2"
    update = updater.update()
    assert update.step is Step.RETRY
    assert update.offer.attempt > 0
    reject(slots)
    assert updater.update().step is Step.HOLD
    server.repository.unban("canary")
    assert updater.update().step is Step.RETRY


def test_another_attempt_is_for_this_ring_and_this_release_only(server, banned):
    updater, _ = banned
    server.publish("r2", ring="other")
    server.repository.unban("other")
    assert updater.update().step is Step.HOLD
    server.repository.unban("canary")
    server.publish("r3")
    server.publish("r2")
    assert updater.update().step is Step.HOLD


def test_publishing_the_same_release_again_keeps_the_request(server, banned):
    server.repository.unban("canary")
    server.publish("r2")
    assert banned[0].update().step is Step.RETRY


def test_a_ring_without_a_release_has_nothing_to_lift(server):
    with pytest.raises(BadInput, match="ring 'none' has no release"):
        server.repository.unban("none")


@pytest.mark.parametrize("words", [["r2"], ["--all"]])
def test_the_command_lifts_a_ban_while_no_agent_runs(banned, capsys, words):
    _, slots = banned
    sha256 = slots.state.bans[0].installed.sha256
    assert device.main(["unban", "--home", str(slots.home), *words]) == 0
    assert capsys.readouterr().out == f"may be tried again: {sha256}\n"
    assert Slots(slots.home).state.bans == ()
    assert unban(slots.home, None) == []


def test_a_release_is_also_named_by_its_hash(banned):
    _, slots = banned
    sha256 = slots.state.bans[0].installed.sha256
    assert unban(slots.home, sha256[:8]) == [sha256]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["r7"], r"release 'r7' is not held back on this device; those that are: r2 \(\w{12}\)"),
        ([""], "release '': give its id"),
        ([], "give a release"),
        (["r2", "--all"], "give a release"),
    ],
)
def test_what_cannot_be_lifted_is_named(banned, words, message):
    with pytest.raises(BadInput, match=message):
        device.main(["unban", "--home", str(banned[1].home), *words])


def test_a_running_agent_takes_the_request(banned):
    updater, slots = banned
    lock_home(slots.home)
    runtime = RuntimeFolder(slots.home)
    stop = threading.Event()

    def agent() -> None:
        while not stop.wait(0.02):
            take_requests(slots, runtime, lambda _: None)

    thread = threading.Thread(target=agent)
    thread.start()
    try:
        assert len(unban(slots.home, "r2")) == 1
    finally:
        stop.set()
        thread.join()
    assert slots.state.bans == ()
    assert updater.update().step is Step.RETRY


@pytest.mark.parametrize("content", [b"", b"[]", b'{"unban": 7}'])
def test_a_request_that_is_none_is_removed(banned, content):
    _, slots = banned
    path = leave_request(slots.home, RuntimeFolder(slots.home), [])
    path.write_bytes(content)
    take_requests(slots, RuntimeFolder(slots.home), lambda _: None)
    assert not path.exists()
    assert len(slots.state.bans) == 1


def test_a_request_that_cannot_be_removed_lifts_no_later_ban(banned, monkeypatch):
    slots, runtime = banned[1], RuntimeFolder(banned[1].home)
    (slots.home / unban_module.REQUEST).write_text(json.dumps({"unban": [slots.state.bans[0].installed.sha256]}))

    def refuse(_path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(unban_module, "remove_any", refuse)
    assert not take_requests(slots, runtime, lambda _: None)
    assert slots.state.bans
    monkeypatch.undo()
    assert take_requests(slots, runtime, lambda _: None)
    assert not slots.state.bans


def test_no_name_is_not_all(banned):
    with pytest.raises(BadInput, match="or --all"):
        find_hashes(held_releases(banned[1].state), "")


def test_signals_are_heeded_on_whatever_a_request_holds():
    """A request that is nested too deeply, or no memory to read it, must not make the agent deaf."""
    errors = iter([RecursionError("maximum recursion depth exceeded"), MemoryError(), OSError(5, "Input/output error")])
    stop, hurried, asked = threading.Event(), [], [signal.SIGHUP]

    def take() -> bool:
        for error in errors:
            raise error
        asked.append(signal.SIGTERM)
        return False

    device.heed(asked, take, stop, lambda: hurried.append(1))
    assert hurried == [1]
    assert stop.is_set()


@pytest.fixture
def banned_agent(banned):
    """A device that has banned an agent as well."""
    agents = banned[1].home / "agents"
    agents.mkdir()
    agent = launcher.Agent("2.0", "5f1e" * 16, "f" * 64)
    launcher.write_record(agents, launcher.hold(launcher.Record(), agent, "it crashed", 4e9, own_fault=True))
    return agents


@pytest.mark.parametrize("name", ["2.0", "5f1e"])
def test_the_ban_of_an_agent_is_lifted_by_its_version_or_hash_and_releases_stay_banned(banned, banned_agent, name):
    _, slots = banned
    assert unban(slots.home, name) == ["5f1e" * 16]
    assert launcher.read_record(banned_agent).failures == ()
    assert len(Slots(slots.home).state.bans) == 1


def test_a_running_agent_hears_which_agents_may_be_tried_again(banned, banned_agent):
    _, slots = banned
    leave_request(slots.home, RuntimeFolder(slots.home), ["5f1e" * 16])
    heard: list[str] = []
    assert take_requests(slots, RuntimeFolder(slots.home), heard.extend)
    assert heard == ["5f1e" * 16]
