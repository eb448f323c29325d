"""Pins against hand-written OSV records: ranges, lists, what is withdrawn, and what cannot be read."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import audit
from packaging.version import Version


def record(name="Some_Package", ident="TEST-1", ecosystem="PyPI", **affected):
    return {
        "id": ident,
        "summary": "reads too far",
        "affected": [{"package": {"ecosystem": ecosystem, "name": name}, **affected}],
    }


def ecosystem_range(*events, kind="ECOSYSTEM"):
    return {"ranges": [{"type": kind, "events": list(events)}]}


def found(version, entry, name="some-package"):
    return [finding.record for finding in audit.find({(name, version)}, [entry])]


@pytest.mark.parametrize(
    ("version", "hit"),
    [("1.0", False), ("1.1", True), ("1.9.9", True), ("2.0", False), ("2.0rc1", True), ("3.0", True), ("3.5", False)],
)
def test_two_stretches_of_versions(version, hit):
    entry = record(
        **ecosystem_range({"introduced": "3.0"}, {"introduced": "1.1"}, {"fixed": "2.0"}, {"fixed": "3.1"}),
    )
    assert bool(found(version, entry)) is hit


@pytest.mark.parametrize(("version", "hit"), [("0.1", True), ("1.4", True), ("1.4.post1", False), ("1.5", False)])
def test_the_last_affected_version_is_affected(version, hit):
    assert bool(found(version, record(**ecosystem_range({"introduced": "0"}, {"last_affected": "1.4"})))) is hit


def test_a_limit_ends_a_range_that_nothing_fixed():
    entry = record(**ecosystem_range({"introduced": "1"}, {"limit": "2"}))
    assert found("1.5", entry)
    assert not found("2.1", entry)
    assert found("2.1", record(**ecosystem_range({"introduced": "1"}, {"limit": "*"})))


def test_a_listed_version_is_affected_however_it_is_written():
    assert found("1.0", record(versions=["0.9", "1.0.0"]))
    assert not found("1.1", record(versions=["0.9", "1.0.0"]))


def test_a_build_of_ones_own_has_the_release_s_mistakes():
    assert found("2.13.0+cpu", record(**ecosystem_range({"introduced": "2.0"}, {"fixed": "2.14"})))


def test_what_does_not_count():
    everything = ecosystem_range({"introduced": "0"})
    assert found("1", record(**everything))
    assert not found("1", record(**everything) | {"withdrawn": "2026-01-01T00:00:00Z"})
    assert not found("1", record(ecosystem="npm", **everything))
    assert not found("1", record(name="another", **everything))
    assert not found("1", record(**ecosystem_range({"introduced": "0"}, kind="GIT")))


def test_an_unreadable_fix_mends_nothing():
    assert audit.in_range(Version("5"), [{"introduced": "0"}, {"fixed": "in the next release"}])


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "lock.txt"
    path.write_text("# a comment\nsome.package==1.5  # via\nother[extra]==2.0 ; python_version < '4'\n")
    return path


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "osv"
    folder.mkdir()
    for number, fixed in enumerate(("1.4", "1.6"), 1):
        entry = record(ident=f"TEST-{number}", **ecosystem_range({"introduced": "0"}, {"fixed": fixed}))
        (folder / f"TEST-{number}.json").write_text(json.dumps(entry))
    return folder


def test_a_folder_and_a_zip_file_say_the_same(lock, records, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in records.iterdir():
            archive.write(path, path.name)
    for data in (records, tmp_path / "all.zip"):
        assert audit.main(["--osv", str(data), str(lock)]) == audit.EXIT_FOUND
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "some-package==1.5: TEST-2: reads too far"
        assert said[1] == "audit: 2 pins, 2 records: 1 known vulnerabilities"


def test_pins_that_no_record_names_pass(records, tmp_path):
    (tmp_path / "lock.txt").write_text("some-package==1.6\n")
    assert audit.main(["--osv", str(records), str(tmp_path / "lock.txt")]) == 0


def test_without_data_it_says_that_it_could_not_look(lock, monkeypatch, capsys):
    monkeypatch.delenv("SIM2EDGE_OSV", raising=False)
    assert audit.main([str(lock)]) == 0
    assert "NOT CHECKED" in capsys.readouterr().err
    assert audit.main(["--require", str(lock)]) == audit.EXIT_NOT_LOOKED


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "no such file"), (b"x", "not JSON"), (b"{}", "it has no id"), (b"[]", "it has no id")],
)
def test_data_that_cannot_be_read_passes_nothing(lock, tmp_path, capsys, content, complaint):
    folder = tmp_path / "broken"
    if content is not None:
        folder.mkdir()
        (folder / "TEST-1.json").write_bytes(content)
    assert audit.main(["--osv", str(folder), str(lock)]) == audit.EXIT_UNREADABLE
    assert complaint.lower() in capsys.readouterr().err.lower()


def test_a_folder_without_records_passes_nothing(lock, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert audit.main(["--osv", str(tmp_path / "empty"), str(lock)]) == audit.EXIT_UNREADABLE
    assert "contains no OSV record" in capsys.readouterr().err


def test_a_line_that_pins_nothing_is_named(records, tmp_path, capsys):
    (tmp_path / "lock.txt").write_text("fine==1\nloose>=2\n")
    assert audit.main(["--osv", str(records), str(tmp_path / "lock.txt")]) == audit.EXIT_UNREADABLE
    assert "lock.txt, line 2: 'loose>=2' is not a pin" in capsys.readouterr().err


def test_every_lock_of_the_project_can_be_read():
    pins = dict(audit.read_pins([audit.CHECKOUT / name for name in audit.LOCKS]))
    assert {"torch", "apache-airflow", "tflite-runtime", "tuf"} <= pins.keys()
