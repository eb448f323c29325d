"""Power cuts: stop a program at its n-th line, and let everything that was not flushed to disk be lost.

with PowerCut(home, modules, spared=(), at=17) as cut:
    updater.update()
cut.happened
"""

import os
import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any


class Cut(BaseException):
    """The power is gone; no handler of the program may notice."""


class PowerCut:
    """Cuts the power before the n-th line executed in some modules; functions named in `spared` do not count.

    Then the disk is made as bad as it may legally be: a file that was written but not flushed is cut in half, a name
    that was made in a folder not flushed since is lost.
    """

    def __init__(self, home: Path, modules: Iterable[ModuleType], spared: Collection[str], at: int) -> None:
        self._home = home
        self._files = {module.__file__ for module in modules}
        self._spared = spared
        self._left = at
        self.happened = False
        self._synced = {self._identity(path): self._stamp(path) for path in home.rglob("*") if path.is_file()}
        self._names = {folder: self._listing(folder) for folder in [home, *home.rglob("*")] if folder.is_dir()}
        self._fsync = os.fsync

    def __enter__(self) -> "PowerCut":
        os.fsync = self._note_fsync  # type: ignore[assignment]
        sys.settrace(self._trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        sys.settrace(None)
        os.fsync = self._fsync
        if isinstance(error, Cut):
            self.happened = True
            self._lose()
            return True
        return False

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self._files or frame.f_code.co_name in self._spared:
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                raise Cut
        return self._trace

    def _note_fsync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        if path.is_dir():
            self._names[path] = self._listing(path)
        else:
            self._synced[self._identity(path)] = self._stamp(path)

    def _lose(self) -> None:
        for folder, kept in self._names.items():
            for name in self._listing(folder) - kept if folder.is_dir() else ():
                lost = folder / name
                shutil.rmtree(lost) if lost.is_dir() and not lost.is_symlink() else lost.unlink()
        for path in self._home.rglob("*"):
            if path.is_file() and not path.is_symlink() and self._synced.get(self._identity(path)) != self._stamp(path):
                os.truncate(path, path.stat().st_size // 2)

    @staticmethod
    def _identity(path: Path) -> int:
        return path.stat().st_ino

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int]:
        return path.stat().st_size, path.stat().st_mtime_ns

    @staticmethod
    def _listing(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
