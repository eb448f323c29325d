"""The push stage through the runner, and `sim2edge ota` on the command line."""

import hashlib
import io
import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard

from sim2edge import cli, runner
from sim2edge import plan as plans
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge.errors import BadInput
from sim2edge.manifest import Cost, Manifest
from sim2edge.progress import JsonProgress
from sim2edge.push import commands
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder, keys_folder
from sim2edge.push.repository import BundleTarget, Repository, point
from sim2edge.push.run import read_bundle
from sim2edge.tombstone import Event
from sim2edge.withdraw_commands import look
from sim2edge.withdrawal import record


def make_tar(release: object = "r1") -> bytes:
    about = json.dumps({"release": release}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("release.json")
        member.size = len(about)
        tar.addfile(member, io.BytesIO(about))
    return buffer.getvalue()


def put_release(bus, folder, number: int, content: bytes, batch: str = "demo-1") -> str:
    """Commit a release with a bundle, as export does; its reference."""
    payload = folder / f"release-{number}"
    payload.mkdir()
    (payload / "bundle.tar").write_bytes(content)
    identity = f"{number:016x}"
    files = bus.upload(f"release/{batch}/{identity}", "first", payload)
    now = datetime.now(UTC)
    manifest = Manifest(
        kind="release",
        partition=batch,
        id=identity,
        stage="export",
        version=1,
        config={},
        config_hash="",
        inputs={},
        attempt="first",
        files=list(files),
        summary={},
        environment={},
        started=now,
        finished=now,
        cost=Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0),
    )
    return bus.commit(manifest).reference


def push(bus, reference: str, *overrides: str) -> Manifest:
    planned = plans.plan(bus, "push", overrides=overrides, inputs={"release": [reference]})
    return runner.execute(bus, planned, JsonProgress("push"))


@pytest.fixture
def ota(bus, tmp_path, monkeypatch):
    """`sim2edge ota` on the bus in memory; a repository is there."""
    monkeypatch.setenv("SIM2EDGE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr(commands.Bus, "from_environment", lambda: bus)
    assert commands.main(["init"]) == 0
    return commands.main


def status(ota, capsys) -> dict:
    capsys.readouterr()
    assert ota(["status"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_rollout_says_what_went_where(bus, tmp_path, ota):
    content = make_tar()
    manifest = push(bus, put_release(bus, tmp_path, 1, content))
    rollout = json.loads(bus.fetch(manifest, tmp_path / "rollout").path("rollout.json").read_bytes())
    described = rollout["bundle"]
    assert rollout == {"ring": "canary", "release": "r1", "bundle": described}
    assert bus.read_ref("refs/rings/canary").target == manifest.reference
    published = bus.get(f"ota/targets/releases/{described['sha256']}.r1.tar.zst")
    assert hashlib.sha256(published).hexdigest() == described["sha256"]
    assert (described["path"], described["bytes"]) == ("releases/r1.tar.zst", len(published))
    assert len(published) < len(content) / 10
    assert zstandard.decompress(published) == content


def test_a_bundle_published_before_they_were_compressed_makes_way_for_the_same_one_compressed(bus, tmp_path, ota):
    old = tmp_path / "old.tar"
    old.write_bytes(make_tar())
    keys = KeyFolder(keys_folder())
    Repository(bus, keys, PushConfig()).publish("canary", read_bundle(old))
    reference = put_release(bus, tmp_path, 1, make_tar())
    push(bus, reference, "ring=stable")
    push(bus, reference)
    targets = Repository(bus, keys, PushConfig()).current().targets.signed.targets
    assert {*targets} == {"rings/canary.json", "rings/stable.json", "releases/r1.tar.zst"}
    assert targets["releases/r1.tar.zst"].unrecognized_fields["custom"]["unpacked"] == old.stat().st_size


def test_pushing_again_is_a_hit_and_changes_nothing(bus, tmp_path, ota):
    reference = put_release(bus, tmp_path, 1, make_tar())
    first = push(bus, reference)
    before = {key: bus.get(key) for key in bus.list("ota")}
    assert push(bus, reference).attempt == first.attempt
    assert {key: bus.get(key) for key in bus.list("ota")} == before


def test_pushing_an_older_release_rolls_the_ring_back(bus, tmp_path, ota, capsys):
    references = [put_release(bus, tmp_path, number, make_tar(f"r{number}")) for number in (1, 2)]
    first = push(bus, references[0])
    push(bus, references[1])
    assert status(ota, capsys)["rings"] == {"canary": "r2"}
    push(bus, references[0])
    assert status(ota, capsys)["rings"] == {"canary": "r1"}
    assert bus.read_ref("refs/rings/canary").target == first.reference


def rings(bus) -> dict:
    """The content of the rings' files."""
    repository = Repository(bus, KeyFolder(keys_folder()), PushConfig())
    return repository.rings(repository.current().targets.signed)


def test_a_rollout_says_over_how_long_devices_take_it(bus, tmp_path, ota):
    one, two = (put_release(bus, tmp_path, number, make_tar(f"r{number}")) for number in (1, 2))
    before = datetime.now(UTC).timestamp() - 1
    push(bus, one, "window_s=300")
    first = rings(bus)["canary"]
    assert (first["release"], first["window_s"]) == ("r1", 300)
    assert before <= first["start"] <= datetime.now(UTC).timestamp()
    push(bus, two, "window_s=0")
    assert rings(bus)["canary"] == {"release": "r2", "bundle": "releases/r2.tar.zst"}


def test_pushing_again_leaves_the_start_of_a_rollout_and_a_new_window_begins_anew():
    bundle = BundleTarget("r1", Path("unused"), "", unpacked=1)
    start = datetime(2026, 11, 30, tzinfo=UTC)
    first = point({"bundle": bundle.path, "attempt": 5}, bundle, 600, start)
    assert first == {
        "release": "r1",
        "bundle": "releases/r1.tar.zst",
        "window_s": 600,
        "start": int(start.timestamp()),
        "attempt": 5,
    }
    assert point(first, bundle, 600, start + timedelta(minutes=5)) == first
    assert point(first, bundle, 60, start + timedelta(minutes=5))["start"] == first["start"] + 300
    assert point(first, bundle, 0, start) == {"release": "r1", "bundle": "releases/r1.tar.zst", "attempt": 5}


def test_rings_have_rollouts_of_their_own_and_lifetimes_do_not_change_them(bus, tmp_path, ota):
    reference = put_release(bus, tmp_path, 1, make_tar())
    canary, stable = push(bus, reference), push(bus, reference, "ring=stable")
    assert canary.id != stable.id
    assert push(bus, reference, "timestamp_days=2").id == canary.id


def test_pushing_without_a_repository_says_what_to_do(bus, tmp_path, monkeypatch):
    reference = put_release(bus, tmp_path, 1, make_tar())
    monkeypatch.delenv("SIM2EDGE_KEYS", raising=False)
    with pytest.raises(BadInput, match=r"SIM2EDGE_KEYS is not set: .*sim2edge ota init"):
        push(bus, reference)
    monkeypatch.setenv("SIM2EDGE_KEYS", str(tmp_path / "keys"))
    with pytest.raises(BadInput, match="sim2edge ota init"):
        push(bus, reference)
    assert bus.read_ref("refs/rings/canary") is None


@pytest.mark.parametrize(
    "content", [b"", b"not a tar" * 200, make_tar("../../etc"), make_tar(7), make_tar("x" * 65), make_tar()[:600]]
)
def test_what_is_no_bundle_is_refused_before_anything_is_published(bus, tmp_path, ota, content):
    with pytest.raises(BadInput, match=r"bundle.tar: .*release.json"):
        push(bus, put_release(bus, tmp_path, 1, content))
    assert not [key for key in bus.list("ota") if "releases" in key]


@pytest.mark.parametrize("ring", ["../x", "", "A", "x" * 40])
def test_a_ring_has_a_plain_name(bus, tmp_path, ota, ring):
    with pytest.raises(BadInput, match=r"push.ring: "):
        push(bus, put_release(bus, tmp_path, 1, make_tar()), f"ring={ring}")


def refresh(ota, capsys, *words):
    capsys.readouterr()
    assert ota(["refresh", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_commands_keep_the_repository_alive(ota, capsys):
    before = status(ota, capsys)["roles"]
    assert refresh(ota, capsys)["renewed"] == []
    assert ota(["rotate-root", "--replace", before["timestamp"]["keys"][0]]) == 0
    assert ota(["init"]) == 0
    after = status(ota, capsys)["roles"]
    assert (before["root"]["version"], after["root"]["version"]) == (1, 2)
    assert after["targets"]["version"] == before["targets"]["version"]
    assert after["timestamp"]["keys"] != before["timestamp"]["keys"]


def test_what_is_due_is_renewed_and_said_with_the_days_left(ota, capsys, tmp_path, monkeypatch):
    (tmp_path / "long.yaml").write_text("push: {root_days: 3000, targets_days: 1000}\n")
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    said = refresh(ota, capsys, "--root")
    assert said["renewed"] == []
    capsys.readouterr()
    assert ota(["--preset", "long", "refresh", "--root"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["event"], said["renewed"]) == ("refreshed", ["root", "targets"])
    assert {role: round(each["days_left"]) for role, each in said["roles"].items()} == {
        "root": 3000,
        "targets": 1000,
        "snapshot": 7,
        "timestamp": 1,
    }
    shown = status(ota, capsys)
    assert {round(each["days_left"]) for each in shown["keys"].values()} == {3000}
    assert len(shown["keys"]) == 6


def test_where_there_is_no_repository_nothing_is_renewed_on_request(bus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands.Bus, "from_environment", lambda: bus)
    monkeypatch.delenv("SIM2EDGE_KEYS", raising=False)
    assert refresh(commands.main, capsys, "--if-any")["roles"] == {}
    monkeypatch.setenv("SIM2EDGE_KEYS", str(tmp_path / "keys"))
    with pytest.raises(BadInput, match=r"root.json: missing"):
        commands.main(["refresh"])


# Withdrawn batches


def withdraw(bus, batch):
    record(bus, batch, Event(action="withdraw", reason="shifted labels", by="ana", at=datetime.now(UTC)))


def test_a_release_of_a_withdrawn_batch_is_not_published_not_even_if_it_was_before(bus, tmp_path, ota, capsys):
    references = [put_release(bus, tmp_path, number, make_tar(f"r{number}"), f"demo-{number}") for number in (1, 2)]
    push(bus, references[1])
    push(bus, references[0])
    withdraw(bus, "demo-2")
    with pytest.raises(BadInput, match=rf"^push: input 'release': {references[1]}: has withdrawn batch 'demo-2'"):
        push(bus, references[1])
    assert status(ota, capsys)["rings"] == {"canary": "r1"}


def test_a_batch_that_is_withdrawn_between_plan_and_publication_stops_it(bus, tmp_path, ota, capsys):
    reference = put_release(bus, tmp_path, 1, make_tar())
    push(bus, reference, "ring=stable")
    planned = plans.plan(bus, "push", inputs={"release": [reference]})
    withdraw(bus, "demo-1")
    with pytest.raises(BadInput, match="has withdrawn batch 'demo-1'"):
        runner.execute(bus, planned, JsonProgress("push"))
    assert status(ota, capsys)["rings"] == {"stable": "r1"}


def test_a_batch_that_is_withdrawn_during_the_publication_fails_the_run_and_is_seen_by_who_withdraws(
    bus, tmp_path, ota, monkeypatch, capsys
):
    reference = put_release(bus, tmp_path, 1, make_tar())
    publish = Repository.publish

    def publish_and_see_it_withdrawn(self, *published):
        withdraw(bus, "demo-1")
        return publish(self, *published)

    monkeypatch.setattr(Repository, "publish", publish_and_see_it_withdrawn)
    with pytest.raises(BadInput, match="has withdrawn batch 'demo-1'"):
        push(bus, reference)
    (ring,) = look(bus, Catalog(bus), "demo-1").rings
    assert (ring.ring, ring.release, ring.back_to) == ("canary", reference, None)


def test_withdrawing_with_roll_back_publishes_the_newest_earlier_release_of_each_ring(
    bus, tmp_path, ota, monkeypatch, capsys
):
    references = [put_release(bus, tmp_path, number, make_tar(f"r{number}"), f"demo-{number}") for number in (1, 2, 3)]
    for reference, ring in zip((*references, references[1]), ("canary", "canary", "canary", "stable"), strict=True):
        push(bus, reference, f"ring={ring}")
    monkeypatch.setattr(Bus, "from_environment", lambda *_: bus)
    assert cli.main(["withdraw", "demo-3", "--reason", "shifted labels", "--roll-back"]) == 0
    assert status(ota, capsys)["rings"] == {"canary": "r2", "stable": "r2"}
    assert cli.main(["withdraw", "demo-2", "--reason", "shifted labels", "--roll-back"]) == 0
    assert "ring stable: release/demo-2/" in capsys.readouterr().out
    assert status(ota, capsys)["rings"] == {"canary": "r1", "stable": "r2"}
    assert cli.main(["withdraw", "demo-1", "--reason", "and these", "--roll-back"]) == 0
    assert "there is no earlier release without a withdrawn batch" in capsys.readouterr().out
