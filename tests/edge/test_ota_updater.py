"""Updates over the air, against a real repository: what is taken, what is refused, and the power going at any line."""

import errno
import json
import os
import shutil

import pytest
from obstore.store import MemoryStore
from ota_server import OtaServer, accept, reject
from power_cut import PowerCut
from tiny_release import make_members

from sim2edge.bus import Bus
from sim2edge.edge import bundle, ota_updater
from sim2edge.edge.bundle import open_bundle
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.preflight import Preflight, Result
from sim2edge.edge.judgement.trial import Step
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.server.clock import UNSET_BEFORE, DeviceClock, day
from sim2edge.edge.server.rollout import Rollout
from sim2edge.edge.storage import durable, roots, slots, staging, state_file
from sim2edge.errors import BadInput, Unavailable
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import Repository


@pytest.fixture
def device(server, tmp_path):
    """A device that has r1 and finds it good."""
    updater, device_slots = server.device(tmp_path / "home")
    updater.update()
    accept(device_slots)
    return updater, device_slots


def runs(device_slots: slots.Slots) -> str | None:
    """The release that boots; its files are checked."""
    slot = trial.boots(device_slots.state)
    return open_bundle(device_slots.folder(slot)).release.id if slot else None


def held(device_slots: slots.Slots) -> dict[str, str]:
    """The release in each slot that the state names; its files are checked."""
    return {slot: open_bundle(device_slots.folder(slot)).release.id for slot in device_slots.state.slots}


def replace_object(server: OtaServer, part: str, change) -> None:
    key = server.key(part)
    server.bus.put(key, change(server.bus.get(key)))


# What is taken


def test_a_new_device_installs_the_release_of_its_ring(server, tmp_path):
    updater, device_slots = server.device(tmp_path / "home")
    assert updater.update().step is Step.INSTALL
    assert runs(device_slots) == "r1"
    assert device_slots.state.trial.slot == "a"
    assert list(device_slots.staging.iterdir()) == []


def test_a_compressed_release_follows_one_that_is_not(server, device):
    updater, device_slots = device
    server.publish("r2", compressed=True)
    assert updater.update().step is Step.INSTALL
    assert runs(device_slots) == "r2"


def test_a_release_that_runs_already_is_not_fetched_again(device):
    updater, _ = device
    assert updater.update().step is Step.KEEP


def test_an_update_goes_to_the_other_slot_and_the_old_one_stays(server, device):
    updater, device_slots = device
    server.publish("r2")
    assert updater.update().step is Step.INSTALL
    assert runs(device_slots) == "r2"
    assert open_bundle(device_slots.folder("a")).release.id == "r1"


def test_rings_are_apart(server, device, tmp_path):
    server.publish("r2", ring="stable")
    assert device[0].update().step is Step.KEEP
    other, other_slots = server.device(tmp_path / "other", ring="stable")
    other.update()
    assert runs(other_slots) == "r2"


def test_a_ring_moved_back_brings_the_old_release_back_without_a_download(server, device):
    updater, device_slots = device
    server.publish("r2")
    updater.update()
    accept(device_slots)
    server.publish("r1")
    server.bus.delete(key for key in server.bus.list("ota") if ".r1.tar" in key)
    assert updater.update().step is Step.RETRY
    assert runs(device_slots) == "r1"


def test_a_failed_release_is_held_back_until_there_is_another(server, device):
    updater, device_slots = device
    server.publish("r2")
    updater.update()
    reject(device_slots)
    assert updater.update().step is Step.HOLD
    assert runs(device_slots) == "r1"
    server.publish("r3")
    assert updater.update().step is Step.INSTALL
    assert runs(device_slots) == "r3"


def test_a_trial_is_superseded_by_a_newer_release(server, device):
    updater, device_slots = device
    server.publish("r2")
    updater.update()
    server.publish("r3")
    assert updater.update().step is Step.INSTALL
    assert runs(device_slots) == "r3"
    assert open_bundle(device_slots.folder("a")).release.id == "r1"
    assert device_slots.state.bans == ()


def test_a_device_that_slept_through_a_root_rotation_follows_it(server, device):
    updater, device_slots = device
    for role in ("root", "targets", "snapshot", "timestamp"):
        key = server.repository.trusted_root().signed.roles[role].keyids[0]
        server.repository.rotate_root([f"{role}-{key[:8]}"])
    server.publish("r2")
    updater.update()
    assert runs(device_slots) == "r2"


# What is refused


def refused(device, words: str) -> None:
    updater, device_slots = device
    with pytest.raises(BadInput, match=words) as error:
        updater.update()
    assert "\n" not in str(error.value)
    assert runs(device_slots) == "r1"
    assert device_slots.state.trial is None


def test_expired_metadata(server, device):
    server.age(days=2)
    server.publish("r2")
    refused(
        device, "update refused: expired metadata: this device's clock .* or the server is wrong: timestamp.json is"
    )


def test_a_clock_of_1970_stops_no_update_and_is_named(server, device):
    updater, device_slots = device
    device_slots.clock = DeviceClock(device_slots.home, lambda: 60.0)
    server.publish("r2")
    updater.update()
    assert runs(device_slots) == "r2"
    assert device_slots.now() >= UNSET_BEFORE
    assert device_slots.clock.fault.startswith("1970-01-01, before 20")
    assert not device_slots.faults, "no release is judged by it"


def test_a_clock_that_is_400_days_ahead_refuses_what_is_valid_and_is_named_as_one_of_two_causes(server, device):
    ahead = server.clock.timestamp() + 400 * 86400
    device[1].clock = DeviceClock(device[1].home, lambda: ahead)
    server.publish("r2")
    refused(device, rf"this device's clock \({day(ahead)}\) or the server is wrong: .* is expired")
    device[1].clock = DeviceClock(device[1].home)
    device[0].update()
    assert runs(device[1]) == "r2"


@pytest.mark.parametrize("part", ["/timestamp.json", "/3.snapshot.json", "/3.targets.json"])
def test_tampered_metadata(server, device, part):
    server.publish("r2")
    replace_object(server, part, lambda data: data.replace(b'"version":3', b'"version":4'))
    refused(device, "update refused: ")


@pytest.mark.parametrize("part", ["/timestamp.json", "/3.snapshot.json", "/3.targets.json", ".canary.json", ".r2.tar"])
@pytest.mark.parametrize("damage", ["emptied", "cut", "doubled", "removed"])
def test_damaged_objects(server, device, part, damage):
    old_ring = server.key(".canary.json")
    server.publish("r2")
    server.bus.delete([old_ring])
    if damage == "removed":
        server.bus.delete([server.key(part)])
    else:
        change = {"emptied": lambda data: b"", "cut": lambda data: data[:-9], "doubled": lambda data: data + data}
        replace_object(server, part, change[damage])
    refused(device, ".")


def test_a_tampered_bundle_is_not_kept(server, device):
    server.publish("r2")
    replace_object(server, ".r2.tar", lambda data: data[:-1] + b"!")
    refused(device, "its bytes are not those that were signed")
    assert list(device[1].staging.iterdir()) == []


def test_a_bundle_larger_than_signed_is_cut_off(server, device):
    server.publish("r2")
    replace_object(server, ".r2.tar", lambda data: data + b"!" * 2**22)
    refused(device, "longer than the .* bytes that were signed")


def test_endless_metadata(server, device):
    server.bus.put("ota/metadata/timestamp.json", b" " * 2**22)
    refused(device, "update refused: larger than allowed")


def test_an_old_timestamp_played_back(server, device):
    old = server.bus.get("ota/metadata/timestamp.json")
    server.publish("r2")
    updater, device_slots = device
    updater.update()
    device_slots.apply(lambda state: trial.clear(state, "b"))
    server.bus.put("ota/metadata/timestamp.json", old)
    refused(device, "update refused: metadata older than what this device has seen")


def test_metadata_signed_by_other_keys(server, device, tmp_path):
    server.bus.delete([server.key("1.root.json"), "ota/metadata/timestamp.json"])
    stranger = Repository(server.bus, KeyFolder(tmp_path / "stranger"), PushConfig())
    stranger.create()
    refused(device, "update refused: metadata not signed by the right keys")


def test_a_root_signed_by_one_key_of_three(server, device):
    offline = sorted((server.keys.folder / "offline").iterdir())
    root = json.loads(server.bus.get("ota/metadata/1.root.json"))
    server.repository.rotate_root()
    two = json.loads(server.bus.get("ota/metadata/2.root.json"))
    two["signatures"] = two["signatures"][:1]
    server.bus.put("ota/metadata/2.root.json", json.dumps(two).encode())
    assert len(offline) == len(root["signed"]["roles"]["root"]["keyids"]) == 3
    refused(device, "update refused: metadata not signed by the right keys")


def test_a_ring_that_has_no_release(server, tmp_path):
    updater, _ = server.device(tmp_path / "home", ring="stable")
    with pytest.raises(BadInput, match="ring 'stable' has no release yet"):
        updater.update()


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ({"runtime": "tensorrt", "memory_mb": 64}, "needs the runtime 'tensorrt'"),
        ({"runtime": "onnxruntime", "memory_mb": 10**9}, "needs 1000000000 MB of memory"),
    ],
)
def test_a_release_this_device_cannot_run_is_not_downloaded(server, device, requires, words):
    server.publish("r2", requires=requires)
    server.bus.delete([server.key(".r2.tar")])
    refused(device, words)


def test_a_bundle_beyond_all_measure_is_not_downloaded(server, device, monkeypatch):
    server.publish("r2")
    monkeypatch.setattr(ota_updater, "MAX_BUNDLE_BYTES", 1000)
    refused(device, "more than the 1000 a device takes")


def test_a_signed_bundle_that_is_broken_is_tried_once(server, device):
    files = dict.fromkeys(make_members(), "0" * 64)
    del files["release.json"]
    server.publish("r2", files=files)
    refused(device, "its SHA-256 is not the one in release.json")
    assert device[0].update().step is Step.HOLD


def test_too_little_space_is_told_before_the_download(server, device, monkeypatch):
    server.publish("r2")
    monkeypatch.setattr(staging, "SPACE_MARGIN", 2**60)
    refused(device, "release r2: needs .* MB of disk; .* MB are free")
    assert list(device[1].staging.iterdir()) == []


@pytest.mark.parametrize("step", ["fetch_rest", "unpack_bundle", "write_durably"])
def test_a_disk_that_fills_up_gets_its_space_back(server, device, monkeypatch, step):
    server.publish("r2")
    whole = getattr(staging, step)

    def full(*arguments: object) -> None:
        whole(*arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(staging, step, full)
    refused(device, "update refused: no space left on device")
    assert list(device[1].staging.iterdir()) == []
    assert not device[1].folder("b").exists()
    monkeypatch.undo()
    assert device[0].update().step is Step.INSTALL


# The network


class BreakingBus(Bus):
    """A bus whose connection breaks after some bytes of a bundle."""

    def __init__(self, bus: Bus, after: int) -> None:
        super().__init__(bus._store)
        self.after = after
        self.starts: list[int] = []

    def stream(self, key, start=0):
        if not key.endswith(".tar"):
            yield from super().stream(key, start)
            return
        self.starts.append(start)
        content = b"".join(super().stream(key, start))
        yield content[: self.after]
        if len(content) > self.after:
            raise Unavailable("connection lost")


def test_a_download_goes_on_where_it_broke_off(server, tmp_path):
    bus = BreakingBus(server.bus, after=3000)
    updater, device_slots = server.device(tmp_path / "home", bus=bus)
    updater.update()
    assert runs(device_slots) == "r1"
    assert bus.starts[:3] == [0, 3000, 6000]


def test_a_server_that_breaks_off_after_a_byte_is_not_asked_again_without_a_pause(server, tmp_path):
    bus = BreakingBus(server.bus, after=1)
    updater, _ = server.device(tmp_path / "home", bus=bus)
    for starts in ([0], [0, 1]):
        with pytest.raises(Unavailable):
            updater.update()
        assert bus.starts == starts


def test_a_download_goes_on_after_a_restart(server, tmp_path):
    bus = BreakingBus(server.bus, after=0)
    updater, device_slots = server.device(tmp_path / "home", bus=bus)
    with pytest.raises(Unavailable):
        updater.update()
    (part,) = device_slots.staging.iterdir()
    part.write_bytes(server.bus.get(server.key(".r1.tar"))[:5000])
    bus.after = 2**30
    again, again_slots = server.device(tmp_path / "home", bus=bus)
    again.update()
    assert runs(again_slots) == "r1"
    assert bus.starts == [0, 5000]


def test_a_piece_torn_by_a_power_cut_is_fetched_anew(server, tmp_path):
    bus = BreakingBus(server.bus, after=2**30)
    updater, device_slots = server.device(tmp_path / "home", bus=bus)
    offer = updater.check()
    (device_slots.staging / f"{offer.installed.sha256}.part").write_bytes(b"\0" * 4000)
    updater.update()
    assert runs(device_slots) == "r1"
    assert bus.starts == [4000, 0]


def test_a_server_out_of_reach_is_no_refusal(server, device, monkeypatch):
    def away(*_: object, **__: object):
        raise Unavailable("no route to host")

    monkeypatch.setattr(Bus, "stream", away)
    with pytest.raises(Unavailable, match=r"update server: .*no route to host"):
        device[0].update()
    assert runs(device[1]) == "r1"


# The power

PURE = (
    "parse_release",
    "parse_ring",
    "verify_root",
    "_found",
    "encode",
    "decode",
    "_field",
    "_string_map",
    "_parse_json",
    "_problem",
    "check_requirements",
    "<genexpr>",
    "<setcomp>",
)
"""Functions of the updater that touch no disk: a cut in them is a cut before them."""


@pytest.mark.parametrize("stride", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_the_power_may_go_at_any_line_of_an_update(server, device, tmp_path, monkeypatch, stride):
    """Cut before each line, losing what was not flushed: the device boots something whole, the next try succeeds."""
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the loss is simulated; the real thing only takes time
    server.publish("r2")
    device[0].update()
    accept(device[1])
    server.publish("r3")
    home, worn = tmp_path / "home", tmp_path / "worn"
    modules = (ota_updater, staging, slots, durable, bundle, roots, state_file)
    cuts = 0
    while True:
        shutil.rmtree(worn, ignore_errors=True)
        shutil.copytree(home, worn, symlinks=True)
        updater, _ = server.device(worn)
        with PowerCut(worn, modules, PURE, at=cuts * stride + 1) as cut:
            updater.update()
        if not cut.happened:
            break
        cuts += 1
        again, device_slots = server.device(worn)
        assert runs(device_slots) == ("r3" if device_slots.state.trial else "r2"), cuts
        assert held(device_slots) == {slot: was.release for slot, was in device_slots.state.slots.items()}, cuts
        assert not [slot for slot in device_slots.state.slots if device_slots.verify(slot)], cuts
        again.update()
        assert runs(slots.Slots(worn)) == "r3", cuts
    assert cuts * stride > 400


def test_a_fresh_bus_is_not_a_repository(tmp_path, server):
    updater, _ = server.device(tmp_path / "home", bus=Bus(MemoryStore()))
    with pytest.raises(BadInput, match="update refused: missing or forbidden on the server"):
        updater.update()


# The ring


def test_a_device_that_is_in_no_ring_any_more_keeps_its_release_and_follows_none(server, tmp_path):
    """It was revoked: the ring that it was started with is no more its own, also after a restart."""
    server.publish("s1", ring="stable")
    updater, device_slots = trying(server, tmp_path / "home", TryOut(), device="pi-7")
    updater.update()
    assert (updater.ring, runs(device_slots)) == ("canary", "r1"), "never assigned: the ring it was started with"
    accept(device_slots)
    server.repository.assign({"pi-7": "stable"})
    updater.update()
    assert (updater.ring, runs(device_slots)) == ("stable", "s1")
    accept(device_slots)
    server.repository.assign({"pi-8": "stable"})
    for _ in range(2):
        with pytest.raises(BadInput, match="device pi-7 is in no ring any more: it was revoked"):
            updater.update()
        assert runs(device_slots) == "s1"
        updater, device_slots = trying(server, tmp_path / "home", TryOut(), device="pi-7")
    server.repository.assign({"pi-7": "canary"})
    updater.update()
    assert runs(device_slots) == "r1"


# The pre-flight


class TryOut:
    """A pre-flight whose result the test makes up; it keeps what it was shown."""

    def __init__(self, outcome: Preflight = Preflight.PASSED, reason: str = "") -> None:
        self.result = Result(outcome, reason)
        self.shown: list[str] = []

    def __call__(self, folder) -> Result:
        self.shown.append(open_bundle(folder).release.id)
        return self.result


def trying(server, home, try_out: TryOut, device: str = ""):
    device_slots = slots.Slots(home)
    device_slots.roots.provision(server.keys.root_file)
    return OtaUpdater(server.bus, "canary", device_slots, try_out, device), device_slots


def test_a_release_is_tried_out_before_a_slot_is_touched(server, tmp_path):
    try_out = TryOut()
    updater, device_slots = trying(server, tmp_path / "home", try_out)
    updater.update()
    assert try_out.shown == ["r1"]
    try_out.result = Result(Preflight.REFUSED, "its self-test gives other floors")
    server.publish("r2")
    before = device_slots.state
    with pytest.raises(BadInput, match="release r2 refused: its self-test gives other floors"):
        updater.update()
    assert (device_slots.state.slots, device_slots.state.trial) == (before.slots, before.trial)
    assert device_slots.state.bans[0].reason == "its self-test gives other floors"
    assert list(device_slots.staging.iterdir()) == []
    assert updater.update().step is Step.HOLD


def test_a_release_that_does_not_fit_this_device_is_no_more_than_that(server, device, tmp_path):
    try_out = TryOut(Preflight.UNFIT, "a detection takes 90 ms: at 10 frames a second it may take 80")
    updater, device_slots = trying(server, tmp_path / "home", try_out)
    server.publish("r2")
    for _ in range(2):
        with pytest.raises(BadInput, match="release r2 does not fit this device: a detection takes 90 ms"):
            updater.update()
    assert try_out.shown == ["r2"], "the same settings give the same"
    assert (runs(device_slots), device_slots.state.bans, device_slots.state.rests) == ("r1", (), ())
    try_out.result = Result(Preflight.PASSED)
    set_otherwise, _ = trying(server, tmp_path / "home", try_out)
    assert set_otherwise.update().step is Step.INSTALL


def test_a_release_that_cannot_be_tried_now_is_neither_banned_nor_fetched_again(server, device, tmp_path):
    try_out = TryOut(Preflight.UNDECIDED, "memory is short")
    updater, device_slots = trying(server, tmp_path / "home", try_out)
    server.publish("r2")
    with pytest.raises(Unavailable, match="release r2 cannot be tried now: memory is short"):
        updater.update()
    assert runs(device_slots) == "r1"
    assert device_slots.state.bans == ()
    server.bus.delete([server.key(".r2.tar")])
    try_out.result = Result(Preflight.PASSED)
    assert updater.update().step is Step.INSTALL
    assert runs(device_slots) == "r2"


def test_a_first_release_on_trial_stays_beside_the_next_one(server, tmp_path):
    updater, device_slots = server.device(tmp_path / "home")
    updater.update()
    server.publish("r2")
    updater.update()
    assert held(device_slots) == {"a": "r1", "b": "r2"}
    assert device_slots.state.trial.slot == "b"


def test_a_first_release_on_trial_stays_when_this_device_cannot_run_the_next_one(server, tmp_path):
    updater, device_slots = server.device(tmp_path / "home")
    updater.update()
    server.publish("r2", requires={"runtime": "tensorrt", "memory_mb": 64})
    with pytest.raises(BadInput, match="needs the runtime 'tensorrt'"):
        updater.update()
    assert held(device_slots) == {"a": "r1"}
    assert device_slots.state.trial.slot == "a"


def test_a_device_waits_for_its_turn_in_a_rollout_unless_it_has_nothing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ota_updater, "parse_rollout", lambda _: Rollout(start=2**40, window_s=1000))
    updater, _ = trying(server, tmp_path / "home", TryOut(), device="pi-7")
    assert updater.update().step is Step.INSTALL
    server.publish("r2")
    update = updater.update()
    assert update.step is Step.HOLD
    assert update.reason.startswith("waits for its turn in the rollout")


def test_the_wait_that_a_server_asks_for_is_known(server, device, monkeypatch):
    def busy(*_: object, **__: object):
        raise Unavailable("too many requests", retry_after_s=17)

    monkeypatch.setattr(Bus, "stream", busy)
    with pytest.raises(Unavailable):
        device[0].update()
    assert device[0].retry_after_s == 17
    monkeypatch.undo()
    device[0].update()
    assert device[0].retry_after_s == 0
