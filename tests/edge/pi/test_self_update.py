"""The agent updates itself: fetched as signed, tried, put on trial; refused and held back where it must be."""

import hashlib
import json
import platform
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile

from sim2edge.edge.pi import launcher, self_update
from sim2edge.edge.pi.launcher import FACTORY, Record
from sim2edge.edge.pi.package import About, unpack
from sim2edge.edge.pi.self_update import SelfUpdate
from sim2edge.errors import BadInput, Unavailable

from .packed_agent import packed

MACHINE = platform.machine()


class World:
    """A server with packages, and the agents' folder of a device."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.agents = folder, folder / "agents"
        self.agents.mkdir()
        self.packages: dict[str, Path] = {}
        self.fetched: list[str] = []
        self.link_is_down = False

    def target(self, version: str, does: str = "hang", arch: str = MACHINE, **custom: object) -> TargetFile:
        """Publish an agent; its target."""
        package = packed(self.folder, version, does, arch)
        return self.target_of(package, About(version, arch), **custom)

    def target_of(self, package: Path, about: About, **custom: object) -> TargetFile:
        with tarfile.open(package) as tar:
            listing = hashlib.sha256(tar.extractfile("files.json").read()).hexdigest()
            unpacked = sum(member.size for member in tar)
        target = TargetFile.from_file(f"agents/{about.version}-{about.arch}.tar.xz", str(package), ["sha256"])
        known = {"agent": json.dumps(asdict(about)), "files": listing, "unpacked": unpacked}
        target.unrecognized_fields["custom"] = known | custom
        self.packages[target.path] = package
        return target

    def fetch(self, target: TargetFile, part: Path) -> None:
        self.fetched.append(target.path)
        if self.link_is_down:
            raise Unavailable("the link is down")
        shutil.copyfile(self.packages[target.path], part)

    def agent(self, slot: str = FACTORY, files: str = "") -> SelfUpdate:
        """The agent that runs from a slot."""
        return SelfUpdate(self.agents, slot, files, self.fetch)

    @property
    def record(self) -> Record:
        return launcher.read_record(self.agents)


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


def test_an_agent_that_the_ring_names_is_fetched_put_on_trial_and_accepted_by_itself(world):
    target = world.target("2.0")
    assert world.agent().follow(target)
    assert world.record.trial == launcher.Trial("a")
    assert launcher.choose(world.record) == ["a", FACTORY]
    successor = world.agent("a", target.unrecognized_fields["custom"]["files"])
    assert not successor.follow(target)
    successor.confirm()
    assert (world.record.active, world.record.trial) == ("a", None)
    assert successor.status == {"slot": "a", "version": "2.0", "failed": None}
    for name in launcher.RECORDS:
        (world.agents / name).unlink()
    assert world.record.active == "a"
    assert launcher.problem_of(world.agents / "a", world.record.slots["a"].files) == ""


def test_the_next_one_goes_into_the_other_slot_and_back_again_without_a_download(world):
    first, second = world.target("2.0"), world.target("3.0")
    files = [target.unrecognized_fields["custom"]["files"] for target in (first, second)]
    world.agent().follow(first)
    world.agent("a", files[0]).confirm()
    assert world.agent("a", files[0]).follow(second)
    world.agent("b", files[1]).confirm()
    assert (world.record.active, sorted(world.record.slots)) == ("b", ["a", "b"])
    assert world.agent("b", files[1]).follow(first)
    assert (world.record.trial.slot, len(world.fetched)) == ("a", 2)


def test_an_agent_on_trial_looks_for_no_other_and_never_overwrites_itself(world):
    world.agent().follow(world.target("2.0"))
    assert not world.agent("a", "its files").follow(world.target("3.0"))
    assert world.record.slots["a"].version == "2.0"


def test_one_that_does_not_load_is_refused_before_anything_stops_and_held_back(world):
    target = world.target("2.0", "unloadable")
    agent = world.agent()
    assert not agent.follow(target)
    assert agent.message == "agent 2.0 refused: it does not load: cannot load"
    assert agent.status["failed"]["own_fault"]
    assert not agent.follow(target)
    assert agent.message == "agent 2.0 held back: it does not load: cannot load"
    assert world.fetched == [target.path]


def test_one_that_takes_too_long_to_load_rests_and_is_tried_again(world, monkeypatch):
    monkeypatch.setattr(self_update, "LOAD_S", 0.001)
    target, agent = world.target("2.0"), world.agent()
    assert not agent.follow(target)
    assert not agent.status["failed"]["own_fault"]
    monkeypatch.undo()
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert agent.follow(target)


def test_an_interrupted_download_leaves_both_slots_as_they_are(world):
    first, second, third = world.target("2.0"), world.target("3.0"), world.target("4.0")
    world.agent().follow(first)
    world.agent("a").confirm()
    world.agent("a").follow(second)
    world.agent("b").confirm()
    before = world.record
    world.link_is_down = True
    with pytest.raises(Unavailable):
        world.agent("b").follow(third)
    assert world.record == before
    assert launcher.problem_of(world.agents / "a", before.slots["a"].files) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arch": "riscv"}, "architecture 'riscv'"),
        ({"arch": "x86_64" if MACHINE == "aarch64" else "aarch64"}, f"this device is {MACHINE}"),
        ({"unpacked": 1 << 60}, "larger than the"),
        ({"unpacked": "much"}, "does not describe an agent"),
        ({"files": "0" * 64}, "its list of files is not the one that was signed"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(world, change, says):
    arch = change.pop("arch", MACHINE)
    target = world.target("2.0", **change)
    target.unrecognized_fields["custom"]["agent"] = json.dumps(asdict(About("2.0", arch)))
    with pytest.raises(BadInput, match=says):
        world.agent().follow(target)
    assert (world.record.trial, world.record.slots) == (None, {})


def test_a_full_disk_refuses_it_before_the_download(world, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(BadInput, match=r"agent 2.0: needs \d+ MB of disk; 0 MB are free"):
        world.agent().follow(world.target("2.0"))
    assert world.fetched == []


def add_member(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)

    return add


@pytest.mark.parametrize(
    "add",
    [
        add_member("../outside"),
        add_member("/outside"),
        add_member("lib/../../outside"),
        add_member("link", tarfile.SYMTYPE),
        add_member("hard", tarfile.LNKTYPE),
        add_member("device", tarfile.CHRTYPE),
        add_member("fifo", tarfile.FIFOTYPE),
    ],
)
def test_a_package_with_anything_but_plain_files_below_its_folder_is_refused(add, tmp_path):
    with tarfile.open(tmp_path / "bad.tar.xz", "w:xz") as tar:
        add(tar)
    with pytest.raises(BadInput, match="not a plain file with a safe name"):
        unpack(tmp_path / "bad.tar.xz", tmp_path / "slot")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.xz", "slot"]


def test_packing_the_same_folder_twice_gives_the_same_bytes(tmp_path):
    first = packed(tmp_path, "1.0").read_bytes()
    shutil.rmtree(tmp_path / "lib-1.0")
    assert packed(tmp_path, "1.0").read_bytes() == first


def test_a_package_cut_short_or_with_a_flipped_bit_is_one_line(tmp_path):
    data = packed(tmp_path, "1.0").read_bytes()
    for number, broken in enumerate(
        (data[: len(data) * 3 // 4], data[: len(data) // 2], data[:500] + bytes([data[500] ^ 1]) + data[501:])
    ):
        (tmp_path / "broken.tar.xz").write_bytes(broken)
        with pytest.raises(BadInput, match=r"damaged|holds no files.json"):
            unpack(tmp_path / "broken.tar.xz", tmp_path / str(number))


def test_without_a_launcher_there_is_nothing_to_update(monkeypatch, world):
    monkeypatch.delenv(launcher.SLOT_VARIABLE, raising=False)
    assert SelfUpdate.from_environment(world.fetch) is None
    monkeypatch.setenv(launcher.SLOT_VARIABLE, "a")
    monkeypatch.setenv(launcher.FOLDER_VARIABLE, str(world.agents))
    found = SelfUpdate.from_environment(world.fetch)
    assert found is not None
    assert found.status["slot"] == "a"
