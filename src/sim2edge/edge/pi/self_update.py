"""Update the agent itself: fetch what the ring names into the other slot, try that it loads, and have it started.

    agents = SelfUpdate.from_environment(fetch)         # None: no launcher started this agent
    agents.confirm()                                    # it supervises and reached the server: a trial has passed
    if agents.follow(target):                           # another agent is complete in the other slot, on trial
        stop.set()                                      # systemd starts the launcher, which starts it

The target's `custom` metadata, signed, names version, architecture, interpreter, and the hash of its list of files.
"""

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater

from sim2edge.edge.durable import flush_folder, write_durably
from sim2edge.edge.events import log
from sim2edge.edge.pi import launcher
from sim2edge.edge.pi.launcher import FACTORY, Agent, Record
from sim2edge.edge.pi.package import MAX_BYTES, About, parse_about, unpack
from sim2edge.errors import BadInput

SPACE_MARGIN = 64 * 2**20
"""Bytes left free for releases, metadata and state."""
LOAD_S = 180
"""Seconds in which an agent has to load; a Pi with a slow card needs ten."""

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
    """The slots of the agents, seen from the agent that runs; for one thread."""

    def __init__(self, agents: Path, slot: str, files: str, fetch: Fetch) -> None:
        """`slot` and `files`: where this agent runs from, and the SHA-256 of its list of files."""
        self._agents, self._slot, self._files, self._fetch = agents, slot, files, fetch
        self._confirmed = False
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
        return cls(Path(agents), slot, files, fetch)

    def _note(self, record: Record) -> None:
        mine = record.slots.get(self._slot)
        failed = asdict(record.failures[-1]) if record.failures else None
        self.status = {"slot": self._slot, "version": mine.version if mine else FACTORY, "failed": failed}

    def confirm(self) -> None:
        """Mark this agent as good, if it is on trial: it supervises and has reached the server."""
        if self._confirmed:
            return
        signal.alarm(0)  # the launcher's, for a trial that takes too long
        self._confirmed = True
        record = launcher.read_record(self._agents)
        accepted = launcher.accept(record, self._slot)
        if accepted == record:
            return
        mine = accepted.slots[self._slot]
        try:
            launcher.write_record(self._agents, accepted)
            proof = {**asdict(mine), "accepted": datetime.now(UTC).isoformat()}
            write_durably(launcher.proof_file(self._agents, self._slot), json.dumps(proof).encode())
        except OSError as error:
            log("agent accepted, not recorded", version=mine.version, error=str(error))
        else:
            log("agent accepted", version=mine.version, slot=self._slot)
        self._note(accepted)

    def follow(self, target: TargetFile) -> bool:
        """Act on the agent that the ring names; return whether another one is to be started.

        Raises:
            BadInput: it does not fit this device or its disk, or is not what was signed.
            Unavailable: the download was interrupted; what was received is kept.
            OSError: the disk failed.
        """
        offer = parse_offer(target)
        record = launcher.read_record(self._agents)
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

    def _install(self, offer: Offer, record: Record, slot: str) -> Record:
        """Download an agent, then unpack it into a slot that the record names no more; return the record."""
        part, folder = self._agents / f"{offer.agent.sha256}.part", self._agents / slot
        for other in self._agents.glob("*.part"):
            if other != part:
                other.unlink()
        self._check_space(offer, part, folder)
        try:
            self._fetch(offer.target, part)
            record = self._empty(record, slot)
            files = unpack(part, folder)
            if files != offer.files:
                raise BadInput(f"agent {offer.about.version}: its list of files is not the one that was signed")
            os.sync()
        except BadInput as error:
            if part.exists():  # its bytes are those that were signed: a fault of its own
                launcher.write_record(
                    self._agents, launcher.hold(record, offer.agent, str(error), time.time(), own_fault=True)
                )
                part.unlink()
            raise
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            part.unlink(missing_ok=True)
            raise
        part.unlink()
        return record

    def _check_space(self, offer: Offer, part: Path, folder: Path) -> None:
        files = [part, *folder.rglob("*")]
        free = shutil.disk_usage(self._agents).free + sum(each.stat().st_size for each in files if each.is_file())
        if free < (needed := offer.target.length + offer.unpacked + SPACE_MARGIN):
            raise BadInput(
                f"agent {offer.about.version}: needs {needed / 1e6:.0f} MB of disk; {free / 1e6:.0f} MB are free"
            )

    def _empty(self, record: Record, slot: str) -> Record:
        """Drop a slot from the record and from its proof, then remove its content; return the record."""
        dropped = launcher.drop(record, slot)
        if dropped != record:
            launcher.write_record(self._agents, dropped)
        launcher.proof_file(self._agents, slot).unlink(missing_ok=True)
        flush_folder(self._agents)
        shutil.rmtree(self._agents / slot, ignore_errors=True)
        return dropped

    def _try_to_load(self, offer: Offer, record: Record, slot: str) -> Record:
        """Put an agent on trial if it loads here; else hold it back."""
        now = time.time()
        if problem := launcher.problem_of(self._agents / slot, offer.files):
            own_fault, reason = True, problem
        else:
            own_fault, reason = load(self._agents / slot)
        if not reason:
            log("agent installed", version=offer.about.version, slot=slot)
            return launcher.begin(record, slot, offer.agent)
        self.message = f"agent {offer.about.version} refused: {reason}"
        log("agent refused", version=offer.about.version, reason=reason)
        return launcher.hold(record, offer.agent, reason, now, own_fault)


def load(folder: Path) -> tuple[bool, str]:
    """Load the agent in a folder in a process of its own; return whether a failure is its fault, and its reason."""
    words, environment = launcher.command(folder, ["--help"])
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
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return True, f"it does not load: {lines[-1] if lines else done.returncode}"[:300] if done.returncode else ""


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
    path = json.loads(ring).get(f"agent-{platform.machine()}")
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
