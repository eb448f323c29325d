"""Let system calls of a real device fail: which calls change its home, and a device whose n-th such call fails.

    calls = record(command, folder, home, until)            # Calls(counts={"fsync": 31, ...}, paths=(...))
    process = start_faulty(command, calls.paths, Fault("fsync", "EIO", 3, lasting=False), log)

strace injects the errors: https://man7.org/linux/man-pages/man1/strace.1.html. It counts calls by thread, and matches
whole paths only: those that the recording saw below the home.
"""

import contextlib
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MUTATING = """
    openat write pwrite64 fsync fdatasync rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir symlink
    symlinkat link linkat ftruncate truncate chmod fchmod fchmodat utimensat fallocate
""".split()  # noqa: SIM905
ERRORS = ("EIO", "ENOSPC", "EROFS")
LINE = re.compile(r"(?P<thread>\d+) +(?P<call>\w+)\((?P<arguments>.*)")
PATH = re.compile(r'[<"](/[^>"]*)[>"]')
INJECTED = "(INJECTED)"
FAST = ("strace", "-f", "--seccomp-bpf", "-qq")


@dataclass(frozen=True)
class Fault:
    """The n-th of these calls of a thread fails."""

    call: str
    error: str
    number: int
    lasting: bool
    """All later ones fail too."""

    @property
    def words(self) -> str:
        """The option for strace."""
        return f"inject={self.call}:error={self.error}:when={self.number}{'+' if self.lasting else ''}"


@dataclass(frozen=True)
class Calls:
    """What a device did to its home."""

    counts: Mapping[str, int]
    """Most calls of each kind that one thread made."""
    total: int
    paths: Sequence[str]


def agent_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """Return the agent: the child of strace, or the process itself.

    Raises:
        psutil.Error: it has ended.
    """
    started = psutil.Process(process.pid)
    return started.children()[0] if started.name() == "strace" and started.children() else started


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a device that was started with or without strace, which does not pass signals on."""
    with contextlib.suppress(psutil.Error):
        agent_of(process).terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(psutil.Error):
            agent_of(process).kill()
        process.kill()
        process.wait()


def read_trace(lines: Collection[str], home: Path) -> Calls:
    """Return the calls in the lines of a trace (`strace -f -y`) that change what lies below a home."""
    counts: Counter[tuple[str, str]] = Counter()
    paths: set[str] = set()
    for line in lines:
        if not (found := LINE.match(line)):
            continue
        inside = [path for path in PATH.findall(found["arguments"]) if Path(path).is_relative_to(home)]
        opens = found["call"] == "openat"
        if inside and (not opens or re.search(r"O_WRONLY|O_RDWR|O_CREAT", found["arguments"])):
            counts[found["thread"], found["call"]] += 1
            paths.update(inside[-1:] if opens else inside)
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(count, most.get(call, 0))
    return Calls(most, counts.total(), sorted(paths))


def record(command: Sequence[str], home: Path, log: Path, until: Callable[[], object]) -> Calls:
    """Run a device under strace until a condition is met, and return the calls that changed its home."""
    calls = f"trace={','.join(f'?{call}' for call in MUTATING)}"
    with subprocess.Popen([*FAST, "-y", "-s", "0", "-e", calls, "-o", str(log), *command]) as process:
        try:
            until()
        finally:
            end(process)
    return read_trace(log.read_text(errors="replace").splitlines(), home)


def faults(calls: Calls) -> Iterator[Fault]:
    """Yield every fault: each call of each kind with each error, alone and lasting."""
    for call, count in sorted(calls.counts.items()):
        for number in range(1, count + 1):
            for error in ERRORS:
                yield Fault(call, error, number, lasting=False)
                yield Fault(call, error, number, lasting=True)


def choose(every: Sequence[Fault], count: int) -> Sequence[Fault]:
    """Return some of them, spread over calls, errors and numbers."""
    by_call: dict[str, list[Fault]] = {}
    for fault in every:
        by_call.setdefault(fault.call, []).append(fault)
    share = max(1, count // max(1, len(by_call)))
    chosen: list[Fault] = []
    for found in by_call.values():
        take = min(share, len(found))
        step = len(found) / take
        chosen += [found[int((place + 0.37) * step)] for place in range(take)]
    return chosen


def start_faulty(command: Sequence[str], paths: Sequence[str], fault: Fault, log: Path) -> subprocess.Popen[bytes]:
    """Start a device with a fault; strace writes the calls that failed to `log`."""
    only = [word for path in paths for word in ("-P", path)]
    trace = ("-o", str(log), "-e", f"trace={fault.call}", "-e", fault.words)
    with log.with_suffix(".out").open("wb") as out:
        return subprocess.Popen([*FAST, *only, *trace, *command], stdout=out, stderr=out)


def count_injected(log: Path) -> int:
    """Return how many calls failed by order so far."""
    return log.read_text(errors="replace").count(INJECTED) if log.exists() else 0
