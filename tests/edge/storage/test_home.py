"""The home folder as a place: one agent, a token, and what becomes of both on a disk that takes nothing."""

import errno
import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ota_server import accept

from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.storage import home as home_module
from sim2edge.edge.storage.disk import disk_fault
from sim2edge.edge.storage.home import RuntimeFolder, is_locked, keep_token, lock_home, read_token
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.supervision.local_status import read_status
from sim2edge.errors import BadInput


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the one in memory."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    return folder


@pytest.fixture
def mounted(tmp_path) -> Iterator[Path]:
    """A small file system of its own, where mounting is permitted."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, timeout=20)
    except OSError as error:
        pytest.skip(f"mount: {error}")
    if made.returncode:
        pytest.skip(f"mounting is not permitted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=20)


def make_read_only(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True, timeout=20)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_one_agent_a_home(tmp_path):
    assert not is_locked(tmp_path / "home")
    lock = lock_home(tmp_path / "home")
    assert is_locked(tmp_path / "home")
    with pytest.raises(BadInput, match="a device is running there already"):
        lock_home(tmp_path / "home")
    os.close(lock)
    assert not is_locked(tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []
    os.close(lock_home(tmp_path / "home"))


def test_a_home_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("?")
    with pytest.raises(BadInput, match=r"file: cannot be the home of a device: File exists"):
        lock_home(tmp_path / "file")


def test_the_token_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    runtime = RuntimeFolder(tmp_path)
    assert keep_token(tmp_path, runtime) == tmp_path
    token = read_token(tmp_path)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    keep_token(tmp_path, runtime)
    assert read_token(tmp_path) == token


@pytest.mark.parametrize("content", [b"", b"\0" * 44, b"x" * 5000, b"short"])
def test_a_damaged_token_is_replaced(tmp_path, content):
    (tmp_path / "token").write_bytes(content)
    keep_token(tmp_path, RuntimeFolder(tmp_path))
    assert len(read_token(tmp_path)) > 40


def test_where_the_home_takes_no_token_it_is_kept_in_memory_until_it_does(tmp_path, monkeypatch, memory):
    home = tmp_path / "home"
    home.mkdir()
    with monkeypatch.context() as patch:
        write = home_module.write_durably
        patch.setattr(
            home_module,
            "write_durably",
            lambda path, *rest, **more: refuse() if path.parent == home else write(path, *rest, **more),
        )
        folder = keep_token(home, RuntimeFolder(home))
        assert folder.parent == memory
        assert keep_token(home, RuntimeFolder(home)) == folder
    token = read_token(folder)
    assert keep_token(home, RuntimeFolder(home)) == home
    assert read_token(home) == token


def test_no_second_agent_runs_beside_one_that_locks_a_file_as_earlier_ones_did(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with (home / "lock").open("w") as earlier:
        fcntl.flock(earlier, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BadInput, match="a device is running there already"):
            lock_home(home)
    os.close(lock_home(home))
    assert not (home / "lock").exists()
    (home / "lock").symlink_to("lock")
    os.close(lock_home(home))


def test_a_folder_in_memory_is_found_without_writing_anywhere(tmp_path, memory, monkeypatch):
    """A folder for temporary files on a card that takes nothing must not keep it from being found."""
    monkeypatch.setattr("tempfile.gettempdir", refuse)
    monkeypatch.setattr("tempfile._get_default_tempdir", refuse)
    runtime = RuntimeFolder(tmp_path)
    assert runtime.make().parent == memory
    assert runtime.existing() == [runtime.make()]


def test_a_folder_in_memory_that_others_may_use_is_not_taken(tmp_path, memory, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    runtime = RuntimeFolder(tmp_path)
    made = runtime.make()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o777)
    assert made not in runtime.existing()
    made.rmdir()
    made.symlink_to(tmp_path)
    assert made not in runtime.existing()
    (tmp_path / "other").mkdir()
    assert RuntimeFolder(tmp_path / "other").make() != made


def test_the_newest_status_is_shown_wherever_it_was_written(tmp_path):
    with pytest.raises(BadInput, match="no device has run here"):
        read_status(tmp_path)
    slots = Slots(tmp_path, RuntimeFolder(tmp_path).make)
    slots.write_status('{"message": "old", "port": null}')
    os.utime(tmp_path / "status.json", (1, 1))
    folder = RuntimeFolder(tmp_path).make()
    (folder / "status.json").write_text('{"message": "new", "port": null}')
    assert read_status(tmp_path) == {"message": "new", "port": None, "state": "stopped"}


# Real file systems


def test_on_a_read_only_card_the_device_starts_finds_its_release_and_says_so(server, mounted, memory):
    home = mounted / "home"
    updater, slots = server.device(home)
    updater.update()
    accept(slots)
    make_read_only(mounted)

    lock = lock_home(home)
    updater, slots = server.device(home)
    assert slots.verify(trial.boots(slots.state)) == ""
    slots.check()
    assert slots.faults == {"disk": "read-only file system"}
    token = keep_token(home, RuntimeFolder(home))
    assert read_token(token)
    assert token.parent == memory
    assert updater.update().step is Step.KEEP
    assert updater.last_contact is not None
    server.publish("r2")
    with pytest.raises(BadInput, match="update refused: read-only file system"):
        updater.update()
    slots_with_memory = Slots(home, RuntimeFolder(home).make)
    slots_with_memory.write_status('{"message": "runs", "port": null}')
    assert read_status(home)["message"] == "runs"
    os.close(lock)


def test_a_trial_under_way_when_the_card_becomes_read_only_ends_in_memory(server, mounted):
    home = mounted / "home"
    updater, slots = server.device(home)
    updater.update()
    make_read_only(mounted)
    accept_in_memory = trial.Subject("a", slots.state.slots["a"], 1, slots.state.trial.number)
    slots.apply(lambda state: trial.accept(state, accept_in_memory), must_last=False)
    assert slots.state.active == "a"
    assert slots.faults["disk"] == "read-only file system"


def test_on_a_full_card_the_device_starts_and_an_update_is_refused(server, mounted):
    home = mounted / "home"
    updater, slots = server.device(home)
    updater.update()
    accept(slots)
    fill(mounted / "filling")
    updater, slots = server.device(home)
    assert slots.verify(trial.boots(slots.state)) == ""
    assert disk_fault(home) == "no space left on device"
    slots.check()
    assert slots.faults == {"disk": "no space left on device"}
    assert updater.update().step is Step.KEEP
    server.publish("r2")
    with pytest.raises(BadInput, match=r"no space left on device|needs .* MB of disk"):
        updater.update()
    assert slots.verify(trial.boots(slots.state)) == ""
    (mounted / "filling").unlink()
    assert updater.update().step is Step.INSTALL
    slots.check()
    assert slots.faults == {}


def test_a_place_in_memory_that_is_hidden_is_passed_over(tmp_path, memory, monkeypatch):
    """systemd's ProtectHome= hides /run/user from a service."""
    look = os.stat

    def hide(path, *how, **more):
        if str(path).startswith("/run/user"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, *how, **more)

    monkeypatch.setattr(os, "stat", hide)
    runtime = RuntimeFolder(tmp_path)
    assert runtime.make().parent == memory
    assert runtime.existing() == [runtime.make()]
