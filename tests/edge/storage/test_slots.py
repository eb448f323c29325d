"""The home folder: what survives restarts, a lost state and a full disk."""

import errno
import os
import shutil
import threading
import time

import pytest
from ota_server import OtaServer, accept, reject, subject

from sim2edge.edge.judgement import trial
from sim2edge.edge.storage import slots as slots_module
from sim2edge.edge.storage import state_file
from sim2edge.edge.storage.slots import Slots


@pytest.fixture
def home(server, tmp_path):
    """The home of a device that has r1 in slot a, good, and r2 in slot b, on trial."""
    updater, slots = server.device(tmp_path / "home")
    updater.update()
    accept(slots)
    server.publish("r2")
    updater.update()
    slots.check()
    return slots.home


def lose_state(home) -> None:
    for name in state_file.NAMES:
        (home / name).write_bytes(b"\0" * 100)


def releases(slots: Slots) -> dict[str, str]:
    return {slot: held.release for slot, held in slots.state.slots.items()}


def test_the_state_survives_a_restart(home):
    slots = Slots(home)
    assert releases(slots) == {"a": "r1", "b": "r2"}
    accept(slots)
    assert Slots(home).state == slots.state
    assert (home / "current").readlink().name == "b"


def test_the_link_follows_the_state_and_is_repaired_at_the_start(home):
    assert (home / "current").readlink().name == "b"
    reject(Slots(home))
    assert (home / "current").readlink().name == "a"
    (home / "current").unlink()
    (home / "current").mkdir()
    Slots(home)
    assert (home / "current").readlink().name == "a"


def test_with_both_copies_lost_the_slots_tell_what_is_good_and_what_is_on_trial(home):
    lose_state(home)
    state = Slots(home).state
    assert {slot: held.release for slot, held in state.slots.items()} == {"a": "r1", "b": "r2"}
    assert (state.proven, state.active, state.trial) == (frozenset("a"), "a", None)
    assert trial.free_slot(state) == "b"


def test_with_both_copies_lost_the_slot_that_ran_runs_again(home):
    accept(Slots(home))
    lose_state(home)
    state = Slots(home).state
    assert (state.proven, state.active) == (frozenset("ab"), "b")


def test_with_both_copies_lost_an_untested_release_is_on_trial(server, tmp_path):
    updater, slots = server.device(tmp_path / "new")
    updater.update()
    lose_state(slots.home)
    state = Slots(slots.home).state
    assert (state.active, state.proven) == (None, frozenset())
    assert state.trial.slot == "a"


def test_with_both_copies_lost_a_damaged_slot_does_not_count(home):
    lose_state(home)
    (home / "slots" / "a" / "model.onnx").write_bytes(b"damaged as well")
    state = Slots(home).state
    assert (list(state.slots), state.trial.slot) == (["b"], "b")


def test_a_marker_of_another_release_proves_nothing(home):
    lose_state(home)
    shutil.copy(home / "slots" / "a.proven", home / "slots" / "b.proven")
    assert Slots(home).state.proven == frozenset("a")


def test_files_altered_together_with_their_release_json_are_noticed(home, members):
    other = members(release="r1", recipe="mine")
    for name, data in other.items():
        (home / "slots" / "a" / name).write_bytes(data)
    slots = Slots(home)
    assert slots.verify("a") == "a/release.json: not what was signed"
    assert slots.damaged == {"a"}


def test_a_whole_slot_of_another_release_is_noticed(home):
    for name in ("a", "a.seal"):
        (home / "slots" / name).rename(home / "slots" / f"{name}.away")
        (home / "slots" / name.replace("a", "b", 1)).rename(home / "slots" / name)
    assert Slots(home).verify("a") == "a.seal: it is the seal of another release than r1"


def test_a_seal_signed_by_a_stranger_is_noticed(bus, home, tmp_path, members):
    lose = bus.list("ota")
    bus.delete(list(lose))
    stranger = OtaServer(bus, tmp_path / "stranger", members)
    stranger.publish("r1")
    updater, slots = stranger.device(tmp_path / "other")
    updater.update()
    shutil.copy(slots.seal("a"), home / "slots" / "a.seal")
    assert Slots(home).verify("a") == "a.seal: not signed by a key that this device trusts"


def test_running_out_of_descriptors_is_no_damage(home, monkeypatch):
    slots = Slots(home)

    def short(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(slots_module, "check_slot", short)
    with pytest.raises(OSError, match="Too many open files"):
        slots.verify("a")
    assert slots.damaged == set()
    monkeypatch.undo()
    assert slots.verify("a") == ""


def test_rot_in_a_slot_that_runs_is_noted_but_stops_nothing(home):
    slots = Slots(home)
    slots.check()
    assert slots.faults == {}
    (home / "slots" / "b" / "model.onnx").write_bytes(b"rotten")
    slots.check()
    assert slots.faults == {"slot b": "model.onnx: its SHA-256 is not the one in release.json"}
    assert slots.damaged == set()


def test_the_only_whole_release_is_never_overwritten(home):
    slots = Slots(home)
    assert slots.slot_to_fill() == "b"
    (home / "slots" / "a" / "model.onnx").write_bytes(b"rotten")
    assert slots.slot_to_fill() == "a"


def test_on_a_disk_that_takes_nothing_a_trial_still_ends_and_is_written_later(home, monkeypatch):
    slots = Slots(home)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(state_file, "write_durably", full)
        subject = trial.Subject("b", slots.state.slots["b"], 1, slots.state.trial.number)
        slots.apply(lambda state: trial.reject(state, subject, "bad", slots.now()), must_last=False)
        assert trial.running(slots.state).release == "r1"
        assert slots.faults == {"disk": "no space left on device"}
        with pytest.raises(OSError, match="No space left"):
            slots.apply(lambda state: trial.clear(state, "b"))
        assert "b" in slots.state.slots
        assert Slots(home).state.trial
    slots.check()
    assert slots.faults == {}
    assert Slots(home).state == slots.state


# A card that hangs


class HungCard:
    """Lets every write wait until it is let go."""

    def __init__(self, monkeypatch) -> None:
        self.free = threading.Event()
        real = state_file.write_durably

        def write(path, data, mode=0o644):
            self.free.wait(20)
            real(path, data, mode)

        monkeypatch.setattr(state_file, "write_durably", write)


def test_a_card_that_hangs_does_not_hold_up_the_end_of_a_trial(home, monkeypatch):
    slots = Slots(home)
    about = subject(slots)
    card = HungCard(monkeypatch)
    start = time.monotonic()
    slots.apply(lambda state: trial.reject(state, about, "bad", slots.now()), must_last=False)
    slots.apply(lambda state: trial.ban(state, about.installed, "worse", slots.now()), must_last=False)
    assert time.monotonic() - start < 2
    assert trial.running(slots.state).release == "r1"
    assert Slots(home).state.trial, "not on disk yet"
    card.free.set()
    until(lambda: Slots(home).state == slots.state)
    assert slots.state.bans[0].reason == "worse"


def test_what_is_changed_while_the_disk_is_written_is_not_lost(home, monkeypatch):
    slots = Slots(home)
    about = subject(slots)
    card = HungCard(monkeypatch)
    writer = threading.Thread(target=slots.apply, args=(lambda state: trial.begin(state, "b", about.installed),))
    writer.start()
    slots.apply(lambda state: trial.let_rest(state, about.installed, "no camera", slots.now()), must_last=False)
    card.free.set()
    writer.join(20)
    until(lambda: Slots(home).state == slots.state)
    assert slots.state.rests[0].reason == "no camera"
    assert slots.state.trial.number == 3


def test_a_state_lost_while_the_agent_runs_is_written_again_at_the_next_check(home):
    slots = Slots(home)
    reject(slots)
    lose_state(home)
    slots.check()
    assert Slots(home).state == slots.state


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
