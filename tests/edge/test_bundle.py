"""Bundles: the same bytes every time, and nothing hostile gets out of one."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim2edge.compression import compress, content_size, open_content
from sim2edge.edge import bundle as bundles
from sim2edge.edge.bundle import check_requirements, open_bundle, parse_release, unpack_bundle, write_bundle
from sim2edge.errors import BadInput

Members = Callable[..., dict[str, bytes]]


def write_tar(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def entry(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, data


def test_a_bundle_comes_out_as_it_went_in(tmp_path: Path, members: Members) -> None:
    write_bundle(tmp_path / "bundle.tar", members())
    bundle = unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot")
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == members()
    assert bundle.release.id == "abcdef0123456789"
    assert bundle.model.read_bytes() == members()["model.onnx"]
    assert bundle.read_json("classes.json")["floors"][0] == "wood"


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, members: Members) -> None:
    files = members()
    write_bundle(tmp_path / "one.tar", files)
    write_bundle(tmp_path / "two.tar", dict(reversed(files.items())))
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == sorted(files)
    assert {(info.uid, info.gid, info.mtime, info.uname, info.mode) for info in infos} == {(0, 0, 0, "", 0o644)}


@pytest.mark.parametrize(
    ("hostile", "problem"),
    [
        (entry("../outside"), "not a plain file name"),
        (entry("/etc/cron.d/outside"), "not a plain file name"),
        (entry("folder/file"), "not a plain file name"),
        (entry("a\nb"), "not a plain file name"),
        (entry("link", b"", tarfile.SYMTYPE, "/etc/passwd"), "not a regular file"),
        (entry("link", b"", tarfile.LNKTYPE, "release.json"), "not a regular file"),
        (entry("device", b"", tarfile.CHRTYPE), "not a regular file"),
        (entry("pipe", b"", tarfile.FIFOTYPE), "not a regular file"),
        (entry("folder", b"", tarfile.DIRTYPE), "not a regular file"),
        (entry("release.json"), "occurs twice"),
    ],
)
def test_a_hostile_member_is_refused(
    tmp_path: Path, members: Members, hostile: tuple[tarfile.TarInfo, bytes], problem: str
) -> None:
    tar = write_tar(tmp_path / "bundle.tar", *(entry(name, data) for name, data in members().items()), hostile)
    with pytest.raises(BadInput, match=problem):
        unpack_bundle(tar, tmp_path / "slot")
    assert not (tmp_path / "outside").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"bundle.tar", "slot"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.one_of(st.text(min_size=1, max_size=60), st.from_regex(r"(\.\./|/|\./|~/)?[a-z.]{1,8}(/[a-z.]{1,8})?")))
def test_no_name_writes_outside_the_slot(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("names")
    try:
        tar = write_tar(folder / "bundle.tar", entry(name, b"evil"))
    except (ValueError, UnicodeError):
        return
    with pytest.raises(BadInput):
        unpack_bundle(tar, folder / "slot")
    assert {path.name for path in folder.iterdir()} <= {"bundle.tar", "slot"}
    assert all(path.is_file() and not path.is_symlink() for path in (folder / "slot").iterdir())


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=2000))
def test_rubbish_is_not_a_bundle(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("rubbish")
    (folder / "bundle.tar").write_bytes(data)
    with pytest.raises(BadInput):
        unpack_bundle(folder / "bundle.tar", folder / "slot")


def test_a_bundle_cut_short_is_refused(tmp_path: Path, members: Members) -> None:
    write_bundle(tmp_path / "whole.tar", members())
    whole = (tmp_path / "whole.tar").read_bytes()
    content = len(whole.rstrip(b"\0"))
    for number, length in enumerate((0, 100, 512, content // 2, content - 512)):
        (tmp_path / "bundle.tar").write_bytes(whole[:length])
        with pytest.raises(BadInput):
            unpack_bundle(tmp_path / "bundle.tar", tmp_path / f"slot-{number}")


def test_a_flipped_byte_is_named(tmp_path: Path, members: Members) -> None:
    files = members()
    files["model.onnx"] = files["model.onnx"][:-1] + b"\x00"
    write_bundle(tmp_path / "bundle.tar", files)
    with pytest.raises(BadInput, match=r"model\.onnx: its SHA-256 is not"):
        unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot")


def test_a_bomb_is_refused_before_it_is_written(
    tmp_path: Path, members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MAX_BYTES", 1000)
    write_bundle(tmp_path / "bundle.tar", {"bomb": b"0" * 1001})
    with pytest.raises(BadInput, match="more than 1000 bytes"):
        unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot")
    assert not list((tmp_path / "slot").iterdir())


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle.tar", {f"file-{n}": b"" for n in range(33)})
    with pytest.raises(BadInput, match="more than 32 files"):
        unpack_bundle(tmp_path / "bundle.tar", tmp_path / "slot")


@pytest.fixture
def packed(tmp_path: Path, members: Members) -> bytes:
    """A compressed bundle, which is `bundle.tar.zst` as well."""
    write_bundle(tmp_path / "bundle.tar", members())
    compress(tmp_path / "bundle.tar", tmp_path / "bundle.tar.zst")
    return (tmp_path / "bundle.tar.zst").read_bytes()


def test_a_compressed_bundle_comes_out_as_it_went_in(tmp_path: Path, members: Members, packed: bytes) -> None:
    bundle = unpack_bundle(tmp_path / "bundle.tar.zst", tmp_path / "slot")
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == members()
    assert len(packed) < (tmp_path / "bundle.tar").stat().st_size
    assert content_size(tmp_path / "bundle.tar.zst") == (tmp_path / "bundle.tar").stat().st_size
    assert content_size(tmp_path / "bundle.tar") == (tmp_path / "bundle.tar").stat().st_size


def test_compression_gives_the_same_bytes_with_every_run_and_the_pinned_library(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"".join(b"%d\n" % (n * n) for n in range(20_000)))
    compress(tmp_path / "content", tmp_path / "content.zst")
    digest = hashlib.sha256((tmp_path / "content.zst").read_bytes()).hexdigest()
    assert (
        digest == "e3fe25b42c7f367c1f7b6ba9b9456da6bd3ee5c9edbfb5387f142f7626eba014"
    ), "a device would ban and fetch by another hash"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda packed: packed[:-20], "holds"),
        (lambda packed: packed[: len(packed) // 2], "holds"),
        (lambda packed: packed[:4], "not readable as Zstandard"),
        (lambda packed: packed[:90] + bytes([packed[90] ^ 1]) + packed[91:], "not readable as Zstandard"),
        (lambda packed: packed + b"more", "not readable as Zstandard|follows"),
        (lambda packed: packed + zstandard.compress(b"\0" * 512), "holds|follows"),
        (lambda packed: packed + zstandard.compress(b"\0" * 2**20), "holds|follows"),
        (lambda packed: zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 99), "does not declare"),
        (lambda packed: zstandard.compress(b"\0" * 2**29), "bundle.tar.zst: .*more than"),
        (lambda packed: zstandard.compress(b"rubbish" * 200), "not a readable tar file"),
    ],
)
def test_a_damaged_or_hostile_compressed_bundle_is_refused_in_one_line(
    tmp_path: Path, packed: bytes, damage: Callable[[bytes], bytes], problem: str
) -> None:
    (tmp_path / "bundle.tar.zst").write_bytes(damage(packed))
    with pytest.raises(BadInput, match=problem) as refusal:
        unpack_bundle(tmp_path / "bundle.tar.zst", tmp_path / "slot")
    assert "\n" not in str(refusal.value)


def test_a_frame_that_declares_less_than_it_holds_stops_at_the_limit(tmp_path: Path, members: Members) -> None:
    bomb = zstandard.compress(b"small") + zstandard.compress(b"\0" * 2**24)
    (tmp_path / "bomb.zst").write_bytes(bomb)
    with open_content(tmp_path / "bomb.zst", 2**20) as content, pytest.raises(BadInput, match="more than 1048576"):
        all(iter(lambda: content.read(2**16), b""))


def test_a_window_larger_than_a_device_spends_is_refused(tmp_path: Path) -> None:
    content = os.urandom(9 * 2**20)
    wide = zstandard.ZstdCompressionParameters(window_log=24, write_content_size=1)
    (tmp_path / "wide.zst").write_bytes(zstandard.ZstdCompressor(compression_params=wide).compress(content))
    with pytest.raises(BadInput, match="bytes of memory to unpack, more than 8388608"):
        content_size(tmp_path / "wide.zst")
    (tmp_path / "content").write_bytes(content)
    narrow = zstandard.ZstdCompressionParameters(window_log=23, write_content_size=1)
    (tmp_path / "narrow.zst").write_bytes(zstandard.ZstdCompressor(compression_params=narrow).compress(content))
    assert content_size(tmp_path / "narrow.zst") == len(content)


def test_what_follows_an_uncompressed_bundle_is_refused(tmp_path: Path, members: Members) -> None:
    write_bundle(tmp_path / "bundle.tar", members())
    for number, more in enumerate((b"x", b"\0" * 20_000 + b"x", b"\0" * 20_000)):
        (tmp_path / "longer.tar").write_bytes((tmp_path / "bundle.tar").read_bytes() + more)
        with pytest.raises(BadInput, match="something follows the content"):
            unpack_bundle(tmp_path / "longer.tar", tmp_path / f"slot-{number}")


def test_a_slot_in_use_is_left_alone(slot: Path) -> None:
    with pytest.raises(BadInput, match="has to be empty"):
        unpack_bundle(slot.parent / "bundle.tar", slot)
    open_bundle(slot)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda slot: (slot / "extra").write_text("x"), "extra: is not named by release.json"),
        (lambda slot: (slot / "classes.json").unlink(), "classes.json: is missing"),
        (lambda slot: (slot / "classes.json").write_text("{}"), "classes.json: its SHA-256"),
        (lambda slot: (slot / "release.json").unlink(), "no release.json"),
        (lambda slot: (slot / "release.json").write_text("{"), "release.json: not JSON"),
    ],
)
def test_damage_to_an_installed_bundle_is_found(slot: Path, damage: Callable[[Path], object], problem: str) -> None:
    damage(slot)
    with pytest.raises(BadInput, match=problem):
        open_bundle(slot)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"release": 7}, "'release' has the wrong type"),
        ({"requires": {"runtime": "litert"}}, "'memory_mb' is missing"),
        ({"requires": {"runtime": "litert", "memory_mb": True}}, "'memory_mb' has the wrong type"),
        ({"model_file": "other.onnx"}, "'other.onnx' is not in files"),
        ({"files": {"../x": "0"}, "model_file": "../x"}, "'signature.json' is missing"),
        ({"files": []}, "'files' has the wrong type"),
        ({"lineage": {"model": 1}}, "'lineage' has the wrong type"),
    ],
)
def test_a_bad_release_file_names_its_field(members: Members, fields: dict[str, object], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        parse_release(members(**fields)["release.json"])


def test_a_path_in_the_release_file_is_refused(members: Members) -> None:
    files = json.loads(members()["release.json"])["files"]
    with pytest.raises(BadInput, match="not a plain file name"):
        parse_release(members(files=files | {"../../evil": hashlib.sha256(b"").hexdigest()})["release.json"])


@pytest.mark.parametrize("name", ["memory_mb", "cpu_ms_p95"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_budget_that_is_no_number_above_0_is_refused(members: Members, name: str, value: float) -> None:
    requires = {"runtime": "onnxruntime", "memory_mb": 128, "cpu_ms_p95": 80, name: value}
    with pytest.raises(BadInput, match=rf"requires\.{name}: .* is not a number above 0"):
        parse_release(members(requires=requires)["release.json"])


def test_releases_of_older_exports_state_no_processor_time(members: Members) -> None:
    older = parse_release(members(requires={"runtime": "onnxruntime", "memory_mb": 128})["release.json"])
    assert older.cpu_ms_p95 is None
    assert parse_release(members()["release.json"]).cpu_ms_p95 == 80


def test_what_a_device_lacks_is_named(members: Members) -> None:
    release = parse_release(members()["release.json"])
    check_requirements(release, {"onnxruntime"}, memory_mb=1000)
    with pytest.raises(BadInput, match="needs the runtime 'onnxruntime'; this device has: litert"):
        check_requirements(release, {"litert"}, memory_mb=1000)
    with pytest.raises(BadInput, match="needs 128 MB of memory; this device has 127"):
        check_requirements(release, {"onnxruntime"}, memory_mb=127)
    mismatch = parse_release(members(requires={"runtime": "litert", "memory_mb": 1})["release.json"])
    with pytest.raises(BadInput, match=r"'model\.onnx' is not a file for 'litert'"):
        check_requirements(mismatch, {"litert"}, memory_mb=1000)
