"""The update repository: publishing in one step, whatever happens meanwhile; keys, rotation, expiry."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from tuf.ngclient import Updater

from sim2edge.bus import Bus
from sim2edge.edge.server.identity import assigned_ring
from sim2edge.edge.server.tuf_fetcher import BusFetcher
from sim2edge.enrol.assignments import bin_of
from sim2edge.errors import BadInput, Conflict
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import BundleTarget, Repository


@pytest.fixture
def keys(tmp_path):
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def repository(bus, keys):
    repository = Repository(bus, keys, PushConfig())
    repository.create()
    return repository


def bundle(folder: Path, release: str, content: bytes = b"") -> BundleTarget:
    file = folder / f"{release}.tar"
    file.write_bytes(content or release.encode())
    return BundleTarget(release, file, "{}")


def client_sees(bus: Bus, root: bytes, folder: Path, ring: str = "canary") -> str | None:
    """The release that a device finds in its ring, having checked it and the bundle; a device remembers what it saw."""
    folder.mkdir(exist_ok=True)
    client = Updater(str(folder), "ota/metadata/", str(folder), "ota/targets/", fetcher=BusFetcher(bus), bootstrap=root)
    pointer = client.get_targetinfo(f"rings/{ring}.json")
    if pointer is None:
        return None
    content = json.loads(Path(client.download_target(pointer)).read_bytes())
    target = client.get_targetinfo(content["bundle"])
    client.download_target(target)
    return content["release"]


def snapshot(bus: Bus) -> dict[str, bytes]:
    return {key: bus.get(key) for key in bus.list("ota")}


def test_a_new_repository_is_there_for_clients_and_made_once(bus, keys, repository, tmp_path):
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") is None
    before = snapshot(bus)
    assert repository.create() is False
    assert snapshot(bus) == before


def test_keys_are_their_owners_only_and_root_keys_lie_apart(keys, repository):
    files = sorted(path.relative_to(keys.folder) for path in keys.folder.rglob("*.pem"))
    assert [str(path).split("-")[0] for path in files] == [*["offline/root"] * 3, "snapshot", "targets", "timestamp"]
    for path in files:
        assert stat.S_IMODE((keys.folder / path).stat().st_mode) == 0o600


def test_root_needs_two_of_three_and_every_online_role_has_a_key_of_its_own(repository):
    roles = repository.trusted_root().signed.roles
    assert (roles["root"].threshold, len(roles["root"].keyids)) == (2, 3)
    online = [roles[role].keyids for role in ("targets", "snapshot", "timestamp")]
    assert all(len(ids) == 1 for ids in online)
    assert len({*roles["root"].keyids, *(ids[0] for ids in online)}) == 6


def test_expiries_are_those_of_the_config(repository):
    current, now = repository.current(), datetime.now(UTC)
    for metadata, days in ((current.root, 365), (current.targets, 90), (current.snapshot, 7), (current.timestamp, 1)):
        assert abs(metadata.signed.expires - now - timedelta(days=days)) < timedelta(minutes=5)


def test_publishing_twice_writes_once(bus, keys, repository, tmp_path):
    assert repository.publish("canary", bundle(tmp_path, "r1")) is True
    before = snapshot(bus)
    assert repository.publish("canary", bundle(tmp_path, "r1")) is False
    assert snapshot(bus) == before
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") == "r1"


def test_publishing_an_older_release_moves_the_ring_back_under_higher_versions(bus, keys, repository, tmp_path):
    versions = []
    for release in ("r1", "r2", "r1"):
        repository.publish("canary", bundle(tmp_path, release))
        current = repository.current()
        versions.append((current.targets.signed.version, current.timestamp.signed.version))
        assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") == release
    assert versions == sorted(versions)
    assert len(set(versions)) == 3


def test_targets_keep_only_what_some_ring_points_at(repository, tmp_path):
    repository.publish("stable", bundle(tmp_path, "r1"))
    repository.publish("canary", bundle(tmp_path, "r2"))
    repository.publish("canary", bundle(tmp_path, "r3"))
    paths = {"rings/canary.json", "rings/stable.json", "releases/r1.tar", "releases/r3.tar"}
    assert set(repository.current().targets.signed.targets) == paths


def test_a_release_id_cannot_get_other_bytes_behind_a_rings_back(repository, tmp_path):
    repository.publish("stable", bundle(tmp_path, "r1"))
    with pytest.raises(BadInput, match="release r1: ring stable has other bytes under this id"):
        repository.publish("canary", bundle(tmp_path, "r1", b"others"))


class DyingBus(Bus):
    """A bus whose owner is killed before its n-th write."""

    def __init__(self, bus: Bus, writes: int) -> None:
        super().__init__(bus._store)
        self.writes = writes

    def put(self, key, data, **condition):
        if self.writes == 0:
            raise KeyboardInterrupt
        self.writes -= 1
        super().put(key, data, **condition)


def test_a_pusher_killed_at_any_write_leaves_the_old_release_or_the_new(bus, keys, repository, tmp_path):
    root = keys.root_file.read_bytes()
    repository.publish("canary", bundle(tmp_path, "r0"))
    writes = 0
    while True:
        release = f"r{writes + 1}"
        mortal = Repository(DyingBus(bus, writes), keys, PushConfig())
        try:
            mortal.publish("canary", bundle(tmp_path, release))
            break
        except KeyboardInterrupt:
            assert client_sees(bus, root, tmp_path / "device") == f"r{writes}"
        assert repository.publish("canary", bundle(tmp_path, release))
        assert client_sees(bus, root, tmp_path / "device") == release
        writes += 1
    assert writes == 5


def test_a_creator_killed_at_any_write_can_begin_again(bus, keys, tmp_path):
    for writes in range(4):
        with pytest.raises(KeyboardInterrupt):
            Repository(DyingBus(bus, writes), keys, PushConfig()).create()
    Repository(bus, keys, PushConfig()).create()
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") is None


class RacingBus(Bus):
    """A bus on which another pusher publishes just before this one swaps the timestamp."""

    def __init__(self, bus: Bus, other) -> None:
        super().__init__(bus._store)
        self.other = other

    def put(self, key, data, **condition):
        if key.endswith("timestamp.json") and self.other:
            other, self.other = self.other, None
            other()
        super().put(key, data, **condition)


def test_of_two_pushers_none_undoes_the_other(bus, keys, repository, tmp_path):
    racing = RacingBus(bus, lambda: repository.publish("stable", bundle(tmp_path, "r2")))
    Repository(racing, keys, PushConfig()).publish("canary", bundle(tmp_path, "r1"))
    root = keys.root_file.read_bytes()
    assert client_sees(bus, root, tmp_path / "device") == "r1"
    assert client_sees(bus, root, tmp_path / "device", "stable") == "r2"


def test_who_always_loses_the_race_gives_up(bus, keys, repository, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)

    class Hopeless(Bus):
        def put(self, key, data, **condition):
            if key.endswith("timestamp.json"):
                raise Conflict("changed by another writer")
            super().put(key, data, **condition)

    with pytest.raises(Conflict):
        Repository(Hopeless(bus._store), keys, PushConfig()).publish("canary", bundle(tmp_path, "r1"))
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") is None


def versions(repository) -> dict[str, int]:
    current = repository.current()
    return {each.signed.type: each.signed.version for each in (current.targets, current.snapshot, current.timestamp)}


def test_refresh_renews_what_is_past_half_of_its_lifetime_and_nothing_twice(bus, keys, tmp_path):
    clock = [datetime.now(UTC) - timedelta(days=5)]
    repository = Repository(bus, keys, PushConfig(), lambda: clock[0])
    repository.create()
    assert repository.refresh() == ()
    clock[0] += timedelta(hours=13)
    assert repository.refresh() == ("timestamp",)
    clock[0] = datetime.now(UTC)
    assert repository.refresh() == ("snapshot", "timestamp")
    assert repository.refresh() == ()
    assert versions(repository) == {"targets": 1, "snapshot": 2, "timestamp": 3}
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") is None


def test_a_missing_targets_key_stops_neither_timestamp_nor_snapshot(bus, keys, tmp_path):
    clock = [datetime.now(UTC) - timedelta(days=46)]
    repository = Repository(bus, keys, PushConfig(), lambda: clock[0])
    repository.create()
    (targets_key,) = keys.folder.glob("targets-*.pem")
    targets_key.unlink()
    clock[0] = datetime.now(UTC)
    with pytest.raises(BadInput, match="holds 0 of the 1 targets keys"):
        repository.refresh()
    assert versions(repository) == {"targets": 1, "snapshot": 2, "timestamp": 2}
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") is None


def test_a_root_that_expires_is_warned_of_then_refused_and_renewed_where_its_keys_are(bus, keys, tmp_path):
    clock = [datetime.now(UTC)]
    repository = Repository(bus, keys, PushConfig(), lambda: clock[0])
    repository.create()
    assert (repository.check_root(), repository.renew_root()) == (None, None)
    clock[0] += timedelta(days=300)
    assert "rotate-root" in repository.check_root()
    assert repository.publish("canary", bundle(tmp_path, "r1"))
    clock[0] += timedelta(days=60)
    with pytest.raises(BadInput, match=r"the root expires on 20.*too soon to push under it: .*rotate-root"):
        repository.publish("canary", bundle(tmp_path, "r2"))
    assert repository.refresh(), "devices go on"
    clock[0] += timedelta(days=6)
    with pytest.raises(BadInput, match="the root expired on 20"):
        repository.refresh()
    offline = [(path, path.read_bytes()) for path in (keys.folder / "offline").iterdir()]
    for path, _ in offline:
        path.unlink()
    assert repository.renew_root() is None
    for path, key in offline:
        path.write_bytes(key)
    assert repository.renew_root() == 2
    assert repository.publish("canary", bundle(tmp_path, "r2"))


def test_publishing_what_is_there_renews_what_is_about_to_expire(bus, keys, tmp_path):
    clock = [datetime.now(UTC) - timedelta(days=60)]
    repository = Repository(bus, keys, PushConfig(), lambda: clock[0])
    repository.create()
    repository.publish("canary", bundle(tmp_path, "r1"))
    clock[0] = datetime.now(UTC)
    assert repository.publish("canary", bundle(tmp_path, "r1")) is True
    assert client_sees(bus, keys.root_file.read_bytes(), tmp_path / "device") == "r1"
    assert repository.publish("canary", bundle(tmp_path, "r1")) is False


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_key_is_replaced_without_a_moment_of_refusal(bus, keys, repository, tmp_path, role):
    root = keys.root_file.read_bytes()
    repository.publish("canary", bundle(tmp_path, "r1"))
    assert client_sees(bus, root, tmp_path / "device") == "r1"
    old = repository.trusted_root().signed.roles[role].keyids[0]
    writes = 0
    while True:
        try:
            version = Repository(DyingBus(bus, writes), keys, PushConfig()).rotate_root([f"{role}-{old[:8]}"])
            break
        except KeyboardInterrupt:
            assert client_sees(bus, root, tmp_path / "device") == "r1"
            writes += 1
    assert version == 2
    assert old not in repository.trusted_root().signed.roles[role].keyids
    assert not keys.path(role, old).exists()
    assert client_sees(bus, root, tmp_path / "device") == "r1"
    repository.publish("canary", bundle(tmp_path, "r2"))
    assert client_sees(bus, root, tmp_path / "device") == "r2"


def test_a_root_is_not_rotated_without_two_root_keys(keys, repository):
    for path in list((keys.folder / "offline").iterdir())[:2]:
        path.unlink()
    with pytest.raises(BadInput, match="offline: holds 1 of the 2 root keys that are needed"):
        repository.rotate_root()


def test_pushing_needs_no_offline_key(bus, keys, repository, tmp_path):
    for path in (keys.folder / "offline").iterdir():
        path.unlink()
    assert repository.publish("canary", bundle(tmp_path, "r1"))


@pytest.mark.parametrize("name", ["timestamp-00000000", "timestamp", "mirror-12", ""])
def test_a_key_that_is_not_in_the_root_cannot_be_replaced(repository, name):
    with pytest.raises(BadInput, match=f"key '{name}' is not in root 1"):
        repository.rotate_root([name])


@pytest.mark.parametrize("part", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: data.replace(b'"version":1', b'"version":9')])
def test_nothing_is_signed_on_top_of_tampered_metadata(bus, repository, tmp_path, part, damage):
    bus.put(f"ota/metadata/{part}", damage(bus.get(f"ota/metadata/{part}")))
    with pytest.raises(BadInput, match="ota/metadata"):
        repository.publish("canary", bundle(tmp_path, "r1"))


def test_a_second_owner_cannot_take_the_repository_over(bus, repository, tmp_path):
    others = KeyFolder(tmp_path / "others")
    Repository(Bus(MemoryStore()), others, PushConfig()).create()
    with pytest.raises(BadInput, match="already holds a repository with other keys"):
        Repository(bus, others, PushConfig()).create()


def test_no_keys_are_made_for_a_repository_whose_root_is_elsewhere(bus, repository, tmp_path):
    with pytest.raises(BadInput, match=r"root.json: missing: .*or copy it from the machine that ran it"):
        Repository(bus, KeyFolder(tmp_path / "empty"), PushConfig()).create()
    assert not (tmp_path / "empty").exists()


def test_every_key_and_folder_is_its_owners_alone(keys, repository):
    found = {path.relative_to(keys.folder.parent): path.stat().st_mode & 0o777 for path in keys.folder.rglob("*")}
    assert len([path for path in found if path.suffix == ".pem"]) == 6
    assert {mode for path, mode in found.items() if path.suffix} == {0o600}
    assert {mode for path, mode in found.items() if not path.suffix} == {0o700}
    assert keys.folder.stat().st_mode & 0o777 == 0o700


def test_there_is_no_repository_before_init(bus, keys, tmp_path):
    with pytest.raises(BadInput, match=r"root.json: missing: `sim2edge ota init` writes it"):
        Repository(bus, keys, PushConfig()).publish("canary", bundle(tmp_path, "r1"))


def test_a_damaged_key_file_is_named(keys, repository, tmp_path):
    (path,) = keys.folder.glob("timestamp-*.pem")
    path.write_text("not a key")
    with pytest.raises(BadInput, match=f"{path.name}: not a private key"):
        repository.publish("canary", bundle(tmp_path, "r1"))


def ring_seen(bus: Bus, root: bytes, folder: Path, device: str) -> str | None:
    """The ring that a device finds itself assigned to."""
    folder.mkdir(exist_ok=True)
    client = Updater(str(folder), "ota/metadata/", str(folder), "ota/targets/", fetcher=BusFetcher(bus), bootstrap=root)
    return assigned_ring(client, device, lambda target: Path(client.download_target(target)).read_bytes())


def test_the_ring_of_each_device_is_signed_and_outlives_a_push(bus, keys, repository, tmp_path):
    root = keys.root_file.read_bytes()
    assert ring_seen(bus, root, tmp_path / "pi", "pi-1") is None
    assert repository.assign({"pi-1": "canary", "pi-2": "stable"})
    assert not repository.assign({"pi-2": "stable", "pi-1": "canary"})
    repository.publish("canary", bundle(tmp_path, "r1"))
    assert ring_seen(bus, root, tmp_path / "pi", "pi-1") == "canary"
    assert ring_seen(bus, root, tmp_path / "pi", "pi-2") == "stable"
    assert ring_seen(bus, root, tmp_path / "pi", "pi-3") is None
    assert client_sees(bus, root, tmp_path / "pi") == "r1"
    assert repository.assign({"pi-1": "stable"})
    assert ring_seen(bus, root, tmp_path / "pi", "pi-1") == "stable"
    assert ring_seen(bus, root, tmp_path / "pi", "pi-2") is None
    assert client_sees(bus, root, tmp_path / "pi") == "r1"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"pi-1": 7}', b"[" * 100_000])
def test_a_device_refuses_an_assignment_that_is_none(bus, keys, repository, tmp_path, monkeypatch, content):
    monkeypatch.setattr("sim2edge.push.repository.files", lambda _: {bin_of("pi-1"): content})
    repository.assign({})
    with pytest.raises(BadInput, match=bin_of("pi-1")):
        ring_seen(bus, keys.root_file.read_bytes(), tmp_path / "pi", "pi-1")
