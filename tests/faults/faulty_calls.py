"""Let system calls of a real device fail: which calls change its home, and a device whose n-th such call fails.

    calls = record(command, folder, home, until)            # Calls(counts={"fsync": 31, ...}, ...)
    process = start_faulty(command, calls, Fault("fsync", "EIO", 3, lasting=False), log)

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
WRITES = re.compile("O_WRONLY|O_RDWR|O_CREAT")
INJECTED = "(INJECTED)"
FAST = ("strace", "-f", "-b", "execve", "-qq")
"""Follow threads, but not the programs that the agent starts: their calls have counters of their own."""


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
    opened: Sequence[str]
    """Those that are opened to be written and never to be read: a disk without a byte to read is another matter."""


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
    found = [match for line in lines if (match := LINE.match(line))]
    opened: dict[bool, set[str]] = {True: set(), False: set()}
    for each in found:
        if each["call"] == "openat":
            opened[bool(WRITES.search(each["arguments"]))].update(_inside(each["arguments"], home)[:1])
    written = opened[True] - opened[False]
    counts: Counter[tuple[str, str]] = Counter()
    paths: set[str] = set()
    for each in found:
        inside = _inside(each["arguments"], home)
        if inside and (each["call"] != "openat" or inside[0] in written):
            counts[each["thread"], each["call"]] += 1
            paths.update(inside)
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(count, most.get(call, 0))
    return Calls(most, counts.total(), sorted(paths), sorted(written))


def _inside(arguments: str, home: Path) -> list[str]:
    return [path for path in PATH.findall(arguments) if Path(path).is_relative_to(home)]


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


def start_faulty(command: Sequence[str], calls: Calls, fault: Fault, log: Path) -> subprocess.Popen[bytes]:
    """Start a device with a fault; strace writes the calls that failed to `log`."""
    paths = calls.opened if fault.call == "openat" else calls.paths
    only = [word for path in paths for word in ("-P", path)]
    trace = ("-o", str(log), "-e", f"trace={fault.call}", "-e", fault.words)
    with log.with_suffix(".out").open("wb") as out:
        return subprocess.Popen([*FAST, *only, *trace, *command], stdout=out, stderr=out)


def count_injected(log: Path) -> int:
    """Return how many calls failed by order so far."""
    return log.read_text(errors="replace").count(INJECTED) if log.exists() else 0
