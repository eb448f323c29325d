"""Damage to any file of the home: a verified release boots, and one contact with the server repairs everything."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from ota_server import OtaServer, accept, reject

from sim2edge.edge.bundle import open_bundle
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Slot, Step
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.storage.home import RuntimeFolder, keep_token, read_token
from sim2edge.edge.storage.rebuild import read_link, read_marker
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.storage.state_file import NAMES, decode


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def make_folder(path: Path) -> None:
    remove(path)
    path.mkdir()
    (path / "inside").write_text("?")


def make_huge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(2**40)


def make_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "missing": remove,
    "folder": make_folder,
    "huge": make_huge,
    "pipe": make_pipe,
    "loop": make_loop,
    "unreadable": lambda path: path.chmod(0),
}


@pytest.fixture
def server(bus, tmp_path, members):
    server = OtaServer(bus, tmp_path / "server", members)
    server.publish("r1", ring="other")
    server.publish("r1")
    return server


@pytest.fixture
def home(server, tmp_path):
    """The home of a device that runs r2 from slot b, with r1 in slot a; its root was rotated once."""
    updater, slots = server.device(tmp_path / "home")
    updater.update()
    accept(slots)
    key = server.repository.trusted_root().signed.roles["targets"].keyids[0]
    server.repository.rotate_root([f"targets-{key[:8]}"])
    server.publish("r2")
    updater.update()
    accept(slots)
    keep_token(slots.home, RuntimeFolder(slots.home))
    updater.update()
    slots.check()
    slots.write_status("{}\n")
    return slots.home


def open_device(server: OtaServer, home: Path) -> tuple[OtaUpdater, Slots]:
    """A device as it starts, without the root that it was once given."""
    slots = Slots(home)
    slots.keep(partial(keep_token, home, RuntimeFolder(home)))
    return OtaUpdater(server.bus, "canary", slots), slots


def boot(slots: Slots) -> Slot | None:
    """The slot that the agent would start, each verified before."""
    while (slot := trial.boots(slots.state, slots.damaged)) is not None:
        if not slots.verify(slot):
            return slot
    return None


def targets(home: Path) -> list[Path]:
    """What can be damaged: all files, and the folders that hold them."""
    paths = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(paths) > 20
    return sorted([*paths, *(home / name for name in ("slots", "roots", "metadata", "staging", "slots/a", "slots/b"))])


def check_repaired(server: OtaServer, home: Path, what: str) -> None:
    """A device with that home boots something verified, and is whole after one check."""
    updater, slots = open_device(server, home)
    slot = boot(slots)
    assert slot or what.endswith(": slots"), what
    if slot:
        open_bundle(slots.folder(slot))
    slots.check()
    assert updater.update().step is Step.KEEP, what
    slots.check()
    assert slots.faults == {}, what
    _, again = open_device(server, home)
    assert boot(again) == "b", what
    assert (again.state.active, again.state.proven, again.state.bans) == ("b", frozenset("ab"), ()), what
    assert [slot for slot in again.state.slots if again.verify(slot)] == [], what
    assert {slot: held.release for slot, held in again.state.slots.items()} == {"a": "r1", "b": "r2"}, what
    for name in NAMES:
        decode((home / name).read_bytes())
    assert len(again.roots.chain()) == 2, what
    assert read_token(home), what
    for slot, held in again.state.slots.items():
        assert read_marker(home / "slots", slot) == held.sha256, what
    assert read_link(home / "current") == "b", what


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES if name != "flipped")]
)
def test_any_one_damage_is_repaired(server, home, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    worn = tmp_path / "worn"
    for path in targets(home):
        if path.is_dir() and damage in ("flipped", "cut", "empty", "huge", "folder"):
            continue
        shutil.rmtree(worn, ignore_errors=True)
        shutil.copytree(home, worn, symlinks=True)
        DAMAGES[damage](worn / path.relative_to(home))
        check_repaired(server, worn, f"{damage}: {path.relative_to(home)}")


def test_damage_to_both_slots_is_repaired_by_the_server(server, home):
    for slot in ("a", "b"):
        flip(home / "slots" / slot / "model.onnx")
    updater, slots = open_device(server, home)
    assert boot(slots) is None
    updater.update()
    assert boot(slots) == "b"
    assert slots.verify("a") == ""
    assert slots.state.bans == ()


def test_a_damaged_release_that_the_server_lost_is_given_up_when_there_is_another(server, home):
    server.publish("r2", ring="other")
    server.bus.delete([server.key(".r1.tar")])
    flip(home / "slots" / "a" / "model.onnx")
    updater, slots = open_device(server, home)
    slots.check()
    updater.update()
    assert list(slots.state.slots) == ["b"]
    assert slots.faults == {}
    assert boot(slots) == "b"


def test_a_new_release_goes_into_the_damaged_slot_not_over_the_whole_one(server, home):
    server.publish("r3")
    server.bus.delete([server.key(".r2.tar")])
    flip(home / "slots" / "b" / "model.onnx")
    updater, slots = open_device(server, home)
    assert boot(slots) == "a"
    assert updater.update().step is Step.INSTALL
    assert {slot: held.release for slot, held in slots.state.slots.items()} == {"a": "r1", "b": "r3"}
    assert (slots.state.active, slots.state.trial.slot) == ("a", "b")


def test_a_good_release_is_not_given_up_for_one_that_failed_its_trial(server, home):
    """Its detector runs on from memory: whatever hinders the repair, the guilty one must not take over."""
    server.publish("r3")
    updater, slots = open_device(server, home)
    updater.update()
    reject(slots)
    assert (slots.state.active, slots.state.proven) == ("b", {"b"})
    server.bus.delete([server.key(".r2.tar")])
    flip(home / "slots" / "b" / "model.onnx")
    slots.check()
    assert updater.update().step is Step.HOLD
    assert (slots.state.active, slots.state.slots["b"].release) == ("b", "r2")


def test_a_full_disk_is_no_reason_to_give_up_a_damaged_release(server, home, monkeypatch):
    flip(home / "slots" / "b" / "model.onnx")
    updater, slots = open_device(server, home)
    slots.check()
    monkeypatch.setattr(slots, "free_bytes", lambda: 0)
    updater.update()
    assert set(slots.state.slots) == {"a", "b"}
    monkeypatch.undo()
    updater.update()
    assert slots.faults == {}


def test_a_release_on_offer_whose_slot_rots_again_and_again_is_neither_installed_anew_nor_tried(server, home):
    updater, slots = open_device(server, home)
    for _ in range(3):
        flip(home / "slots" / "b" / "model.onnx")
        slots.check()
        assert updater.update().step is Step.KEEP
    assert list(slots.faults) == ["slot b"], "it waits before it is fetched again"
    assert (slots.state.active, slots.state.trial, slots.state.proven) == ("b", None, {"a", "b"})


def test_a_card_that_forgets_at_once_is_not_written_to_without_end(server, home, monkeypatch):
    updater, slots = open_device(server, home)
    for _ in range(2):
        flip(home / "slots" / "a" / "model.onnx")
        slots.check()
        updater.update()
        assert slots.faults == {}
    flip(home / "slots" / "a" / "model.onnx")
    slots.check()
    updater.update()
    assert list(slots.faults) == ["slot a"]


def make_earlier(server: OtaServer, home: Path) -> None:
    """Make the home one that an earlier agent left: no seals, no marks, one copy of the state."""
    held = Slots(home).state.slots
    for path in [*home.glob("slots/*.seal"), *home.glob("slots/*.proven"), *home.glob("state-*"), home / "roots"]:
        remove(path)
    slots = {slot: {"release": each.release, "sha256": each.sha256} for slot, each in held.items()}
    was = {"slots": slots, "active": "b", "trial": None, "failures": []}
    (home / "state.json").write_text(json.dumps(was))
    for name in ("downloads", "targets"):
        (home / name).mkdir()
        (home / name / "r2.tar").write_bytes(bytes(1000))


def test_a_home_of_an_earlier_agent_is_taken_over(server, home):
    make_earlier(server, home)
    _, slots = open_device(server, home)
    assert boot(slots) == "b"
    assert not (home / "state.json").exists()
    assert (home / "slots" / "b.seal").exists()
    assert not (home / "downloads").exists()
    assert not (home / "targets").exists()


def test_an_earlier_agent_was_rolled_back_its_release_still_runs_without_the_server(server, home):
    """The metadata that it stored names what the ring offered, not what it runs."""
    server.publish("r3")
    server.publish("r3", ring="other")
    OtaUpdater(server.bus, "canary", Slots(home)).check()
    make_earlier(server, home)
    _, slots = open_device(server, home)
    assert boot(slots) == "b"
    assert slots.verify("a") == ""
    assert slots.state.proven == {"b"}
    for name in NAMES:
        flip(home / name)
    _, again = open_device(server, home)
    assert (boot(again), again.state.active) == ("b", "b"), "also with both copies of the state lost"


@pytest.mark.parametrize("name", ["model.onnx", "release.json"])
def test_a_release_taken_over_that_is_damaged_later_does_not_run(server, home, name):
    server.publish("r3")
    server.publish("r3", ring="other")
    OtaUpdater(server.bus, "canary", Slots(home)).check()
    make_earlier(server, home)
    open_device(server, home)
    flip(home / "slots" / "b" / name)
    updater, slots = open_device(server, home)
    assert boot(slots) == "a"
    assert updater.update().step is Step.INSTALL
    assert {slot: held.release for slot, held in slots.state.slots.items()} == {"a": "r1", "b": "r3"}
    assert not (home / "slots" / "b.earlier").exists()
    assert boot(slots) == "b"


def test_a_slot_that_was_damaged_before_it_was_taken_over_does_not_run(server, home):
    server.publish("r3")
    server.publish("r3", ring="other")
    OtaUpdater(server.bus, "canary", Slots(home)).check()
    make_earlier(server, home)
    flip(home / "slots" / "b" / "model.onnx")
    _, slots = open_device(server, home)
    assert boot(slots) == "a"


def test_a_slot_that_stays_damaged_is_not_wanted_again_after_each_check(server, home):
    flip(home / "slots" / "b" / "model.onnx")
    _, slots = open_device(server, home)
    assert boot(slots) == "a"
    slots.check()
    slots.problems()
    assert slots.damaged == {"b"}


def test_the_budgets_of_a_release_count_while_its_files_rot(server, home):
    _, slots = open_device(server, home)
    slots.verify("b")
    budgets = slots.budgets("b")
    assert budgets.memory_mb
    flip(home / "slots" / "b" / "model.onnx")
    slots.verify("b")
    assert slots.budgets("b") == budgets
    assert slots.budgets("a").memory_mb is None
