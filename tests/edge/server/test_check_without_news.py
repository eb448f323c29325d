"""A check without news: two small requests, and nothing written to the card."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ota_server import OtaServer, accept
from tuf.api.exceptions import DownloadLengthMismatchError

from sim2edge.bus import Bus
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.server.tuf_fetcher import BusFetcher

WRITES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.utime",
    "os.chmod",
)
_watched: list[tuple[str, list[str]]] = []


def note(event: str, arguments: tuple[object, ...]) -> None:
    """Note what changes a watched folder; an audit hook, which Python cannot remove."""
    if not _watched or event not in (*WRITES, "open"):
        return
    if event == "open" and not (
        isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        return
    for folder, found in _watched:
        if any(isinstance(each, str | os.PathLike) and str(each).startswith(folder) for each in arguments):
            found.append(f"{event} {arguments[0]}")


@contextmanager
def watch(folder: Path) -> Iterator[list[str]]:
    """Yield a list that gets every opening for writing, renaming or removal below a folder."""
    found: list[str] = []
    _watched.append((str(folder), found))
    try:
        yield found
    finally:
        _watched.pop()


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(note)


class CountingBus:
    """Reads from a bus and keeps what was asked for, and how much came."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.keys: list[str] = []
        self.bytes = 0

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        self.keys.append(key)
        for chunk in self.bus.stream(key, start):
            self.bytes += len(chunk)
            yield chunk


@pytest.fixture
def server(tmp_path, members) -> OtaServer:
    made = OtaServer(Bus.in_memory(), tmp_path / "server-files", members)
    made.publish("r1", compressed=True)
    return made


@pytest.fixture
def counting(server: OtaServer) -> CountingBus:
    return CountingBus(server.bus)


def test_it_asks_for_the_next_root_and_the_timestamp_and_writes_nothing(server, counting, tmp_path):
    home = tmp_path / "home"
    updater, slots = server.device(home, bus=counting)
    with watch(home) as written:
        assert updater.update().step is Step.INSTALL
    assert written, "the watch sees what an update writes"
    accept(slots)
    counting.keys.clear()
    counting.bytes = 0
    with watch(home) as written:
        assert updater.update().step is Step.KEEP
    assert counting.keys == ["ota/metadata/2.root.json", "ota/metadata/timestamp.json"]
    assert counting.bytes < 1000
    assert written == []


def test_it_needs_no_folder_for_temporary_files(server, counting, tmp_path, monkeypatch):
    """Such a folder may be on a card that is full or read-only: the device still has to reach the server."""

    def refuse(*_: object, **__: object):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("TemporaryFile", "NamedTemporaryFile", "gettempdir", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    updater, slots = server.device(tmp_path / "home", bus=counting)
    assert updater.update().step is Step.INSTALL
    accept(slots)
    assert updater.update().step is Step.KEEP


def test_no_more_than_is_allowed_is_read_into_memory(bus):
    bus.put("ota/metadata/1.root.json", bytes(1000))
    fetcher = BusFetcher(bus)
    assert fetcher.download_bytes("ota/metadata/1.root.json", 1000) == bytes(1000)
    with pytest.raises(DownloadLengthMismatchError):
        fetcher.download_bytes("ota/metadata/1.root.json", 999)


def test_a_new_timestamp_costs_one_file_and_no_more_requests(server, counting, tmp_path):
    home = tmp_path / "home"
    updater, slots = server.device(home, bus=counting)
    updater.update()
    accept(slots)
    server.repository._commit(server.repository.current(), None)
    counting.keys.clear()
    with watch(home) as written:
        assert updater.update().step is Step.KEEP
    assert counting.keys == ["ota/metadata/2.root.json", "ota/metadata/timestamp.json"]
    assert {Path(line.split(" ", 1)[1]).name for line in written} == {".timestamp.json.part"}


def test_after_a_restart_it_reads_the_small_targets_once_more(server, counting, tmp_path):
    updater, slots = server.device(tmp_path / "home", bus=counting)
    updater.update()
    accept(slots)
    again, _ = server.device(tmp_path / "home", bus=counting)
    counting.keys.clear()
    with watch(tmp_path / "home" / "metadata") as written:
        again.update()
    assert [key.rpartition("/")[2].rpartition(".c")[2] for key in counting.keys] == [
        "2.root.json",
        "timestamp.json",
        "anary.json",
    ]
    assert written == []


def test_a_ring_moved_back_is_followed_at_once_though_the_rollout_has_a_window(server, tmp_path):
    _, slots = server.device(tmp_path / "home")
    updater = OtaUpdater(server.bus, "canary", slots, device="pi-7")
    assert updater.update().step is Step.INSTALL, "a first release is not delayed"
    accept(slots)
    server.publish("r2", compressed=True)
    assert updater.update().step is Step.INSTALL
    accept(slots)
    server.publish("r1", compressed=True, window_s=10**5)
    assert updater.update().step is Step.RETRY
    server.publish("r3", compressed=True, window_s=10**5)
    held = [updater.update() for _ in range(2)]
    assert {(each.step, each.reason) for each in held} == {(Step.HOLD, "waits for its turn in the rollout")}
