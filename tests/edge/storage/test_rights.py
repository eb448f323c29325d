"""Modes and owners: a home in which the agent, an ordinary user, may not touch something, updates and is whole again.

Modes do not bind root: it becomes another user for the time of a scenario.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from edge.storage.test_damage import boot, remove
from ota_server import OtaServer, accept

from sim2edge.bus import Bus
from sim2edge.edge.judgement.preflight import Preflight, Result
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.storage import folders
from sim2edge.edge.storage.durable import remove_any
from sim2edge.edge.storage.folders import tidy
from sim2edge.edge.storage.rights import MAX_ASIDE
from sim2edge.edge.storage.slots import Slots

USER, STRANGER = 42001, 42002
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")


@contextmanager
def as_user() -> Iterator[None]:
    """Do without the rights of root for a while."""
    if IS_ROOT:
        os.setresuid(USER, USER, 0)
    try:
        yield
    finally:
        if IS_ROOT:
            os.setresuid(0, 0, 0)


def give(path: Path, user: int) -> None:
    """Give a file, or a folder with all that is in it, to a user."""
    for each in (path, *path.rglob("*")) if IS_ROOT else ():
        os.chown(each, user, user, follow_symlinks=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory, members) -> Iterator[tuple[OtaServer, Path]]:
    """A server that offers r3, and the home of a device that runs r2 from slot b, with r1 in slot a."""
    server = OtaServer(Bus.in_memory(), tmp_path_factory.mktemp("server"), members)
    server.publish("r1", ring="other")
    place = Path(tempfile.mkdtemp(prefix="rights-"))
    updater, slots = server.device(place / "good")
    for release in ("r1", "r2"):
        server.publish(release)
        updater.update()
        accept(slots)
    updater.update()
    slots.check()
    server.publish("r3")
    give(place, USER)
    yield server, slots.home
    shutil.rmtree(place)


@pytest.fixture
def server(world) -> OtaServer:
    return world[0]


@pytest.fixture
def home(world, monkeypatch) -> Iterator[Path]:
    """A copy of that home."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    home = world[1].with_name("home")
    shutil.copytree(world[1], home, symlinks=True)
    give(home, USER)
    yield home
    shutil.rmtree(home)


def close(path: Path) -> None:
    path.chmod(0)


def let_read_only(path: Path) -> None:
    path.chmod(0o555)


def put_closed_folder(path: Path) -> None:
    """Put a folder there, with one in it that takes no change."""
    if os.path.lexists(path):
        remove(path)
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text("?")
    give(path, USER)
    (path / "inner").chmod(0o555)


def give_away(path: Path) -> None:
    give(path, STRANGER)
    path.chmod(0o700)


def put_folder_of_a_stranger(path: Path) -> None:
    put_closed_folder(path)
    give_away(path)


def let_a_stranger_show(path: Path) -> None:
    """Everybody may read the folder, and its owner alone may change it."""
    give(path, STRANGER)
    for each in (path, *path.rglob("*")):
        each.chmod(0o755)


FOLDERS = ("slots", "slots/a", "slots/b", "roots", "metadata", "metadata/root_history", "staging")
WRITTEN = ("slots", "slots/a", "metadata", "staging")
"""Folders that an update changes."""
PLACES = (
    "slots/a",
    "slots/a/extra",
    "slots/b/model.onnx",
    "slots/a.seal",
    "slots/b.proven",
    "roots/1.root.json",
    "root.json",
    "metadata/targets.json",
    "metadata/timestamp.json",
    "metadata/root.json",
    "metadata/root_history",
    "staging/old",
    "state-0.json",
    "state-1.json",
    "current",
)
CASES = [
    *((close, path) for path in (*FOLDERS, "metadata/targets.json")),
    *((let_read_only, path) for path in WRITTEN),
    *((put_closed_folder, path) for path in PLACES),
    *((give_away, path) for path in FOLDERS),
    *((let_a_stranger_show, path) for path in WRITTEN),
    *((put_folder_of_a_stranger, path) for path in PLACES),
]


def needs(damage: Callable[[Path], None]) -> tuple[pytest.MarkDecorator, ...]:
    return () if damage in (close, let_read_only, put_closed_folder) else (needs_root,)


@pytest.mark.parametrize("when", ["off", "running"])
@pytest.mark.parametrize(
    ("damage", "path"),
    [pytest.param(*case, marks=needs(case[0]), id=f"{case[0].__name__}-{case[1]}") for case in CASES],
)
def test_a_device_that_may_not_touch_something_updates_at_one_contact_and_is_whole(server, home, damage, path, when):
    with as_user():
        slots = Slots(home) if when == "running" else None
    damage(home / path)
    with as_user():
        if slots is None:
            boot(slots := Slots(home))
        slots.check()
        updater = OtaUpdater(server.bus, "canary", slots)
        assert updater.update().step is Step.INSTALL
        accept(slots)
        slots.check()
        assert updater.update().step is Step.KEEP
        slots.check()
        assert slots.faults == {}
        again = Slots(home)
        assert again.state == slots.state
        assert again.state.slots[boot(again)].release == "r3"
        assert {slot: again.verify(slot) for slot in again.state.slots} == {"a": "", "b": ""}
        assert OtaUpdater(server.bus, "canary", again).update().step is Step.KEEP
        assert (home / "current").is_symlink()
        assert len(again.roots.chain()) == 1


@pytest.mark.parametrize(
    ("damage", "path"),
    [
        (close, "slots"),
        (close, "slots/b"),
        (close, "slots/b/model.onnx"),
        pytest.param(let_a_stranger_show, "slots", marks=needs_root),
        pytest.param(let_a_stranger_show, "slots/b", marks=needs_root),
    ],
)
def test_without_the_server_it_runs_what_it_ran(home, damage, path):
    damage(home / path)
    with as_user():
        slots = Slots(home)
        assert boot(slots) == "b"
        slots.check()
        assert slots.faults == {}


@needs_root
def test_releases_that_a_full_disk_has_no_room_to_copy_stay_where_they_are_and_nothing_is_written(home, monkeypatch):
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    let_a_stranger_show(home / "slots")
    before = times(home)
    with as_user():
        slots = Slots(home)
        slots.check()
        assert boot(slots) == "b"
        assert slots.faults == {"disk": "no space left on device"}
    assert times(home) == before


@needs_root
def test_a_home_that_it_may_not_write_to_is_named(home):
    os.chown(home, STRANGER, STRANGER)
    home.chmod(0o755)
    with as_user():
        slots = Slots(home)
        slots.check()
        assert boot(slots) == "b"
        assert slots.faults["disk"].startswith(f"permission denied: {home}")


@needs_root
def test_what_is_aside_is_removed_once_it_can_be_and_never_grows_without_end(home):
    for _ in range(MAX_ASIDE):
        put_folder_of_a_stranger(home / "token")
        with as_user():
            remove_any(home / "token")
    put_folder_of_a_stranger(home / "token")
    with as_user():
        with pytest.raises(PermissionError, match="token"):
            remove_any(home / "token")
        tidy(home)
    assert len([*home.glob(".aside-*")]) == MAX_ASIDE
    give(home, USER)
    with as_user():
        tidy(home)
    assert not [*home.glob(".aside-*")]


@needs_root
def test_what_stays_aside_is_not_written_to_at_each_contact(server, home):
    for path in ("slots/a", "metadata", "staging", "state-0.json"):
        put_folder_of_a_stranger(home / path)
    with as_user():
        slots = Slots(home)
        updater = OtaUpdater(server.bus, "canary", slots)
        updater.update()
        accept(slots)
        slots.check()
    before = times(home)
    with as_user():
        updater.update()
        slots.check()
    assert [*home.rglob(".aside-*")]
    assert times(home) == before


def times(home: Path) -> dict[Path, int]:
    """When each file and folder was changed last."""
    return {path: path.lstat().st_ctime_ns for path in (home, *home.rglob("*"))}


@pytest.mark.parametrize("kind", ["gone", "a file"])
def test_slots_lost_while_the_agent_runs_are_made_again(server, home, kind):
    with as_user():
        slots = Slots(home)
        updater = OtaUpdater(server.bus, "canary", slots)
        remove(home / "slots")
        if kind == "a file":
            (home / "slots").write_text("?")
        slots.check()
        assert updater.update().step is Step.INSTALL
        slots.check()
        assert slots.faults == {}
        assert {slot: slots.verify(slot) for slot in slots.state.slots} == {"a": "", "b": ""}


def test_slots_lost_while_a_release_is_downloaded_are_made_again(server, home):
    with as_user():
        slots = Slots(home)

        def lose(_: Path) -> Result:
            remove(home / "slots")
            return Result(Preflight.PASSED)

        updater = OtaUpdater(server.bus, "canary", slots, try_out=lose)
        assert updater.update().step is Step.INSTALL
        assert slots.verify("a") == ""


@pytest.mark.parametrize("content", [b'{"a":1}', b"", None])
def test_a_status_that_is_not_the_one_that_was_written_is_written_again(home, content):
    with as_user():
        slots = Slots(home)
        slots.write_status("{}\n")
        path = home / "status.json"
        path.unlink() if content is None else path.write_bytes(content)
        slots.check()
        assert path.read_text() == "{}\n"
        before = path.stat()
        slots.check()
        assert path.stat() == before
