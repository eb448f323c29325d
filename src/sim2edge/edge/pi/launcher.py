"""Start the newest good agent of a device. The one program that no update replaces: standard library only, one file.

    launcher.py HOME FACTORY OPTIONS            becomes `sim2edge device run` with the words of the file OPTIONS
    launcher.py HOME FACTORY OPTIONS --ended    records how the agent ended (ExecStopPost of the unit)

Agents lie in HOME/agents/a and b; FACTORY holds the one that the installer brought, which runs when neither is good. A
new agent is on trial until it supervised and reached the server. Starts are counted before they are made, and each
counts, however it ends. Only a crash is the agent's own fault and gets it banned; after power cuts, hangs, refusals and
a server out of reach it rests and is tried again. `agents/record-0.json` and `record-1.json` are the memory; a launcher
ignores fields it does not know.
"""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

SLOTS = ("a", "b")
FACTORY = "factory"
RECORDS = ("record-0.json", "record-1.json")
MAX_RECORD_BYTES = 256 * 1024
SLOT_VARIABLE, FOLDER_VARIABLE = "SIM2EDGE_AGENT_SLOT", "SIM2EDGE_AGENTS"
"""Tell the agent which slot it runs from, and where the slots are."""

TRIAL_S = 900
"""Seconds in which an agent on trial has to reach the server; then SIGALRM ends it."""
MAX_STARTS = 4
"""Starts of a trial without a crash, power cuts and refusals included, after which the agent rests."""
MAX_FAULTS = 3
"""Crashes that end a trial."""
MAX_CRASHES, CRASH_WINDOW_S = 5, 600.0
"""Crashes of a good agent in this time after which it gives way to another."""
BAN_S, MAX_BAN_S = 30 * 86_400.0, 365 * 86_400.0
REST_S, MAX_REST_S = 600.0, 86_400.0
KEPT_FAILURES = 16
EXITS_OF_SURROUNDINGS = ("2", "75", "130", "143")
"""Exit codes that are no crash: a setting or the home is wrong; try again later; SIGINT and SIGTERM while it loads."""
CRASHES = ("SEGV", "ABRT", "ILL", "FPE", "SYS", "TRAP")
"""Signals of an agent's own fault. SIGBUS is none: the card could not read a page of its files."""


@dataclass(frozen=True)
class Agent:
    """An agent complete in a slot."""

    version: str
    sha256: str
    """Of its package, as signed."""
    files: str
    """SHA-256 of its list of files."""
    proven: bool = False


@dataclass(frozen=True)
class Trial:
    """The slot on trial."""

    slot: str
    starts: int = 0
    faults: int = 0
    last: str = ""
    """How the last start ended, if that was seen."""


@dataclass(frozen=True)
class Failure:
    """An agent that is not tried until a time, in Unix seconds."""

    version: str
    sha256: str
    reason: str
    until: float
    own_fault: bool
    times: int = 1


@dataclass(frozen=True)
class Record:
    """What a device remembers of its agents."""

    slots: Mapping[str, Agent] = field(default_factory=dict)
    active: str = FACTORY
    trial: Trial | None = None
    failures: tuple[Failure, ...] = ()
    crashes: tuple[float, ...] = ()
    """Unix seconds of the latest crashes of the good agent."""


# Decisions


def choose(record: Record) -> Sequence[str]:
    """Return the slots to try, best first; the factory's agent is the last."""
    trial = [record.trial.slot] if record.trial else []
    proven = [slot for slot in SLOTS if slot in record.slots and record.slots[slot].proven]
    wished = [*trial, record.active, *([] if record.active == FACTORY else proven)]
    return [*dict.fromkeys(slot for slot in wished if slot in record.slots), FACTORY]


def before_start(record: Record, now: float) -> Record:
    """Count a start of the agent on trial, or let it rest after too many."""
    if not record.trial:
        return record
    if record.trial.starts >= MAX_STARTS:
        seen = f"; the last: {record.trial.last}" if record.trial.last else ""
        return fail(record, f"it, or the device, stopped in each of {MAX_STARTS} starts{seen}", now, own_fault=False)
    return replace(record, trial=replace(record.trial, starts=record.trial.starts + 1))


def after_end(record: Record, result: str, status: str, now: float) -> Record:
    """Judge how an agent ended.

    Args:
        record: what was known.
        result: systemd's `SERVICE_RESULT`: success, exit-code, signal, core-dump, watchdog, timeout, oom-kill, ...
        status: systemd's `EXIT_STATUS`: an exit code or the name of a signal.
        now: Unix seconds.
    """
    exited = result == "exit-code" and status not in EXITS_OF_SURROUNDINGS
    crashed = exited or (result in ("signal", "core-dump") and status in CRASHES)
    end = f"{result} {status}".strip()
    reason, trial = f"it ended: {end}", record.trial
    if not trial:
        return _count_crash(record, reason, now) if crashed and record.active != FACTORY else record
    if result == "signal" and status == "ALRM":
        return fail(record, f"it did not reach the server in {TRIAL_S} s", now, own_fault=False)
    if crashed and trial.faults + 1 >= MAX_FAULTS:
        return fail(record, reason, now, own_fault=True)
    if crashed:
        return replace(record, trial=replace(trial, starts=max(trial.starts - 1, 0), faults=trial.faults + 1, last=end))
    return replace(record, trial=replace(trial, last=end))  # stopped, refused, hung or killed: it counts as a start


def _count_crash(record: Record, reason: str, now: float) -> Record:
    crashes = (*(each for each in record.crashes if abs(now - each) < CRASH_WINDOW_S), now)
    if len(crashes) < MAX_CRASHES:
        return replace(record, crashes=crashes)
    why = f"{len(crashes)} crashes; the last: {reason}"
    banned = hold(record, record.slots[record.active], why, now, own_fault=True)
    kept = {slot: agent for slot, agent in record.slots.items() if slot != record.active}
    good = next((slot for slot, agent in kept.items() if agent.proven), FACTORY)
    return replace(banned, slots=kept, active=good, crashes=())


def begin(record: Record, slot: str, agent: Agent) -> Record:
    """Put an agent that is complete in a slot on trial.

    Raises:
        ValueError: the slot is the good one.
    """
    if slot == record.active:
        raise ValueError(f"slot {slot} is the good one")
    return replace(record, slots={**record.slots, slot: agent}, trial=Trial(slot))


def accept(record: Record, slot: str) -> Record:
    """Mark the agent on trial in a slot as the good one."""
    if not record.trial or record.trial.slot != slot:
        return record
    agent = replace(record.slots[slot], proven=True)
    failures = tuple(each for each in record.failures if each.sha256 != agent.sha256)
    return Record({**record.slots, slot: agent}, slot, None, failures, ())


def fail(record: Record, reason: str, now: float, own_fault: bool) -> Record:
    """End the trial: the agent is banned for its own fault, and rests for anything else."""
    if not record.trial:
        return record
    return replace(hold(record, record.slots[record.trial.slot], reason, now, own_fault), trial=None)


def hold(record: Record, agent: Agent, reason: str, now: float, own_fault: bool) -> Record:
    """Note that an agent is not tried for a time, twice as long as the last time."""
    times = 1 + max((each.times for each in record.failures if each.sha256 == agent.sha256), default=0)
    until = now + length_s(own_fault, times)
    failure = Failure(agent.version, agent.sha256, reason, until, own_fault, times)
    others = [each for each in record.failures if each.sha256 != agent.sha256]
    return replace(record, failures=(*others, failure)[-KEPT_FAILURES:])


def drop(record: Record, slot: str) -> Record:
    """Forget the content of a slot, before it is overwritten or because it is damaged."""
    kept = {name: agent for name, agent in record.slots.items() if name != slot}
    good = next((name for name in SLOTS if name in kept and kept[name].proven), FACTORY)
    trial = None if record.trial and record.trial.slot == slot else record.trial
    return replace(record, slots=kept, active=good if record.active == slot else record.active, trial=trial)


def free_slot(record: Record) -> str:
    """Return the slot that may be overwritten: never the good one."""
    return "b" if record.active == "a" else "a"


def length_s(own_fault: bool, times: int) -> float:
    """Return the seconds for which an agent is not tried after it failed for the n-th time."""
    first, longest = (BAN_S, MAX_BAN_S) if own_fault else (REST_S, MAX_REST_S)
    return min(first * 2.0 ** min(max(times - 1, 0), 16), longest)


def held_back(record: Record, sha256: str, now: float) -> str:
    """Return why an agent is not tried at the time `now`; empty: it may be.

    An end that is further away than any is made was set by a clock that ran ahead: it does not count.
    """
    for each in record.failures:
        if each.sha256 == sha256 and 0 < each.until - now <= length_s(each.own_fault, each.times):
            return each.reason
    return ""


def unban(record: Record, hashes: Collection[str]) -> Record:
    """Forget that the agents with these packages failed."""
    return replace(record, failures=tuple(each for each in record.failures if each.sha256 not in hashes))


# The memory


def read_record(agents: Path) -> Record:
    """Return the newest whole record; from the slots' own proofs when both copies are lost."""
    found = [each for name in RECORDS if (each := _read_copy(agents / name))]
    return max(found, key=lambda each: each[0])[1] if found else recover(agents)


def _read_copy(path: Path) -> tuple[int, Record] | None:
    try:
        stored: dict[str, Any] = json.loads(read_file(path))
        if hashlib.sha256(stored["content"].encode()).hexdigest() != stored["sha256"]:
            return None
        content = json.loads(stored["content"])
        slots = {slot: _build(Agent, each) for slot, each in content["slots"].items() if slot in SLOTS}
        trial = _build(Trial, content["trial"]) if content.get("trial") else None
        active = content["active"] if content["active"] in slots else FACTORY
        failures = tuple(_build(Failure, each) for each in content.get("failures", ()))
        crashes = tuple(map(float, content.get("crashes", ())))
        trial = trial if trial and trial.slot in slots and trial.slot != active else None
        return int(content["counter"]), Record(slots, active, trial, failures, crashes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read_file(path: Path) -> bytes:
    """Return the first bytes of a file, at most `MAX_RECORD_BYTES`; see `open_file`."""
    with open_file(path) as file:
        return file.read(MAX_RECORD_BYTES)


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file; a failing card may have made anything of it, and a pipe would never end.

    Raises:
        OSError: it is missing, unreadable, or no regular file.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path}: not a regular file")
        yield file


def remove(path: Path) -> None:
    """Remove whatever is at a path."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _build(kind: Callable[..., Any], fields: Mapping[str, Any]) -> Any:
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    return kind(**{name: value for name, value in fields.items() if name in known})


def write_record(agents: Path, record: Record) -> None:
    """Replace the older copy, flushed to disk.

    Raises:
        OSError: it could not be written; the other copy is whole.
    """
    counters = [copy[0] if (copy := _read_copy(agents / name)) else -1 for name in RECORDS]
    text = json.dumps({**asdict(record), "counter": max(counters) + 1}, sort_keys=True)
    content = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "content": text}, indent=1)
    path = agents / RECORDS[counters.index(min(counters))]
    part = path.with_suffix(".part")
    remove(part)
    with part.open("x") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if path.is_dir():
        remove(path)
    part.replace(path)
    folder = os.open(agents, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def proof_file(agents: Path, slot: str) -> Path:
    """Return the file that an accepted agent leaves, in case that both copies of the record are lost."""
    return agents / f"proven-{slot}.json"


def recover(agents: Path) -> Record:
    """Return a record made from the proofs of passed trials; the newest is the good one."""
    found: dict[str, tuple[str, Agent]] = {}
    for slot in SLOTS:
        try:
            proof: dict[str, Any] = json.loads(read_file(proof_file(agents, slot)))
            agent = replace(_build(Agent, proof), proven=True)
            found[slot] = (str(proof.get("accepted", "")), agent)
        except (OSError, ValueError, TypeError):
            continue
    newest = max(found, key=lambda slot: found[slot][0], default=FACTORY)
    return Record({slot: agent for slot, (_, agent) in found.items()}, newest)


# The agents' files


def problem_of(folder: Path, files: str | None) -> str:
    """Return what is wrong with the agent in a folder; empty: it is whole, and this machine has its interpreter."""
    try:
        return tree_problem(folder, files) or (interpreter(folder) and "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"cannot run: {error}"


def tree_problem(folder: Path, files: str | None) -> str:
    """Return which file of an agent's folder is missing, damaged or not part of it; empty: none.

    Args:
        folder: the slot.
        files: SHA-256 of its list of files; None to accept any list (the factory's agent, which only root can write).
    """
    try:
        with open_file(folder / "files.json") as file:
            listing = file.read()
        if files is not None and hashlib.sha256(listing).hexdigest() != files:
            return "files.json is not the one that was installed"
        expected: dict[str, str] = json.loads(listing)
        present = {
            str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
        }
        if odd := sorted(present ^ {*expected, "files.json"}):
            return f"{odd[0]}: missing, or not part of it"
        for name, sha256 in expected.items():
            path = folder / name
            with open_file(path) as file:
                if path.is_symlink() or hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return f"{name}: damaged"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"unreadable: {error}"
    return ""


def interpreter(folder: Path) -> str:
    """Return the Python that runs the agent in a folder: the one it brings, else the system's of the same version.

    Raises:
        FileNotFoundError: this system has none.
    """
    own = folder / "bin" / "python3"
    if own.is_file():
        return str(own)
    version = json.loads((folder / "agent.json").read_bytes())["python"]
    path = os.pathsep.join(("/usr/bin", "/usr/local/bin", os.environ.get("PATH", "")))
    if found := shutil.which(f"python{version}", path=path):
        return found
    raise FileNotFoundError(f"this system has no python{version}")


def command(folder: Path, options: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of the agent in a folder."""
    words = [interpreter(folder), "-B", "-s", "-m", "sim2edge", "device", "run", *options]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    return words, environment | {"PYTHONPATH": str(folder / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}


# Acting


def say(event: str, level: int = 6, **fields: object) -> None:
    """Log one event for the journal, with its priority (sd-daemon(3))."""
    prefix = f"<{level}>" if os.environ.get("JOURNAL_STREAM") else ""
    try:
        print(prefix + json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
    except OSError:
        return


def prepare(agents: Path, factory: Path) -> tuple[str, bool]:
    """Choose the slot to start, and count the start.

    A trial needs the count on disk: without it (a full or read-only disk) the good agent runs.

    Returns:
        the slot, and whether it is on trial.
    """
    record = read_record(agents)
    counted = before_start(record, time.time())
    if counted.trial is None and record.trial is not None:
        say("agent rests", 4, reason=counted.failures[-1].reason, version=counted.failures[-1].version)
    while (slot := choose(counted)[0]) != FACTORY:
        problem = problem_of(agents / slot, counted.slots[slot].files)
        if not problem:
            break
        say("agent damaged", 3, slot=slot, version=counted.slots[slot].version, problem=problem)
        counted = drop(counted, slot)
    if counted != record:
        try:
            write_record(agents, counted)
        except OSError as error:
            say("agents' record cannot be written", 3, problem=str(error))
            slot = next(name for name in choose(replace(counted, trial=None)) if _runs(agents, counted, name))
            return slot, False
    if slot == FACTORY and (problem := problem_of(factory, None)):
        say("factory's agent damaged", 2, problem=problem)
    return slot, counted.trial is not None and counted.trial.slot == slot


def _runs(agents: Path, record: Record, slot: str) -> bool:
    return slot == FACTORY or not problem_of(agents / slot, record.slots[slot].files)


def start(home: Path, factory: Path, options: Sequence[str]) -> None:
    """Become the agent."""
    agents, factory = home / "agents", find_factory(factory)
    try:
        if not agents.is_dir():
            remove(agents)
        agents.mkdir(mode=0o700, parents=True, exist_ok=True)
        slot, on_trial = prepare(agents, factory)
    except Exception as error:  # whatever the disk does: the factory's agent runs
        say("launcher failed", 2, problem=repr(error))
        slot, on_trial = FACTORY, False
    words, environment = command(factory if slot == FACTORY else agents / slot, options)
    environment |= {SLOT_VARIABLE: slot, FOLDER_VARIABLE: str(agents)}
    say("agent starts", slot=slot, on_trial=on_trial)
    note_start(slot)
    signal.alarm(TRIAL_S if on_trial else 0)  # survives execve(2); the agent stops it once it is accepted
    os.execve(words[0], words, environment)  # noqa: S606


def find_factory(factory: Path) -> Path:
    """Return the folder of the factory's agent, where a power cut in the middle of its replacement left it."""
    beside = (factory.with_name(f".{factory.name}.{end}") for end in ("part", "old"))  # of `CopyTree`
    return next((each for each in (factory, *beside) if each.is_dir()), factory)


def note_start(slot: str) -> None:
    """Keep the slot for `note_end`, in the folder that systemd makes in memory."""
    if folder := os.environ.get("RUNTIME_DIRECTORY"):
        with contextlib.suppress(OSError):
            (Path(folder) / "agent-slot").write_text(slot)


def note_end(home: Path) -> None:
    """Record how the agent ended, from the variables that systemd gives to ExecStopPost."""
    agents = home / "agents"
    record = read_record(agents)
    with contextlib.suppress(OSError, KeyError):
        ran = (Path(os.environ["RUNTIME_DIRECTORY"]) / "agent-slot").read_text()
        if ran != (record.trial.slot if record.trial else record.active):
            return  # it was not the one to judge
    result, status = os.environ.get("SERVICE_RESULT", ""), os.environ.get("EXIT_STATUS", "")
    judged = after_end(record, result, status, time.time())
    if judged != record:
        say("agent ended", 4, result=result, status=status, failed=judged.failures != record.failures)
        write_record(agents, judged)


def main(arguments: Sequence[str]) -> int:
    """Run the launcher."""
    home, factory, options = map(Path, arguments[:3])
    if "--ended" in arguments[3:]:
        note_end(home)
        return 0
    try:
        start(home, factory, shlex.split(options.read_text(), comments=True))
    except (OSError, ValueError) as error:
        say("no agent can be started", 2, options=str(options), problem=str(error))
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
