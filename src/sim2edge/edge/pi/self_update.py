"""Update the agent itself: fetch what the ring names into the other slot, try that it loads, and have it started.

    agents = SelfUpdate.from_environment(fetch)         # None: no launcher started this agent
    agents.confirm()                                    # it supervises and reached the server: a trial has passed
    if agents.follow(target):                           # another agent is complete in the other slot, on trial
        stop.set()                                      # systemd starts the launcher, which starts it

The target's `custom` metadata, signed, names version, architecture, interpreter, and the hash of its list of files.
"""

import errno
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from sim2edge.agent_package import FIELD, MAX_BYTES, About, parse_about
from sim2edge.edge.events import log
from sim2edge.edge.pi import launcher
from sim2edge.edge.pi.launcher import FACTORY, Agent, Record
from sim2edge.edge.pi.package import unpack
from sim2edge.edge.storage.durable import flush_folder, remove_any, write_durably
from sim2edge.edge.storage.staging import matches
from sim2edge.errors import BadInput

SPACE_MARGIN = 64 * 2**20
"""Bytes left free for releases, metadata and state."""
LOAD_S = 180
"""Seconds in which an agent has to load; a Pi with a slow card needs ten."""
RETRY_S = 60.0
"""Seconds between two tries to record that this agent is good, on a disk that takes nothing."""
SHORTAGES = (
    "MemoryError",
    "failed to map segment",
    *map(os.strerror, (errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EAGAIN)),
)
"""Words in the last line of an agent that failed for want of memory, disk or descriptors."""

Fetch = Callable[[TargetFile, Path], None]
"""Completes a file with the verified bytes of a target. Raises BadInput, and leaves no file, or Unavailable."""


@dataclass(frozen=True)
class Offer:
    """An agent as signed."""

    target: TargetFile
    about: About
    files: str
    """SHA-256 of its list of files."""
    unpacked: int
    """Bytes of its files."""

    @property
    def agent(self) -> Agent:
        """As the launcher's record names it."""
        return Agent(self.about.version, self.target.hashes["sha256"], self.files)


class SelfUpdate:
    """The slots of the agents, seen from the agent that runs; `follow` and `confirm` may be of two threads."""

    def __init__(self, agents: Path, slot: str, files: str, fetch: Fetch, options: Sequence[str] = ()) -> None:
        """Open the slots.

        Args:
            agents: their folder.
            slot: the one that this agent runs from.
            files: SHA-256 of this agent's list of files.
            fetch: completes a download.
            options: those of `sim2edge device run`, which another agent has to understand.
        """
        self._agents, self._slot, self._files, self._fetch = agents, slot, files, fetch
        self._options = options
        self._confirmed, self._confirm_at = False, float("-inf")
        self._unbanned: set[str] = set()
        self._lock = threading.Lock()
        self.message = ""
        """Why the offered agent does not run, for the status."""
        self.status: dict[str, Any] = {}
        """Which agent runs, and which failed last, for the fleet."""
        self._note(launcher.read_record(agents))

    @classmethod
    def from_environment(cls, fetch: Fetch) -> "SelfUpdate | None":
        """Return the updater of an agent that a launcher started."""
        agents, slot = os.environ.get(launcher.FOLDER_VARIABLE), os.environ.get(launcher.SLOT_VARIABLE)
        if not agents or not slot:
            return None
        listing = Path(__file__).parents[4] / "files.json"
        files = hashlib.sha256(listing.read_bytes()).hexdigest() if listing.is_file() else ""
        return cls(Path(agents), slot, files, fetch, sys.argv[3:])

    def _note(self, record: Record) -> None:
        mine = record.slots.get(self._slot)
        failed = asdict(record.failures[-1]) if record.failures else None
        self.status = {"slot": self._slot, "version": mine.version if mine else FACTORY, "failed": failed}

    def confirm(self) -> None:
        """Mark this agent as good, if it is on trial: it supervises and has reached the server."""
        if self._confirmed or time.monotonic() < self._confirm_at:
            return
        signal.alarm(0)  # the launcher's, for a trial that takes too long
        try:
            with self._lock:
                self._accept()
        except OSError as error:
            self._confirm_at = time.monotonic() + RETRY_S
            log("agent accepted, not recorded", slot=self._slot, error=str(error))
        else:
            self._confirmed = True

    def _accept(self) -> None:
        record = launcher.read_record(self._agents)
        accepted = launcher.accept(record, self._slot)
        if accepted == record:
            return
        mine = accepted.slots[self._slot]
        proof = {**asdict(mine), "accepted": datetime.now(UTC).isoformat()}
        write_durably(launcher.proof_file(self._agents, self._slot), json.dumps(proof).encode())
        launcher.write_record(self._agents, accepted)
        log("agent accepted", version=mine.version, slot=self._slot)
        self._note(accepted)

    def unban(self, hashes: Collection[str]) -> None:
        """Have agents tried again that were banned or rest; from any thread, `follow` does it."""
        self._unbanned |= set(hashes)

    def follow(self, target: TargetFile) -> bool:
        """Act on the agent that the ring names; return whether another one is to be started.

        Raises:
            BadInput: it does not fit this device or its disk, or is not what was signed.
            Unavailable: the download was interrupted; what was received is kept.
            OSError: the disk failed.
        """
        offer = parse_offer(target)
        record = self._read_record()
        slot = launcher.free_slot(record)
        self.message = ""
        if offer.files == self._files or slot == self._slot:  # an agent on trial looks for no other
            return False
        if reason := launcher.held_back(record, offer.agent.sha256, time.time()):
            self.message = f"agent {offer.about.version} held back: {reason}"
            return False
        check_machine(offer)
        held = record.slots.get(slot)
        whole = held is not None and held.sha256 == offer.agent.sha256
        if not whole or launcher.tree_problem(self._agents / slot, offer.files):
            record = self._install(offer, record, slot)
        record = self._try_to_load(offer, record, slot)
        launcher.write_record(self._agents, record)
        self._note(record)
        return record.trial is not None

    def _read_record(self) -> Record:
        """Return the record, after what was asked for is forgotten."""
        with self._lock:
            record, asked = launcher.read_record(self._agents), frozenset(self._unbanned)
            if asked and (freed := launcher.unban(record, asked)) != record:
                launcher.write_record(self._agents, freed)
                record = freed
                self._note(record)
            self._unbanned -= asked
        return record

    def _install(self, offer: Offer, record: Record, slot: str) -> Record:
        """Download an agent, then unpack it into a slot that the record names no more; return the record."""
        part = self._agents / f"{offer.agent.sha256}.part"
        for other in self._agents.glob("*.part"):
            if other != part:
                remove_any(other)
        if self._is_tight(offer, part, self._agents / slot):
            record = self._empty(record, slot)
        try:
            self._fetch(offer.target, part)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        return self._unpack(offer, part, self._empty(record, slot), slot)

    def _unpack(self, offer: Offer, part: Path, record: Record, slot: str) -> Record:
        """Unpack a download into an empty slot; return the record."""
        try:
            if unpack(part, self._agents / slot) != offer.files:
                raise BadInput(f"agent {offer.about.version}: its list of files is not the one that was signed")
            os.sync()
        except BadInput as error:
            if matches(offer.target, part):  # a fault of its own; else the card lost some of its bytes
                held = launcher.hold(record, offer.agent, str(error), time.time(), own_fault=True)
                launcher.write_record(self._agents, held)
            part.unlink()
            raise
        except OSError:
            shutil.rmtree(self._agents / slot, ignore_errors=True)
            part.unlink(missing_ok=True)
            raise
        part.unlink()
        return record

    def _is_tight(self, offer: Offer, part: Path, folder: Path) -> bool:
        """Return whether the disk has room for an agent only once the slot is empty.

        Raises:
            BadInput: it has none even then.
        """
        free = shutil.disk_usage(self._agents).free + (part.stat().st_size if part.is_file() else 0)
        emptied = free + sum(each.lstat().st_size for each in folder.rglob("*") if each.is_file())
        if emptied < (needed := offer.target.length + offer.unpacked + SPACE_MARGIN):
            raise BadInput(
                f"agent {offer.about.version}: needs {needed / 1e6:.0f} MB of disk; {emptied / 1e6:.0f} MB are free"
            )
        return free < offer.target.length + SPACE_MARGIN

    def _empty(self, record: Record, slot: str) -> Record:
        """Drop a slot from the record and from its proof, then remove its content; return the record."""
        dropped = launcher.drop(record, slot)
        if dropped != record:
            launcher.write_record(self._agents, dropped)
        launcher.proof_file(self._agents, slot).unlink(missing_ok=True)
        flush_folder(self._agents)
        remove_any(self._agents / slot)
        return dropped

    def _try_to_load(self, offer: Offer, record: Record, slot: str) -> Record:
        """Put an agent on trial if it loads here; else hold it back."""
        now = time.time()
        own_fault, reason = False, launcher.problem_of(self._agents / slot, offer.files)  # the card's, or this system's
        if not reason:
            own_fault, reason = load(self._agents / slot, self._options)
        if not reason:
            log("agent installed", version=offer.about.version, slot=slot)
            return launcher.begin(record, slot, offer.agent)
        self.message = f"agent {offer.about.version} refused: {reason}"
        log("agent refused", version=offer.about.version, reason=reason)
        return launcher.hold(record, offer.agent, reason, now, own_fault)


def load(folder: Path, options: Sequence[str]) -> tuple[bool, str]:
    """Load the agent in a folder, and have it check the options, in a process of its own.

    Returns:
        whether a failure is its fault, and the reason; empty: there was none.
    """
    words, environment = launcher.command(folder, [*options, "--check"])
    withheld = {name: text for name, text in environment.items() if not name.startswith(("AWS_", "SIM2EDGE_"))}
    try:
        done = subprocess.run(
            words,
            env=withheld,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LOAD_S,
            check=False,
            preexec_fn=_give_way,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"it could not be tried: {error}"
    if not done.returncode:
        return False, ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {done.returncode}"
    return is_own_fault(done.returncode, last), f"it does not load: {last}"[:300]


def is_own_fault(code: int, last: str) -> bool:
    """Return whether an agent is to blame that did not load.

    Args:
        code: its exit code; negative: the signal that ended it.
        last: the last line that it printed.
    """
    if code < 0:
        return signal.Signals(-code).name.removeprefix("SIG") in launcher.CRASHES
    return str(code) not in launcher.EXITS_OF_SURROUNDINGS and not any(words in last for words in SHORTAGES)


def _give_way() -> None:
    """Let the detector have the processor, and be the first that goes when the memory is short."""
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def find_agent(client: Updater, ring: bytes) -> TargetFile | None:
    """Return the agent that a ring's file, verified, names for this machine; None: it names none.

    Raises:
        BadInput: the targets lack it.
    """
    path = json.loads(ring).get(f"{FIELD}{platform.machine()}")
    if path is None:
        return None
    if (target := client.get_targetinfo(str(path))) is None:
        raise BadInput(f"{path}: the ring names it, and it is not among the targets")
    return target


def parse_offer(target: TargetFile) -> Offer:
    """Read what is signed about an agent.

    Raises:
        BadInput: something is missing or invalid.
    """
    custom = target.unrecognized_fields.get("custom", {})
    try:
        about = parse_about(str(custom["agent"]).encode(), target.path)
        files, unpacked = str(custom["files"]), int(custom["unpacked"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{target.path}: the target metadata does not describe an agent") from error
    if not 0 < unpacked <= MAX_BYTES or target.length > MAX_BYTES:
        raise BadInput(f"{target.path}: larger than the {MAX_BYTES} bytes that a device takes")
    return Offer(target, about, files, unpacked)


def check_machine(offer: Offer) -> None:
    """Check, before anything is downloaded, that this machine can run an agent.

    Raises:
        BadInput: it cannot.
    """
    if offer.about.arch != platform.machine():
        raise BadInput(f"agent {offer.about.version}: is for {offer.about.arch}; this device is {platform.machine()}")
