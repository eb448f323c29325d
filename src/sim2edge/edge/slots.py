"""Manage the device's home folder: two slots, the state that names the one to run, and a link to it.

    slots = Slots(home)
    slots.apply(lambda state: trial.begin(state, installed))
    slots.folder(trial.boots(slots.state))

`state.json` is authoritative and replaced atomically; the link `current` follows it. A slot's content counts only if
the state names it: the state drops the slot before it is written to, and names it again once all of it is on disk.
"""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from sim2edge.edge import trial
from sim2edge.edge.bundle import open_bundle
from sim2edge.edge.durable import flush_folder, point_link, write_durably
from sim2edge.edge.trial import Installed, Slot, State
from sim2edge.errors import BadInput


class Slots:
    """The slots and the state of one home folder; safe to share between threads."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        for folder in (home, self._slots, self.downloads):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.state = self._read()
        self._link()

    @property
    def _slots(self) -> Path:
        return self.home / "slots"

    @property
    def _state_file(self) -> Path:
        return self.home / "state.json"

    @property
    def downloads(self) -> Path:
        """Folder of downloaded bundles."""
        return self.home / "downloads"

    def folder(self, slot: Slot) -> Path:
        """Return the folder of a slot."""
        return self._slots / slot

    def apply(self, change: Callable[[State], State], must_last: bool = True) -> State:
        """Change the state, on disk first, then in memory.

        Args:
            change: a pure function of `trial`.
            must_last: False if the change has to take effect even when the disk is full; a restart then loses it, which
                is safe for the end of a trial: the trial is repeated.

        Raises:
            OSError: the state could not be written, and `must_last`.
        """
        with self._lock:
            state = change(self.state)
            if state == self.state:
                return state
            try:
                write_durably(self._state_file, trial.to_json(state))
            except OSError:
                if must_last:
                    raise
            self.state = state
            self._link()
            return state

    def empty_free_slot(self) -> Path:
        """Remove the content of the free slot, after dropping it from the state, and return its folder.

        Returns:
            The slot's folder, which does not exist.
        """
        self.apply(trial.clear)
        folder = self.folder(trial.free_slot(self.state))
        if folder.exists():
            shutil.rmtree(folder)
            flush_folder(self._slots)
        return folder

    def remove_downloads(self, keep: Path | None = None) -> None:
        """Remove every download but one."""
        for path in self.downloads.iterdir():
            if path != keep:
                path.unlink()

    def free_bytes(self) -> int:
        """Return the free bytes, including the content of the free slot, which will be overwritten."""
        taken = sum(file.stat().st_size for file in self.folder(trial.free_slot(self.state)).glob("*"))
        return shutil.disk_usage(self.home).free + taken

    def _link(self) -> None:
        slot = trial.boots(self.state)
        if slot is None:
            (self.home / "current").unlink(missing_ok=True)
            return
        try:
            point_link(self.home / "current", f"slots/{slot}")
        except OSError:  # the link is for operators only; the state is authoritative
            return

    def _read(self) -> State:
        try:
            return trial.from_json(self._state_file.read_bytes())
        except FileNotFoundError:
            return State()
        except ValueError:
            return self._recover()

    def _recover(self) -> State:
        """Return a state for a damaged state file: keep running the slot that the link points at, its hash unknown."""
        link = self.home / "current"
        for slot in trial.SLOTS:
            if link.is_symlink() and str(link.readlink()) == f"slots/{slot}":
                try:
                    release = open_bundle(self.folder(slot)).release.id
                except BadInput:
                    continue
                return State(slots={slot: Installed(release, "")}, active=slot)
        return State()
