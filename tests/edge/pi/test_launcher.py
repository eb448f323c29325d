"""The launcher: what it decides, and what it starts, as processes, while agents crash, hang and lose their power."""

import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.edge.pi import launcher
from sim2edge.edge.pi.launcher import FACTORY, Agent, Record
from sim2edge.edge.pi.package import unpack

from .packed_agent import packed

GOOD, NEW = Agent("1.0", "1" * 64, "f" * 64, proven=True), Agent("2.0", "2" * 64, "f" * 64)
ON_TRIAL = launcher.begin(Record({"a": GOOD}, "a"), "b", NEW)
NOW = 1_800_000_000.0

# Decisions


def test_the_agent_on_trial_runs_before_the_good_one_and_the_factorys_is_the_last():
    assert launcher.choose(Record()) == [FACTORY]
    assert launcher.choose(Record({"a": GOOD}, "a")) == ["a", FACTORY]
    assert launcher.choose(ON_TRIAL) == ["b", "a", FACTORY]
    assert launcher.choose(Record({"a": GOOD, "b": NEW}, "a")) == ["a", FACTORY]


def test_three_crashes_ban_an_agent_and_power_cuts_never_do():
    crashed = ON_TRIAL
    for _ in range(launcher.MAX_FAULTS):
        crashed = launcher.after_end(launcher.before_start(crashed, NOW), "exit-code", "1", NOW)
    assert crashed.trial is None
    assert (crashed.failures[0].own_fault, crashed.failures[0].until) == (True, NOW + launcher.BAN_S)
    assert crashed.failures[0].reason == "it ended: exit-code 1"

    cut = ON_TRIAL
    for _ in range(launcher.MAX_STARTS + 1):
        cut = launcher.before_start(cut, NOW)
    assert cut.trial is None
    assert (cut.failures[0].own_fault, cut.failures[0].until) == (False, NOW + launcher.REST_S)
    assert launcher.choose(cut)[0] == "a"


INNOCENT = {
    "stopped": ("success", "0"),
    "stopped while it loads": ("exit-code", "143"),
    "interrupted while it loads": ("exit-code", "130"),
    "refuses to start": ("exit-code", "2"),
    "short of descriptors": ("exit-code", "75"),
    "hangs": ("watchdog", "ABRT"),
    "out of memory": ("oom-kill", "KILL"),
    "killed": ("signal", "KILL"),
    "does not stop": ("timeout", "TERM"),
    "a card that cannot page in": ("signal", "BUS"),
    "a card that cannot page in, with a core": ("core-dump", "BUS"),
}


@pytest.mark.parametrize("end", INNOCENT.values(), ids=INNOCENT)
def test_an_end_that_is_no_crash_lets_an_agent_on_trial_rest_after_four_starts_and_never_bans_it(end):
    record, starts = ON_TRIAL, 0
    while (record := launcher.before_start(record, NOW)).trial:
        starts += 1
        record = launcher.after_end(record, *end, NOW)
        assert starts <= launcher.MAX_STARTS
    (failure,) = record.failures
    assert (starts, failure.own_fault, failure.until) == (launcher.MAX_STARTS, False, NOW + launcher.REST_S)
    assert failure.reason.endswith(f"; the last: {' '.join(end)}")
    assert launcher.choose(record)[0] == "a"


@pytest.mark.parametrize("end", INNOCENT.values(), ids=INNOCENT)
def test_an_end_that_is_no_crash_costs_a_good_agent_nothing_however_often(end):
    good = record = Record({"a": GOOD}, "a")
    for _ in range(20):
        record = launcher.after_end(record, *end, NOW)
    assert record == good


def test_a_ban_that_was_set_by_a_clock_that_ran_ahead_does_not_count_once_it_is_right():
    ahead = NOW + 10 * 365 * 86_400
    for own_fault in (True, False):
        record = launcher.hold(Record(), NEW, "why", ahead, own_fault)
        assert launcher.held_back(record, NEW.sha256, ahead + 1) == "why"
        assert launcher.held_back(record, NEW.sha256, NOW) == ""
        record = launcher.hold(Record(), NEW, "why", NOW, own_fault)
        assert launcher.held_back(record, NEW.sha256, NOW + launcher.length_s(own_fault, 1) - 1) == "why"
        assert launcher.held_back(record, NEW.sha256, NOW + launcher.length_s(own_fault, 1)) == ""


def test_an_agent_that_does_not_reach_the_server_rests_longer_each_time_and_a_day_at_most():
    record = ON_TRIAL
    rests = []
    for _ in range(12):
        record = launcher.after_end(launcher.before_start(record, NOW), "signal", "ALRM", NOW)
        rests.append(record.failures[0].until - NOW)
        record = launcher.begin(record, "b", NEW)
    assert rests[:3] == [600, 1200, 2400]
    assert rests[-1] == launcher.MAX_REST_S


def test_a_good_agent_that_crashes_again_and_again_gives_way_to_the_other_and_a_rare_crash_is_no_reason():
    both = Record({"a": GOOD, "b": replace(NEW, proven=True)}, "b")
    rare = often = both
    for number in range(20):
        rare = launcher.after_end(rare, "core-dump", "SEGV", NOW + 200 * number)
    assert rare.active == "b"
    for number in range(launcher.MAX_CRASHES):
        often = launcher.after_end(often, "core-dump", "SEGV", NOW + number)
    assert often.active == "a"
    assert often.failures[0].reason == "5 crashes; the last: it ended: core-dump SEGV"
    for number in range(launcher.MAX_CRASHES):
        often = launcher.after_end(often, "core-dump", "SEGV", NOW + number)
    assert often.active == FACTORY


def test_acceptance_forgets_the_failures_of_that_agent_alone():
    record = launcher.fail(ON_TRIAL, "crashed", NOW, own_fault=True)
    other = replace(record.failures[0], sha256="3" * 64)
    record = launcher.begin(replace(record, failures=(*record.failures, other)), "b", NEW)
    accepted = launcher.accept(record, "b")
    assert (accepted.active, accepted.slots["b"].proven, accepted.failures) == ("b", True, (other,))
    assert launcher.accept(record, "a") == record
    with pytest.raises(ValueError, match="good one"):
        launcher.begin(accepted, "b", NEW)


steps = st.lists(
    st.one_of(
        st.just(("start",)),
        st.tuples(
            st.just("end"),
            st.sampled_from(["success", "exit-code", "signal", "core-dump", "watchdog"]),
            st.sampled_from(["0", "1", "2", "143", "ALRM", "SEGV", "BUS", "KILL"]),
        ),
        st.tuples(st.just("offer"), st.integers(1, 4)),
        st.just(("accept",)),
        st.tuples(st.just("drop"), st.sampled_from(["a", "b"])),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_there_is_an_agent_to_start_and_the_good_one_is_never_overwritten(steps):
    record = Record()
    for step in steps:
        if step[0] == "start":
            record = launcher.before_start(record, NOW)
        elif step[0] == "end":
            record = launcher.after_end(record, step[1], step[2], NOW)
        elif step[0] == "offer":
            slot = launcher.free_slot(record)
            assert slot != record.active
            record = launcher.begin(launcher.drop(record, slot), slot, Agent(str(step[1]), str(step[1]), "f"))
        elif step[0] == "accept" and record.trial:
            record = launcher.accept(record, record.trial.slot)
        elif step[0] == "drop":
            record = launcher.drop(record, step[1])
        chosen = launcher.choose(record)
        assert chosen[-1] == FACTORY
        assert record.active == FACTORY or record.slots[record.active].proven
        assert not record.trial or record.trial.slot != record.active


# The memory


def test_a_record_survives_the_loss_and_the_damage_of_a_copy_and_fields_of_later_versions(tmp_path):
    for record in (Record(), Record({"a": GOOD}, "a"), ON_TRIAL):
        launcher.write_record(tmp_path, record)
    assert launcher.read_record(tmp_path) == ON_TRIAL
    newest = max(
        launcher.RECORDS, key=lambda name: json.loads(json.loads((tmp_path / name).read_text())["content"])["counter"]
    )
    (tmp_path / newest).write_bytes((tmp_path / newest).read_bytes()[:-40])
    assert launcher.read_record(tmp_path) == Record({"a": GOOD}, "a")
    launcher.write_record(tmp_path, ON_TRIAL)
    assert launcher.read_record(tmp_path) == ON_TRIAL

    text = json.dumps(
        {**json.loads(json.loads((tmp_path / newest).read_text())["content"]), "counter": 99, "later": [1]}
    )
    text = text.replace('"starts": 0', '"starts": 0, "colour": "red"')
    (tmp_path / newest).write_text(
        json.dumps({"content": text, "sha256": launcher.hashlib.sha256(text.encode()).hexdigest()})
    )
    assert launcher.read_record(tmp_path) == ON_TRIAL


@settings(max_examples=25)
@given(data=st.binary(max_size=200))
def test_no_content_of_the_record_stops_the_launcher(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("agents")
    for name in launcher.RECORDS:
        (folder / name).write_bytes(data)
    assert launcher.read_record(folder) == Record()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_pipe_or_a_folder_in_the_place_of_any_file_of_the_memory_hangs_nothing_and_is_replaced(make, tmp_path):
    for name in (*launcher.RECORDS, "record-0.part", "record-1.part", "proven-a.json", "proven-b.json"):
        make(tmp_path / name)
    assert launcher.read_record(tmp_path) == Record()
    for record in (Record({"a": GOOD}, "a"), ON_TRIAL):
        launcher.write_record(tmp_path, record)
        assert launcher.read_record(tmp_path) == record
    assert all((tmp_path / name).is_file() for name in launcher.RECORDS)


def test_both_copies_lost_the_proofs_of_passed_trials_say_which_agent_is_good(tmp_path):
    proofs = {"a": (GOOD, "2026-11-01"), "b": (NEW, "2026-11-02")}
    for slot, (agent, accepted) in proofs.items():
        proof = {"version": agent.version, "sha256": agent.sha256, "files": agent.files, "accepted": accepted}
        (tmp_path / f"proven-{slot}.json").write_text(json.dumps(proof))
    assert launcher.read_record(tmp_path).active == "b"
    (tmp_path / "proven-b.json").write_text("{")
    assert launcher.read_record(tmp_path) == Record({"a": GOOD}, "a")


def test_the_launcher_needs_nothing_but_the_standard_library():
    names = set()
    for node in ast.walk(ast.parse(Path(launcher.__file__).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


# Processes


class Machine:
    """A home with agents, a launcher, and what systemd does: start it, note its end, start it again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.agents = folder, folder / "home", folder / "home" / "agents"
        self.runtime = folder / "run"
        for path in (self.agents, self.runtime):
            path.mkdir(parents=True)
        self.process: subprocess.Popen | None = None
        (folder / "options").write_text("# options\n--id pi-7 --source 'a b'\n")
        unpack(packed(folder, "0.9"), folder / "factory")

    def _run(self, *words: str, **variables: str) -> subprocess.Popen:
        command = [
            sys.executable,
            "-I",
            "-S",
            "-B",
            launcher.__file__,
            self.home,
            self.folder / "factory",
            self.folder / "options",
        ]
        environment = {"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": str(self.runtime), **variables}
        return subprocess.Popen([*map(str, command), *words], env=environment, stderr=subprocess.DEVNULL)

    def install(self, version: str, does: str) -> str:
        """Put a new agent on trial; its slot."""
        record = launcher.read_record(self.agents)
        slot = launcher.free_slot(record)
        shutil.rmtree(self.agents / slot, ignore_errors=True)
        files = unpack(packed(self.folder, version, does), self.agents / slot)
        launcher.write_record(self.agents, launcher.begin(record, slot, Agent(version, version, files)))
        return slot

    def started(self) -> list[str]:
        """`version slot` of each start so far."""
        log = self.home / "starts.log"
        return [" ".join(line.split()[:2]) for line in log.read_text().splitlines()] if log.exists() else []

    def start(self) -> str:
        """Start the launcher, wait for the agent; what it says."""
        before = len(self.started())
        self.process = self._run()
        deadline = time.monotonic() + 20
        while len(self.started()) == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.started()[-1]

    def end(self) -> None:
        """Wait for the agent's own end, and note it as systemd does."""
        code = self.process.wait(20)
        result = "success" if code == 0 else "exit-code" if code > 0 else "signal"
        status = str(code) if code >= 0 else signal.Signals(-code).name.removeprefix("SIG")
        assert self._run("--ended", SERVICE_RESULT=result, EXIT_STATUS=status).wait(20) == 0

    def cut(self) -> None:
        """Take the power away."""
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.runtime)
        self.runtime.mkdir()

    def accepted(self) -> str:
        """Wait until an agent accepted itself; its version."""
        deadline = time.monotonic() + 20
        while not (self.home / "accepted").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return (self.home / "accepted").read_text()


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    if machine.process and machine.process.poll() is None:
        machine.process.kill()
        machine.process.wait()


def test_without_slots_the_factorys_agent_runs_with_the_options_of_the_file(machine):
    assert machine.start() == "0.9 factory"
    assert "device run --id pi-7 --source a b" in (machine.home / "starts.log").read_text()


def test_a_good_agent_is_accepted_and_stays(machine):
    machine.install("1.0", "good")
    assert machine.start() == "1.0 a"
    assert machine.accepted() == "1.0"
    for _ in range(launcher.MAX_STARTS + 1):
        machine.cut()
        assert machine.start() == "1.0 a"


@pytest.mark.parametrize(
    ("does", "own_fault"),
    [("crash", True), ("segfault", True), ("hang", False), ("surroundings", False), ("leave", False)],
)
def test_a_bad_agent_gives_way_to_the_one_before_it(machine, does, own_fault):
    machine.install("2.0", does)
    starts = 0
    while machine.start() == "2.0 a":
        starts += 1
        assert starts <= launcher.MAX_STARTS
        machine.cut() if does == "hang" else machine.end()
    assert machine.started()[-1] == "0.9 factory"
    (failure,) = launcher.read_record(machine.agents).failures
    assert (failure.version, failure.own_fault) == ("2.0", own_fault)


def test_an_agent_that_misses_its_trials_time_is_ended_by_the_alarm_it_was_born_with(machine, monkeypatch):
    patched(machine, monkeypatch, "TRIAL_S = 900", "TRIAL_S = 1")
    machine.install("2.0", "hang")
    assert machine.start() == "2.0 a"
    machine.end()
    (failure,) = launcher.read_record(machine.agents).failures
    assert (failure.own_fault, failure.reason) == (False, "it did not reach the server in 1 s")
    assert machine.start() == "0.9 factory"


def damage_byte(slot: Path) -> None:
    path = slot / "lib/sim2edge/__main__.py"
    path.write_bytes(path.read_bytes()[:-1] + b"#")


DAMAGES = {
    "a flipped byte": damage_byte,
    "a missing file": lambda slot: (slot / "lib/sim2edge/__main__.py").unlink(),
    "an added module": lambda slot: (slot / "lib/sitecustomize.py").write_text("raise SystemExit(1)"),
    "a list that fits the change": lambda slot: (damage_byte(slot), relist(slot)),
    "a link out of it": lambda slot: ((slot / "sim2edge").unlink(), (slot / "sim2edge").symlink_to("/bin/sh")),
    "a pipe for a file": lambda slot: pipe(slot / "lib/sim2edge/__main__.py"),
    "a pipe for the list": lambda slot: pipe(slot / "files.json"),
    "no folder": shutil.rmtree,
}


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def relist(slot: Path) -> None:
    listing = json.loads((slot / "files.json").read_text())
    listing["lib/sim2edge/__main__.py"] = launcher.hashlib.sha256(
        (slot / "lib/sim2edge/__main__.py").read_bytes()
    ).hexdigest()
    (slot / "files.json").write_text(json.dumps(listing))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_agent_is_not_started_and_its_slot_is_free_again(machine, damage):
    machine.install("1.0", "good")
    machine.start()
    machine.accepted()
    machine.cut()
    DAMAGES[damage](machine.agents / "a")
    assert machine.start() == "0.9 factory"
    record = launcher.read_record(machine.agents)
    assert (record.slots, record.active, record.failures) == ({}, FACTORY, ())


def patched(machine, monkeypatch, before: str, after: str) -> None:
    """Have the machine run a launcher in which one piece of text is another."""
    text = Path(launcher.__file__).read_text()
    assert before in text
    (machine.folder / "launcher.py").write_text(text.replace(before, after))
    monkeypatch.setattr(launcher, "__file__", str(machine.folder / "launcher.py"))


def test_a_home_that_cannot_be_written_runs_the_good_agent_and_tries_no_new_one(machine, monkeypatch):
    machine.install("2.0", "crash")
    patched(machine, monkeypatch, "file.write(content)", "raise OSError(28, 'No space left on device')")
    assert machine.start() == "0.9 factory"


def test_a_file_in_the_place_of_the_agents_folder_is_replaced(machine):
    shutil.rmtree(machine.agents)
    machine.agents.write_text("what a failing card left")
    assert machine.start() == "0.9 factory"
    assert machine.agents.is_dir()


@pytest.mark.parametrize("left", [".factory.part", ".factory.old"])
def test_a_power_cut_while_the_factorys_agent_is_replaced_leaves_one_to_start(machine, left):
    (machine.folder / "factory").rename(machine.folder / left)
    assert machine.start() == "0.9 factory"


@pytest.mark.parametrize("options", [None, "--id 'no end"])
def test_options_that_cannot_be_read_are_one_line(machine, options):
    (machine.folder / "options").unlink()
    if options:
        (machine.folder / "options").write_text(options)
    assert machine._run().wait(20) == 2


@pytest.mark.slow
def test_power_cuts_at_random_moments_of_starts_and_trials_ban_nothing_and_end_with_an_agent(machine):
    chance = random.Random(13)
    machine.install("1.0", "good")
    for _ in range(40):
        machine.process = machine._run()
        time.sleep(chance.uniform(0, 0.15))
        machine.cut()
        record = launcher.read_record(machine.agents)
        assert not any(failure.own_fault for failure in record.failures)
    assert machine.start() in ("1.0 a", "0.9 factory")
