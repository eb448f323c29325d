"""The home folder: what survives restarts, damage and a full disk."""

import errno
import os

import pytest

from sim2edge.edge import slots as slots_module
from sim2edge.edge import trial
from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.edge.slots import Slots
from sim2edge.edge.trial import Installed

R1, R2 = Installed("r1", "11"), Installed("r2", "22")


def put_on_trial(slots: Slots, installed: Installed) -> None:
    slots.empty_free_slot()
    slots.apply(lambda state: trial.begin(state, installed))


def test_the_state_survives_a_restart(tmp_path):
    slots = Slots(tmp_path)
    put_on_trial(slots, R1)
    slots.apply(trial.accept)
    assert Slots(tmp_path).state == slots.state
    assert (tmp_path / "current").readlink().name == "a"


def test_the_link_follows_the_state_and_is_mended_at_the_start(tmp_path):
    slots = Slots(tmp_path)
    put_on_trial(slots, R1)
    slots.apply(trial.accept)
    put_on_trial(slots, R2)
    assert (tmp_path / "current").readlink().name == "b"
    slots.apply(trial.withdraw)
    assert (tmp_path / "current").readlink().name == "a"
    (tmp_path / "current").unlink()
    Slots(tmp_path)
    assert (tmp_path / "current").readlink().name == "a"


def test_a_slot_is_forgotten_before_it_is_emptied(tmp_path):
    slots = Slots(tmp_path)
    put_on_trial(slots, R1)
    slots.apply(trial.accept)
    put_on_trial(slots, R2)
    slots.apply(trial.withdraw)
    slots.folder("b").mkdir()
    folder = slots.empty_free_slot()
    assert folder == slots.folder("b")
    assert not folder.exists()
    assert Slots(tmp_path).state.slots == {"a": R1}


def test_with_a_damaged_state_file_the_device_runs_on_with_the_linked_slot(tmp_path, members):
    slots = Slots(tmp_path)
    write_bundle(tmp_path / "bundle.tar", members(release="r1"))
    unpack_bundle(tmp_path / "bundle.tar", slots.empty_free_slot())
    put_on_trial_without_emptying = Installed("r1", "11")
    slots.apply(lambda state: trial.begin(state, put_on_trial_without_emptying))
    slots.apply(trial.accept)
    (tmp_path / "state.json").write_bytes(b"\0" * 100)
    state = Slots(tmp_path).state
    assert trial.running(state) == Installed("r1", "")
    (slots.folder("a") / "model.onnx").write_bytes(b"damaged as well")
    assert trial.boots(Slots(tmp_path).state) is None


def test_on_a_full_disk_a_trial_still_ends_but_none_begins(tmp_path, monkeypatch):
    slots = Slots(tmp_path)
    put_on_trial(slots, R1)
    slots.apply(trial.accept)
    put_on_trial(slots, R2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(slots_module, "write_durably", full)
    slots.apply(lambda state: trial.reject(state, "bad"), must_last=False)
    assert trial.running(slots.state) == R1
    with pytest.raises(OSError, match="No space left"):
        slots.empty_free_slot()
    assert slots.state.slots["b"] == R2
