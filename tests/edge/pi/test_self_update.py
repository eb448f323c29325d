"""The agent updates itself: fetched as signed, tried, put on trial; refused and held back where it must be."""

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

from sim2edge.agent_package import About, read_about
from sim2edge.compression import compress, content_size
from sim2edge.edge.pi import launcher, self_update
from sim2edge.edge.pi.launcher import FACTORY, Record
from sim2edge.edge.pi.package import unpack
from sim2edge.edge.pi.self_update import SelfUpdate
from sim2edge.errors import BadInput, Forbidden, Missing, Unavailable
from sim2edge.push.agents import read_agent

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
        agent = read_agent(package)
        target = TargetFile.from_file(f"agents/{about.version}-{about.arch}.tar.zst", str(package), ["sha256"])
        known = {"agent": json.dumps(asdict(about)), "files": agent.files, "unpacked": agent.unpacked}
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


@pytest.mark.parametrize(
    ("end", "own_fault"),
    [
        ("import os; os.kill(os.getpid(), 9)", False),
        ("import os; os.kill(os.getpid(), 15)", False),
        ("import os; os.kill(os.getpid(), 7)", False),
        ("raise MemoryError", False),
        ("raise ImportError('libcv.so: cannot read file data: Input/output error')", False),
        ("raise ImportError('libcv.so: failed to map segment from shared object')", False),
        ("raise OSError(28, 'No space left on device')", False),
        ("raise SystemExit(75)", False),
        ("raise SystemExit(143)", False),
        ("import os; os.kill(os.getpid(), 11)", True),
        ("raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')", True),
        ("import sys; sys.exit(2 if sys.argv[1:] == ['device', 'run', '--home', 'x', '--check'] else 1)", False),
        ("import", True),
    ],
)
def test_one_that_does_not_load_is_to_blame_unless_memory_disk_or_somebody_ended_it(end, own_fault, tmp_path):
    unpack(packed(tmp_path, "2.0"), tmp_path / "slot")
    shutil.rmtree(tmp_path / "slot/lib/sim2edge/__pycache__")
    (tmp_path / "slot/lib/sim2edge/__main__.py").write_text(end)
    found, reason = self_update.load(tmp_path / "slot", ["--home", "x"])
    assert (found, reason.startswith("it does not load: ")) == (own_fault, True)


def test_one_that_a_card_damages_after_unpacking_or_whose_python_is_missing_only_rests(world, monkeypatch):
    target, agent = world.target("2.0"), world.agent()
    monkeypatch.setattr(launcher, "interpreter", lambda _: (_ for _ in ()).throw(FileNotFoundError("no python3.11")))
    assert not agent.follow(target)
    assert agent.message == "agent 2.0 refused: cannot run: no python3.11"
    assert not agent.status["failed"]["own_fault"]


@pytest.mark.parametrize("error", [Missing("agents/2.0: 404"), Forbidden("agents/2.0: RequestTimeTooSkewed")])
@pytest.mark.parametrize("received", [b"", b"the first half"])
def test_a_package_that_the_server_does_not_give_is_no_fault_and_what_was_received_stays(world, error, received):
    target, fetch = world.target("2.0"), world.fetch

    def refuse(_: TargetFile, part: Path) -> None:
        part.write_bytes(received)
        raise error

    world.fetch = refuse
    with pytest.raises(type(error)):
        world.agent().follow(target)
    assert world.record.failures == ()
    assert [path.read_bytes() for path in world.agents.glob("*.part")] == [received]
    world.fetch = fetch
    assert world.agent().follow(target)


def test_a_package_that_the_card_damaged_after_its_download_is_no_fault_and_fetched_anew(world, monkeypatch):
    target, fetch = world.target("2.0"), world.fetch

    def lose(target: TargetFile, part: Path) -> None:
        fetch(target, part)
        part.write_bytes(part.read_bytes()[:-9])

    world.fetch = lose
    with pytest.raises(BadInput):
        world.agent().follow(target)
    assert world.record.failures == ()
    world.fetch = fetch
    assert world.agent().follow(target)


def test_a_disk_that_fails_in_the_middle_of_a_download_leaves_the_good_agent_of_the_other_slot(world):
    first, second, third = world.target("2.0"), world.target("3.0"), world.target("4.0")
    world.agent().follow(first)
    world.agent("a").confirm()
    world.agent("a").follow(second)
    world.agent("b").confirm()
    before = world.record

    def fail(_: TargetFile, part: Path) -> None:
        part.write_bytes(b"x")
        raise OSError(28, "No space left on device")

    world.fetch = fail
    with pytest.raises(OSError, match="No space left"):
        world.agent("b").follow(third)
    assert world.record == before
    assert launcher.problem_of(world.agents / "a", before.slots["a"].files) == ""
    assert list(world.agents.glob("*.part")) == []


def test_a_disk_with_room_for_one_agent_more_only_without_the_old_one_empties_its_slot_first(world, monkeypatch):
    for version, slot in (("2.0", "a"), ("3.0", "b")):
        world.agent().follow(world.target(version))
        world.agent(slot).confirm()
    target, there = world.target("4.0"), []
    fetch = world.fetch
    world.fetch = lambda target, part: (there.append((world.agents / "a").exists()), fetch(target, part))
    old = sum(path.stat().st_size for path in (world.agents / "a").rglob("*") if path.is_file())
    needed = target.length + target.unrecognized_fields["custom"]["unpacked"] + self_update.SPACE_MARGIN
    free = {"bytes": needed - old - 1}
    monkeypatch.setattr(self_update, "SPACE_MARGIN", self_update.SPACE_MARGIN)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(needed * 2, 0, free["bytes"]))
    with pytest.raises(BadInput, match="MB of disk"):
        world.agent("b").follow(target)
    assert (world.agents / "a").exists()
    free["bytes"] = self_update.SPACE_MARGIN + target.length - 1
    big = world.agents / "a" / "lib" / "big"
    with big.open("wb") as file:
        file.truncate(needed)
    assert world.agent("b").follow(target)
    assert there == [False]


def test_an_agent_that_a_full_disk_keeps_from_recording_its_acceptance_tries_again(world, monkeypatch):
    world.agent().follow(world.target("2.0"))
    agent, clock, write = world.agent("a"), [1000.0], launcher.write_record
    monkeypatch.setattr(self_update.time, "monotonic", lambda: clock[0])
    tries = []

    def fail(*_: object) -> None:
        tries.append(clock[0])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(launcher, "write_record", fail)
    for _ in range(3):
        agent.confirm()
    assert (tries, world.record.active) == ([1000.0], FACTORY)
    monkeypatch.setattr(launcher, "write_record", write)
    clock[0] += self_update.RETRY_S
    agent.confirm()
    assert world.record.active == "a"


def test_a_ban_is_lifted_by_request_and_the_agent_is_tried_again(world):
    target, agent = world.target("2.0", "unloadable"), world.agent()
    agent.follow(target)
    agent.follow(target)
    assert "held back" in agent.message
    agent.unban(["0" * 64])
    agent.follow(target)
    assert "held back" in agent.message
    agent.unban([target.hashes["sha256"]])
    agent.follow(target)
    assert agent.message == "agent 2.0 refused: it does not load: cannot load"
    assert agent.status["failed"]["times"] == 1


def test_one_that_refuses_the_devices_options_is_found_out_before_anything_stops_and_only_rests(world):
    target, agent = world.target("2.0", "picky"), world.agent()
    assert not agent.follow(target)
    assert agent.message == "agent 2.0 refused: it does not load: sim2edge: --rate: an option that it does not know"
    assert (agent.status["failed"]["own_fault"], world.record.trial) == (False, None)


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
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        add(tar)
    compress(tmp_path / "bad.tar", tmp_path / "bad.tar.zst")
    with pytest.raises(BadInput, match="not a plain file with a safe name"):
        unpack(tmp_path / "bad.tar.zst", tmp_path / "slot")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "bad.tar.zst", "slot"]


def test_packing_the_same_folder_twice_gives_the_same_bytes(tmp_path):
    first = packed(tmp_path, "1.0").read_bytes()
    shutil.rmtree(tmp_path / "lib-1.0")
    assert packed(tmp_path, "1.0").read_bytes() == first


def test_a_package_cut_short_or_with_a_flipped_bit_is_one_line(tmp_path):
    data = packed(tmp_path, "1.0").read_bytes()
    flipped = data[:500] + bytes([data[500] ^ 1]) + data[501:]
    broken = tmp_path / "broken.tar.zst"
    for number, content in enumerate((data[: len(data) * 3 // 4], data[: len(data) // 2], flipped, b"")):
        broken.write_bytes(content)
        with pytest.raises(BadInput, match=r"damaged|not readable as Zstandard|bytes that it declares"):
            unpack(broken, tmp_path / str(number))


def test_a_package_says_what_it_is_in_its_first_file_and_declares_what_it_unpacks_to(tmp_path):
    package = packed(tmp_path, "1.0")
    assert read_about(package) == About("1.0", "x86_64")
    assert content_size(package) > package.stat().st_size
    for content in (b"", b"text", package.read_bytes()[:100]):
        package.write_bytes(content)
        with pytest.raises(BadInput, match=package.name):
            read_about(package)


def test_without_a_launcher_there_is_nothing_to_update(monkeypatch, world):
    monkeypatch.delenv(launcher.SLOT_VARIABLE, raising=False)
    assert SelfUpdate.from_environment(world.fetch) is None
    monkeypatch.setenv(launcher.SLOT_VARIABLE, "a")
    monkeypatch.setenv(launcher.FOLDER_VARIABLE, str(world.agents))
    found = SelfUpdate.from_environment(world.fetch)
    assert found is not None
    assert found.status["slot"] == "a"
