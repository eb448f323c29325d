"""`sim2edge ota prune`: what no device needs goes, what one may be in the middle of stays."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.push.test_repository import bundle, client_sees

from sim2edge.errors import BadInput
from sim2edge.push import commands
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.prune import Limits, choose, keep_versions, prune
from sim2edge.push.repository import Repository

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = timedelta(days=3)


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


@pytest.fixture
def keys(tmp_path):
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def repository(bus, keys, tmp_path):
    """A repository with fourteen releases in its past, of which two rings have one each."""
    made = Repository(bus, keys, PushConfig())
    made.create()
    made.publish("stable", bundle(tmp_path, "r0"))
    for number in range(1, 14):
        made.publish("canary", bundle(tmp_path, f"r{number}"))
    return made


def in_three_days(repository: Repository) -> Repository:
    return Repository(repository.bus, repository._keys, PushConfig(), now=lambda: datetime.now(UTC) + LATER)


def releases(bus) -> set[str]:
    return {key.split(".")[1] for key in bus.list("ota/targets/releases")}


def test_what_no_ring_names_goes_after_the_grace_and_the_newest_releases_stay(bus, keys, repository, tmp_path):
    client_sees(bus, keys.root_file.read_bytes(), tmp_path / "old-device")
    bus.put("ota/metadata/notes.txt", b"of an operator")
    gone = prune(in_three_days(repository), Limits(releases=3), dry_run=False)
    assert releases(bus) == {"r0", "r11", "r12", "r13"}
    assert {"ota/metadata/1.root.json", "ota/metadata/timestamp.json", "ota/metadata/notes.txt"} <= {*bus.list("ota")}
    assert {"ota/metadata/1.targets.json", "ota/metadata/1.snapshot.json"} <= {head.key for head in gone}
    for device in ("old-device", "new-device"):
        assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / device) == "r13"
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "stable", "stable") == "r0"
    assert prune(in_three_days(repository), Limits(releases=3), dry_run=False) == []
    repository.publish("canary", bundle(tmp_path, "r1"))
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "new-device") == "r1"


def test_within_the_grace_nothing_goes(bus, repository):
    before = {*bus.list("ota")}
    assert prune(repository, Limits(releases=1), dry_run=False) == []
    assert {*bus.list("ota")} == before


def test_a_dry_run_deletes_nothing(bus, repository):
    before = {*bus.list("ota")}
    assert prune(in_three_days(repository), Limits(releases=1), dry_run=True)
    assert {*bus.list("ota")} == before


def test_with_damaged_metadata_nothing_is_deleted(bus, repository):
    version = repository.current().targets.signed.version
    bus.put(f"ota/metadata/{version - 1}.targets.json", b"{")
    before = {*bus.list("ota")}
    with pytest.raises(BadInput, match=rf"{version - 1}.targets.json: not readable: nothing is deleted"):
        prune(in_three_days(repository), Limits(), dry_run=False)
    assert {*bus.list("ota")} == before


def test_a_release_that_was_replaced_lately_stays_for_those_who_are_downloading_it():
    written = {1: hours_ago(900), 2: hours_ago(800), **{n: hours_ago(700 - n) for n in range(3, 20)}, 20: hours_ago(1)}
    kept = keep_versions(written, live=20, since=hours_ago(48))
    assert 19 in kept, "it was current until an hour ago, though it is a month old"
    assert kept == {*range(17, 21)}
    targets = {"releases/a.r1.tar.zst": hours_ago(900), "releases/b.r2.tar.zst": hours_ago(800)}
    assert choose(targets, {"releases/a.r1.tar.zst", "releases/b.r2.tar.zst"}, Limits(0), NOW) == []
    assert choose(targets, {"releases/b.r2.tar.zst"}, Limits(0), NOW) == ["releases/a.r1.tar.zst"]
    assert choose(targets, (), Limits(1), NOW) == ["releases/a.r1.tar.zst"]
    assert choose(targets, (), Limits(5), NOW) == []


def test_what_a_pusher_is_just_writing_stays():
    assert (
        choose({"releases/a.r1.tar.zst": hours_ago(1), "rings/c.canary.json": hours_ago(1)}, (), Limits(0), NOW) == []
    )
    assert 8 in keep_versions({7: hours_ago(900), 8: hours_ago(0.1)}, live=7, since=hours_ago(48))
    assert keep_versions({7: hours_ago(900)}, live=7, since=hours_ago(48)) == {7}
    assert keep_versions({}, live=1, since=NOW) == set()


def test_the_command_says_what_it_deletes(bus, keys, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SIM2EDGE_KEYS", str(keys.folder))
    monkeypatch.setattr(commands.Bus, "from_environment", lambda: bus)
    assert commands.main(["prune", "--dry-run"]) == 0
    assert capsys.readouterr().out == "0 objects, 0.0 MB would be deleted\n"
    for arguments, line in ((["--keep", "0"], "--keep: has"), (["--grace-hours", "0"], "--grace-hours: has to be 1")):
        with pytest.raises(BadInput, match=line):
            commands.main(["prune", *arguments])
