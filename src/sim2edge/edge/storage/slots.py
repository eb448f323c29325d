"""Manage the device's home folder: two slots, each with its seal, and the state that names the one to run.

    slots = Slots(home)
    slots.verify("a")                       # empty: it holds what was signed; else what is wrong with it
    slots.apply(lambda state: trial.accept(state, subject))
    slots.fill("b", folder, seal)           # moves a release that was unpacked and checked into a slot
    slots.check()                           # now and then: find and repair damage, look after the disk

The state is authoritative for what is wanted, the seals for what is there. A slot counts only if both agree.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sim2edge.edge.bundle import Release
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.trial import SLOTS, Installed, Slot, State
from sim2edge.edge.judgement.verdict import Budgets
from sim2edge.edge.server.clock import DeviceClock
from sim2edge.edge.storage.disk import disk_fault, name_fault
from sim2edge.edge.storage.durable import flush_folder, look_of, move_over, point_link, remove_any, write_durably
from sim2edge.edge.storage.earlier import check_slot, mark_file, take_over
from sim2edge.edge.storage.folders import make_folder, make_home, tidy
from sim2edge.edge.storage.rebuild import proven_marker, read_link, read_marker, rebuild_state
from sim2edge.edge.storage.rights import claim, claim_tree
from sim2edge.edge.storage.roots import Roots
from sim2edge.edge.storage.state_file import StateFile
from sim2edge.edge.storage.status_file import StatusFile
from sim2edge.edge.supervision.aside import Aside
from sim2edge.errors import BadInput

FULL_CHECK_S = 600.0
"""Seconds between two readings of every byte of a slot whose files look unchanged."""
ASIDE_IN = ("slots", "staging", "roots", "metadata", "metadata/root_history", "agents")
"""Folders below the home in which something may have been moved aside."""
SAVE_S = 0.5
"""Longest wait for the disk to take a change that takes effect in any case."""


class Slots:
    """The slots and the state of one home folder; safe to share between threads."""

    def __init__(
        self, home: Path, runtime: Callable[[], Path] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the home; what cannot be written is a fault, no error.

        Args:
            home: the folder.
            runtime: makes a folder in memory, for what cannot be written into the home.
            clock: the system's clock, Unix seconds.
        """
        self.home = home
        self.roots = Roots(home)
        self.damaged: set[Slot] = set()
        """Slots that were found damaged when they were to run: another one runs until they are fetched again."""
        self._status = StatusFile(home, runtime)
        self.clock = DeviceClock(home, clock)
        self._lock = threading.Lock()
        """Held to change the state in memory; never while the disk is waited for."""
        self._storing = threading.Lock()
        """Held to write the state and what follows from it."""
        self._content = threading.Lock()
        self._saving: Aside[None] | None = None
        self._hanging = False
        self._problems: dict[Slot, str] = {}
        self._releases: dict[Slot, tuple[Installed, Release]] = {}
        self._looks: dict[Slot, tuple[object, float]] = {}
        self._disk = ""
        self._unsaved = False
        self._store = StateFile(home)
        self._keepers: list[Callable[[], object]] = [self.roots.keep, self._keep_state, self._keep_markers, self._link]
        self._keepers.append(self._status.keep)
        self.make_folders()
        self.state = self._read()
        self._try(self._link)

    # Where things are

    @property
    def _slots(self) -> Path:
        return self.home / "slots"

    @property
    def staging(self) -> Path:
        """Folder of what is downloaded, unpacked and tried out before a slot is touched."""
        return self.home / "staging"

    def folder(self, slot: Slot) -> Path:
        """Return the folder of a slot."""
        return self._slots / slot

    def seal(self, slot: Slot) -> Path:
        """Return the file with the signed metadata of a slot's release."""
        return self._slots / f"{slot}.seal"

    # What is known about them

    def now(self) -> float:
        """Return the time, Unix seconds, as far as it is known: see `clock.py`."""
        return self.clock.now()

    @property
    def faults(self) -> Mapping[str, str]:
        """What is wrong with this device, in words: `disk`, `slot a`, `slot b`."""
        slots = {f"slot {slot}": problem for slot, problem in sorted(self._problems.items())}
        return {**({"disk": self._disk} if self._disk else {}), **slots}

    def budgets(self, slot: Slot) -> Budgets:
        """Return what the release in a slot may use, as it declares; of one never verified here, nothing is known."""
        installed, release = self._releases.get(slot, (None, None))
        if release is None or installed != self.state.slots.get(slot):
            return Budgets()
        return Budgets(release.memory_mb, release.cpu_ms_p95)

    def verify(self, slot: Slot) -> str:
        """Return what is wrong with a slot before it runs, and note it; empty: it holds what was signed.

        Raises:
            OSError: memory, processes or descriptors are short: nothing is known about the slot.
        """
        problem = self._examine(slot)
        if problem:
            self.damaged.add(slot)
        return problem

    def problems(self) -> Mapping[Slot, str]:
        """Return what is wrong with each slot that is damaged, after another look at it."""
        for slot in list(self._problems):
            self._examine(slot)
        return dict(self._problems)

    def _examine(self, slot: Slot) -> str:
        """Read every byte of a slot; a slot that is whole is no more damaged."""
        with self._content:
            installed = self.state.slots.get(slot)
            if installed is None:
                self._forget(slot)
                return f"slot {slot} is empty"
            look = self._look(slot)
            try:
                bundle = check_slot(self._slots, slot, installed, self.roots.chain())
            except BadInput as error:  # one that was to run stays marked: it is not to be tried at each tick
                self._looks.pop(slot, None)
                self._problems[slot] = str(error)
                return str(error)
            self._forget(slot)
            self._releases[slot] = (installed, bundle.release)
            self._looks[slot] = (look, time.monotonic())
            return ""

    def _forget(self, slot: Slot) -> None:
        self.damaged.discard(slot)
        for known in (self._problems, self._looks):
            known.pop(slot, None)

    def _look(self, slot: Slot) -> object:
        """Return what a change of a slot's files would change, without reading them."""
        try:
            paths = [self.seal(slot), *sorted(self.folder(slot).iterdir())]
            return [(path.name, look_of(path)) for path in paths]
        except OSError as error:
            return error.errno

    # Changing them

    def apply(self, change: Callable[[State], State], must_last: bool = True) -> State:
        """Change the state, on disk first, then in memory.

        Args:
            change: a pure function of `trial`; it may be called more than once.
            must_last: False if the change has to take effect even when the disk takes nothing, or hangs: it counts at
                once, and SAVE_S is the longest wait for the disk. A restart may lose it, which is safe for the end of
                a trial: the trial is repeated.

        Raises:
            OSError: the state could not be written, and `must_last`.
        """
        if must_last:
            with self._storing:
                return self._apply_on_disk(change)
        with self._lock:
            before, self.state = self.state, change(self.state)
            if self.state == before and not self._unsaved:
                return before
            self._unsaved = True
            state = self.state
        self._save_aside()
        return state

    def _apply_on_disk(self, change: Callable[[State], State]) -> State:
        while True:
            with self._lock:
                before, unsaved = self.state, self._unsaved
            state = change(before)
            if state == before and not unsaved:
                return state
            self._write(state)
            with self._lock:
                taken = self.state is before  # else it was changed meanwhile: the change is made to that one
                if taken:
                    self.state, self._unsaved = state, False
            if taken:
                self._follow_up(state)
                return state

    def _write(self, state: State) -> None:
        try:
            self._store.write(state)
        except OSError as error:
            self._disk = name_fault(error)
            raise

    def _save_aside(self) -> None:
        """Write the state in a thread of its own; one that hangs is not waited for again, and writes the newest."""
        if self._hanging and self._saving and not self._saving.ready():
            return
        self._saving = Aside(self._save)
        self._hanging = not self._saving.ready(SAVE_S)

    def _save(self) -> None:
        """Write a state that was not written when it was made."""
        with self._storing:
            while True:
                with self._lock:
                    state, unsaved = self.state, self._unsaved
                if not unsaved:
                    return
                try:
                    self._write(state)
                except OSError:
                    return
                with self._lock:
                    if self.state is state:
                        self._unsaved = False
                self._follow_up(state)

    def _follow_up(self, state: State) -> None:
        """Make what follows from a state that is on disk."""
        self._try(self._mark_proven, state)
        self._try(self._link)

    def _mark_proven(self, state: State) -> None:
        """Note beside a slot that its release passed a trial: the state can be made from that when it is lost."""
        wanted = proven_hashes(state)
        for slot in SLOTS:
            marker = proven_marker(self._slots, slot)
            if slot not in wanted:
                if os.path.lexists(marker):  # a disk that takes nothing refuses the removal of what is not there
                    remove_any(marker)
            elif read_marker(self._slots, slot) != wanted[slot]:
                write_durably(marker, wanted[slot].encode())

    def slot_to_fill(self) -> Slot:
        """Return the slot that may be overwritten: a damaged or empty one, else the one that is not the good one.

        The other one is read once more: the last release that is whole is never overwritten.

        Raises:
            OSError: memory, processes or descriptors are short.
        """
        free = trial.free_slot(self.state)
        broken = [slot for slot in SLOTS if self._examine(slot)]
        return free if free in broken or not broken else broken[0]

    def fill(self, slot: Slot, folder: Path, seal: Path) -> None:
        """Move a release that is complete on disk, and its seal, into a slot; a power cut leaves it damaged at worst.

        Raises:
            OSError: the disk takes nothing.
        """
        with self._content:
            self._forget(slot)
            make_folder(self._slots, keep=True)
            for old in (mark_file(self._slots, slot), self.seal(slot), self.folder(slot)):
                remove_any(old)
            flush_folder(self._slots)
            move_over(seal, self.seal(slot))
            folder.replace(self.folder(slot))
            flush_folder(self._slots)
            flush_folder(self.staging)

    def drop(self, slot: Slot) -> None:
        """Give up the release in a slot.

        Raises:
            OSError: the disk takes nothing.
        """
        self.apply(lambda state: trial.clear(state, slot))
        with self._content:
            self._forget(slot)
            for old in (mark_file(self._slots, slot), self.folder(slot), self.seal(slot)):
                remove_any(old)

    def free_bytes(self) -> int:
        """Return the free bytes of the disk."""
        about = os.statvfs(self.home)
        return about.f_bavail * about.f_frsize

    def write_status(self, text: str) -> None:
        """Write the local status, into memory if the home takes nothing.

        Raises:
            OSError: neither takes it.
        """
        if problem := self._status.write(text):
            self._disk = name_fault(problem)

    # Looking after them

    def keep(self, keeper: Callable[[], object]) -> None:
        """Have a function called at each check; it may raise OSError."""
        self._keepers.append(keeper)

    def check(self) -> None:
        """Find damage, repair what can be repaired without the server, and see whether the disk takes anything.

        What is wrong with a slot that runs is only noted: the detector goes on from memory until it is fetched again.
        """
        self._disk = disk_fault(self.home)
        self.make_folders()
        for slot in self.state.slots:
            look, when = self._looks.get(slot, (None, float("-inf")))
            if look != self._look(slot) or time.monotonic() - when > FULL_CHECK_S:
                with suppress(OSError):
                    self._examine(slot)
        for keeper in (self._save, *self._keepers):
            self._try(keeper)
        tidy(self.home, *(self.home / name for name in ASIDE_IN))

    def make_folders(self) -> None:
        """Make the folders that are lost, or closed to this user; what the slots hold is kept."""
        self._try(make_home, self.home)
        with suppress(OSError):
            for path in self.home.iterdir():
                claim(path)
        with self._content:
            self._try(make_folder, self._slots, True)
            for slot in SLOTS:
                claim_tree(self.folder(slot))
        self._try(make_folder, self.staging)

    def _keep_state(self) -> None:
        with self._storing:
            if not self._unsaved:
                self._store.keep(self.state)

    def _keep_markers(self) -> None:
        with self._storing:
            if not self._unsaved:
                self._mark_proven(self.state)

    def _try(self, action: Callable[..., object], *arguments: object) -> None:
        try:
            action(*arguments)
        except OSError as error:
            self._disk = name_fault(error)

    def _link(self) -> None:
        slot = trial.boots(self.state)
        link = self.home / "current"
        if slot is None:
            remove_any(link)
        else:
            point_link(link, f"slots/{slot}")

    def _read(self) -> State:
        """Return the stored state; if it is lost, what the slots themselves tell."""
        state = self._store.read()
        if state is not None:
            return state
        state = self._store.read_earlier()
        if state is not None:
            self._try(take_over, self.home, state)
            self._try(self._mark_proven, state)
        else:
            state = rebuild_state(self._slots, read_link(self.home / "current"), self.roots.chain())
        if state.slots:
            self._try(self._store.write, state)
        return state


def proven_hashes(state: State) -> Mapping[Slot, str]:
    """Return the SHA-256 of the bundle in each slot that passed its trial."""
    return {slot: state.slots[slot].sha256 for slot in SLOTS if slot in state.proven}
