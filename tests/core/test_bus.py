"""Artifacts, manifests and refs, on a store in memory and on a real S3 server."""

import contextlib
import os
import threading
from datetime import timedelta

import pytest
import toy_stage
from hypothesis import given
from hypothesis import strategies as st

from sim2edge import plan as plans
from sim2edge import runner
from sim2edge.any_names import list_folders
from sim2edge.bucket import S3Access
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Conflict, Corrupt, Forbidden, Unavailable
from sim2edge.manifest import File, parse_manifest, split_reference
from sim2edge.progress import JsonProgress


def make(bus, partition, *overrides, stage="capture"):
    return runner.execute(bus, plans.plan(bus, stage, partition, None, overrides), JsonProgress(stage))


@pytest.fixture(params=["memory", "s3"])
def any_bus(request) -> Bus:
    return request.getfixturevalue("bus" if request.param == "memory" else "s3")


def test_an_artifact_comes_back_as_it_was_written(any_bus, partition, toy_stages, tmp_path):
    manifest = make(any_bus, partition, "lines=5")
    artifact = any_bus.fetch(any_bus.open(manifest.reference), tmp_path)
    assert artifact.path("lines.txt").read_text() == "word\n" * 5
    assert toy_stage.files_below(tmp_path) == {"lines.txt", "nested/copies.txt"}


def test_fetch_takes_only_matching_files(any_bus, partition, toy_stages, tmp_path):
    manifest = make(any_bus, partition)
    any_bus.fetch(manifest, tmp_path, ("nested/*",))
    assert toy_stage.files_below(tmp_path) == {"nested/copies.txt"}


def test_a_flipped_byte_is_named_and_nothing_is_left(any_bus, partition, toy_stages, tmp_path):
    manifest = make(any_bus, partition)
    key = f"{manifest.reference}/{manifest.attempt}/lines.txt"
    any_bus.put(key, b"w0rd\nword\nword\n")
    with pytest.raises(Corrupt, match=f"{key}: its bytes do not match"):
        any_bus.fetch(manifest, tmp_path)
    assert not (tmp_path / "lines.txt").exists()


def test_a_missing_payload_object_is_named(any_bus, partition, toy_stages, tmp_path):
    manifest = make(any_bus, partition)
    any_bus.delete([f"{manifest.reference}/{manifest.attempt}/lines.txt"])
    with pytest.raises(Corrupt, match=r"lines\.txt: missing on the bus"):
        any_bus.fetch(manifest, tmp_path)


def test_without_its_manifest_an_artifact_does_not_exist(any_bus, partition, toy_stages):
    manifest = make(any_bus, partition)
    any_bus.delete([f"{manifest.reference}/manifest.json"])
    assert not any_bus.exists(manifest.reference)
    assert manifest.reference not in {m.reference for m in any_bus.manifests()}
    with pytest.raises(Corrupt, match="manifest is missing"):
        any_bus.open(manifest.reference)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"kind": "episodes"}'])
def test_a_broken_manifest_is_named(bus, data):
    bus.put("episodes/demo/0123456789abcdef/manifest.json", data)
    with pytest.raises(Corrupt, match=r"episodes/demo/0123456789abcdef/manifest\.json"):
        bus.open("episodes/demo/0123456789abcdef")


def test_a_manifest_of_another_artifact_is_refused(bus, partition, toy_stages):
    manifest = make(bus, partition)
    with pytest.raises(Corrupt, match="belongs to"):
        parse_manifest(manifest.to_json(), "episodes/other/0123456789abcdef")


@pytest.mark.parametrize("path", ["../up", "/root", "a/../../b", "", "a//b", "./a", "a\\b"])
def test_hostile_payload_paths_are_refused(path):
    with pytest.raises(ValueError, match="not a plain relative path"):
        File(path=path, bytes=0, sha256="0" * 64)


@given(st.text(max_size=60))
def test_a_reference_parses_to_its_three_parts_or_is_refused(text):
    with contextlib.suppress(BadInput):
        assert "/".join(split_reference(text)) == text


def test_the_loser_of_a_commit_race_drops_its_payload(any_bus, partition, toy_stages):
    planned = plans.plan(any_bus, "capture", partition)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(runner.produce(any_bus, planned, JsonProgress("capture"))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({manifest.attempt for manifest in results}) == 1
    attempts = {key.split("/")[3] for key in any_bus.list(planned.reference)}
    assert attempts == {results[0].attempt, "manifest.json"}


def test_refs_move_by_compare_and_swap(any_bus, partition):
    name, first, second = f"refs/test/{partition}", f"model/{partition}/{'1' * 16}", f"model/{partition}/{'2' * 16}"
    assert any_bus.read_ref(name) is None
    any_bus.move_ref(name, first, expected=None)
    seen = any_bus.read_ref(name)
    any_bus.move_ref(name, second)
    with pytest.raises(Conflict):
        any_bus.move_ref(name, first, expected=seen)
    with pytest.raises(Conflict):
        any_bus.move_ref(name, first, expected=None)
    now = any_bus.read_ref(name)
    assert (now.target, now.previous) == (second, first)


def test_moving_a_ref_where_it_is_keeps_what_was_before(any_bus, partition):
    name, first, second = f"refs/test/{partition}", f"model/{partition}/{'1' * 16}", f"model/{partition}/{'2' * 16}"
    for target in (first, second, second):
        any_bus.move_ref(name, target)
    assert any_bus.read_ref(name).previous == first


def test_of_many_swaps_at_once_one_wins(s3, partition):
    name = f"refs/test/{partition}"
    s3.move_ref(name, f"model/{partition}/{'0' * 16}")
    seen, wins = s3.read_ref(name), []

    def swap(digit: int) -> None:
        try:
            s3.move_ref(name, f"model/{partition}/{digit:016x}", expected=seen)
            wins.append(digit)
        except Conflict:
            pass

    threads = [threading.Thread(target=swap, args=(digit,)) for digit in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert s3.read_ref(name).target.endswith(f"{wins[0]:016x}")


def test_names_resolve(any_bus, partition, toy_stages):
    reference = make(any_bus, partition).reference
    for name in (reference, reference.rpartition("/")[2], f"refs/batches/{partition}"):
        assert any_bus.resolve(name) == reference
    for name in ("refs/batches/nowhere", "f" * 16, "not a name"):
        with pytest.raises(BadInput, match=name):
            any_bus.resolve(name)


def test_sweep_takes_what_killed_runs_left_and_nothing_else(any_bus, partition, toy_stages, tmp_path):
    manifest = make(any_bus, partition)
    committed = set(any_bus.list(manifest.reference))
    half_written = f"frames/{partition}/{'a' * 16}/attempt1/frames.parquet"
    any_bus.put(half_written, b"half")
    any_bus.put(f"{manifest.reference}/attempt2/lines.txt", b"lost a race")
    assert any_bus.sweep(timedelta(hours=1)) == []
    assert half_written in any_bus.sweep(timedelta(seconds=-5))
    assert set(any_bus.list(f"frames/{partition}")) == set()
    assert set(any_bus.list(manifest.reference)) == committed


def test_a_large_object_streams_and_resumes(s3, partition):
    data = bytes(range(256)) * 40_000
    s3.put(f"fleet/{partition}/large", data)
    assert b"".join(s3.stream(f"fleet/{partition}/large")) == data
    assert b"".join(s3.stream(f"fleet/{partition}/large", start=9_000_001)) == data[9_000_001:]


def test_wrong_credentials_say_so(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BadInput, match="refused the credentials"):
        Bus.from_environment().get("anything")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize(
    "request_of",
    [
        lambda bus: list(bus.list("refs")),
        lambda bus: bus.files("refs"),
        lambda bus: bus.folders("refs"),
        lambda bus: bus.first_page("refs"),
        lambda bus: bus.list_refs(),
        lambda bus: list(bus.manifests("model")),
        lambda bus: bus.delete(["refs/x"]),
    ],
)
def test_wrong_credentials_say_so_in_one_line_wherever_the_bus_is_listed(s3, monkeypatch, request_of, name):
    monkeypatch.setenv(name, "wrong")
    with pytest.raises(Forbidden, match=r"^[\w/]+: the S3 server refused the credentials \(AWS_ACCESS_KEY_ID\): \w+$"):
        request_of(Bus.from_environment())


def test_wrong_credentials_say_so_where_boto3_lists(s3, monkeypatch):
    pytest.importorskip("boto3")
    list_folders(os.environ["SIM2EDGE_BUCKET"], "refs", S3Access())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Forbidden, match=r"^refs: the S3 server refused the credentials"):
        list_folders(os.environ["SIM2EDGE_BUCKET"], "refs", S3Access())


def test_another_answer_of_the_server_is_one_line_with_its_code_and_without_xml(s3, monkeypatch):
    monkeypatch.setenv("SIM2EDGE_BUCKET", "no-such-bucket")
    with pytest.raises(Unavailable, match=r"404 Not Found: NoSuchBucket$") as raised:
        Bus.from_environment(3).folders("refs")
    assert "<" not in str(raised.value)


def test_no_bucket_says_so(monkeypatch):
    monkeypatch.delenv("SIM2EDGE_BUCKET", raising=False)
    with pytest.raises(BadInput, match="SIM2EDGE_BUCKET is not set"):
        Bus.from_environment()
