"""What a delivery may be: what the inbox would refuse is not delivered, and the other way round."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.errors import BadInput
from sim2edge.inbox import deliver, find_ready, parse_ready
from sim2edge.manifest import File

SHA = hashlib.sha256(b"log").hexdigest()


def listing(*paths):
    files = [{"path": path, "bytes": 3, "sha256": SHA} for path in paths]
    return json.dumps({"version": 1, "batch": "lab-1", "files": files}).encode()


def files(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"log")
    return [File(path=path, bytes=3, sha256=SHA) for path in paths]


def test_what_was_delivered_is_what_the_inbox_takes_and_again_is_nothing_new(bus, tmp_path):
    given_files = files(tmp_path, "b/2.mcap", "a.mcap")
    digest = deliver(bus, "lab-1", tmp_path, given_files)
    ready = parse_ready(find_ready(bus, "lab-1"), "lab-1")
    assert [file.path for file in ready.files] == ["a.mcap", "b/2.mcap"]
    assert deliver(bus, "lab-1", tmp_path, given_files[::-1]) == digest
    with pytest.raises(BadInput, match="has another delivery"):
        deliver(bus, "lab-1", tmp_path, given_files[:1])


def test_a_path_cannot_be_a_file_and_a_folder():
    with pytest.raises(BadInput, match=r"READY.json: files: 'a.mcap' is a file and the folder of 'a.mcap/b'"):
        parse_ready(listing("a.mcap/b", "c", "a.mcap"), "lab-1")


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ((), "files: Tuple should have at least 1 item"),
        (("a.mcap", "a.mcap"), "files: duplicate path"),
        (("a.mcap", "a.mcap/b"), "files: 'a.mcap' is a file"),
        ((f"{'d' * 128}/{number}.mcap" for number in range(9)), "more than 2000 bytes"),
    ],
)
def test_what_would_be_refused_is_not_delivered(bus, tmp_path, monkeypatch, paths, reason):
    monkeypatch.setattr("sim2edge.inbox.MAX_READY_BYTES", 2000)
    with pytest.raises(BadInput, match=f"inbox/lab-1/READY.json: {reason}"):
        deliver(bus, "lab-1", tmp_path, [File(path=path, bytes=3, sha256=SHA) for path in paths])
    assert list(bus.list("inbox")) == []


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_whatever_a_listing_holds_it_is_refused_in_one_line(content):
    for field in ("batch", "files", "more"):
        bad = json.dumps({**json.loads(listing("a.mcap")), field: content}).encode()
        with pytest.raises(BadInput) as caught:
            parse_ready(bad, "lab-1")
        assert str(caught.value).isprintable()
