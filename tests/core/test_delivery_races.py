"""Several producers deliver one batch at once: one wins, and the inbox has its bytes."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from sim2edge import inbox
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.inbox import READY, deliver, describe, digest, fetch, find_ready, parse_ready
from sim2edge.inbox_leftovers import sweep_inbox
from sim2edge.ingest.config import IngestConfig

BATCH = "lab-1"
NAMES = ("a.mcap", "b/c.mcap")
CONTENTS = (b"first" * 300_000, b"other", b"")
"""The longest takes two chunks."""


class Killed(BaseException):
    """The producer's process ends."""


@dataclass
class Producer:
    """A process that delivers its folder, one request to the bus at a time, as its test lets it."""

    bus: Bus
    folder: Path
    content: bytes
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    paused: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    command: str = ""
    outcome: str = "not started"
    thread: threading.Thread | None = None

    def step(self, command: str) -> None:
        """Let it send its next request, or make it crash there, or have its recorder write meanwhile."""
        self.command = command
        if self.thread is None:
            self.thread = threading.Thread(target=self._run)
            self.thread.start()
        else:
            self.go.release()
        self.paused.acquire()

    def _run(self) -> None:
        try:
            files = [describe(self.folder, name) for name in NAMES]
            deliver(Paused(self), BATCH, self.folder, files)
            self.outcome = "delivered"
        except BadInput as error:
            self.outcome = "changed" if "changed while" in str(error) else str(error)
        except Killed:
            self.outcome = "killed"
        self.thread = None
        self.paused.release()

    def wait(self) -> str:
        """Stop before a request until the test says how to go on."""
        self.paused.release()
        self.go.acquire()
        if self.command == "kill":
            raise Killed
        return self.command


class Paused(Bus):
    """The bus as one producer has it."""

    def __init__(self, producer: Producer) -> None:
        super().__init__(producer.bus._store)
        self._producer = producer

    def stream(self, *arguments, **options):
        self._producer.wait()
        return super().stream(*arguments, **options)

    def put(self, key, data, **options):
        command = self._producer.wait()
        logs = [self._producer.folder / name for name in NAMES]
        if command == "truncate":
            [log.write_bytes(self._producer.content[:3]) for log in logs]
        if command == "append":
            [log.write_bytes(self._producer.content + b"more") for log in logs]
        try:
            super().put(key, data, **options)
        finally:
            if command in ("truncate", "append"):
                [log.write_bytes(self._producer.content) for log in logs]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[int, int], Path]:
    """A folder for each producer and content, written once."""
    made: dict[tuple[int, int], Path] = {}

    def find(producer: int, content: int) -> Path:
        if (producer, content) not in made:
            folder = made[producer, content] = tmp_path_factory.mktemp("producer")
            for name in NAMES:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_bytes(CONTENTS[content])
        return made[producer, content]

    return find


@pytest.fixture(autouse=True)
def one_request_at_a_time(monkeypatch):
    monkeypatch.setattr(inbox, "in_threads", lambda function, items: [function(item) for item in items])


def stored(bus: Bus, where: Path) -> set[bytes]:
    """The contents that the stage gets."""
    listing = find_ready(bus, BATCH)
    config = IngestConfig(ready=digest(listing))
    folder = fetch(bus, config, BATCH, where)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.mcap")) == sorted(NAMES)
    return {(folder / name).read_bytes() for name in NAMES}


commands = st.sampled_from(["go", "go", "go", "kill", "truncate", "append"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=3), st.lists(st.tuples(st.integers(0, 2), commands)))
def test_whatever_happens_one_producer_wins_and_the_inbox_has_its_bytes(folders, tmp_path_factory, contents, schedule):
    bus = Bus(MemoryStore())
    producers = [Producer(bus, folders(at, which), CONTENTS[which]) for at, which in enumerate(contents)]
    listed = None
    for which, command in schedule:
        producers[which % len(producers)].step(command)
        found = find_ready(bus, BATCH)
        assert listed in (None, found), "a listing never changes"
        if found and not listed:
            assert len(stored(bus, tmp_path_factory.mktemp("stage") / "in")) == 1
        listed = found
    for producer in producers:  # who is in the middle of it finishes; who was refused or killed tries again
        while producer.thread:
            producer.step("go")
        while producer.outcome in ("not started", "killed", "changed"):
            producer.step("go")
            while producer.thread:
                producer.step("go")
    (winner,) = stored(bus, tmp_path_factory.mktemp("stage") / "in")
    for producer in producers:
        expected = "delivered" if producer.content == winner else f"inbox/{BATCH}: has another delivery"
        assert producer.outcome.startswith(expected)
    sweep_inbox(bus, timedelta(seconds=-1))
    ready = parse_ready(find_ready(bus, BATCH), BATCH)
    assert set(bus.list("inbox")) == {f"inbox/{BATCH}/{READY}", *(ready.key(file) for file in ready.files)}
    assert stored(bus, tmp_path_factory.mktemp("stage") / "in") == {winner}


@pytest.mark.parametrize("size", [0, 3, 1 << 20, 12_000_000])
def test_a_log_that_changes_during_the_upload_and_back_is_not_uploaded(bus, tmp_path, size):
    log = tmp_path / "a.mcap"
    log.write_bytes(b"x" * size)
    described = describe(tmp_path, "a.mcap")

    class Disturbed(Bus):
        def put(self, key, data, **options):
            log.write_bytes(b"y" * size + b"z" * (size == 0))
            super().put(key, data, **options)

    with pytest.raises(BadInput, match=r"a.mcap: changed while it was delivered: deliver it again"):
        deliver(Disturbed(bus._store), BATCH, tmp_path, [described])
    assert list(bus.list("inbox")) == []
    log.write_bytes(b"x" * size)
    deliver(bus, BATCH, tmp_path, [described])
    assert bus.get(parse_ready(find_ready(bus, BATCH), BATCH).key(described)) == b"x" * size


def test_a_log_that_is_gone_is_one_line(bus, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"log")
    described = describe(tmp_path, "a.mcap")
    (tmp_path / "a.mcap").unlink()
    with pytest.raises(BadInput, match=r"/a.mcap: No such file or directory$"):
        deliver(bus, BATCH, tmp_path, [described])
    assert list(bus.list("inbox")) == []


def test_the_same_files_delivered_by_hand_or_an_earlier_version_are_the_same_delivery(bus, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"log")
    described = describe(tmp_path, "a.mcap")
    by_hand = inbox.Ready(version=1, batch=BATCH, files=(described,)).to_json()
    bus.put(f"inbox/{BATCH}/a.mcap", b"log")
    bus.put(f"inbox/{BATCH}/{READY}", by_hand)
    assert deliver(bus, BATCH, tmp_path, [described]) == digest(by_hand)
    assert (fetch(bus, IngestConfig(ready=digest(by_hand)), BATCH, tmp_path / "in") / "a.mcap").read_bytes() == b"log"


def test_leftovers_stay_while_a_delivery_may_be_completed_and_so_does_what_was_uploaded_by_hand(bus, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"log")
    described = describe(tmp_path, "a.mcap")
    started = f"inbox/{BATCH}/{'a' * 32}/a.mcap"
    bus.put(started, b"half")
    bus.put(f"inbox/{BATCH}/notes.mcap", b"by hand")
    assert sweep_inbox(bus, timedelta(seconds=-1)) == []
    deliver(bus, BATCH, tmp_path, [described])
    assert sweep_inbox(bus, timedelta(hours=1)) == []
    assert sweep_inbox(bus, timedelta(seconds=-1)) == [started]
    assert f"inbox/{BATCH}/notes.mcap" in set(bus.list("inbox"))
