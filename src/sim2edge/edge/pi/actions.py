"""The steps of an installation, each of which finds what is there already: described for a dry run, or carried out.

    for action in actions:
        print(action.describe(), "" if action.is_done(root) else action.carry_out(root))

Paths are those of the device; `root` is where its file system lies, `/` or an image's folder.
"""

import filecmp
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sim2edge.edge.storage.durable import flush_folder, point_link, write_durably
from sim2edge.errors import BadInput


class Action(Protocol):
    """One step."""

    def describe(self) -> str:
        """Return the step as a command line would say it."""

    def is_done(self, root: Path) -> bool:
        """Return whether nothing is left to do."""

    def carry_out(self, root: Path) -> None:
        """Do it.

        Raises:
            BadInput: it cannot be done.
        """


@dataclass(frozen=True)
class WriteFile:
    """A file of root's, replaced atomically."""

    path: Path
    content: bytes
    mode: int = 0o644

    def describe(self) -> str:
        """See `Action`."""
        return f"write {self.path} (mode {self.mode:o}, {len(self.content)} bytes)"

    def is_done(self, root: Path) -> bool:
        """See `Action`."""
        path = within(root, self.path)
        return path.is_file() and path.stat().st_mode & 0o7777 == self.mode and path.read_bytes() == self.content

    def carry_out(self, root: Path) -> None:
        """See `Action`."""
        path = within(root, self.path)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_durably(path, self.content, self.mode)
        path.chmod(self.mode)


@dataclass(frozen=True)
class CopyTree:
    """A folder of root's, replaced as a whole."""

    source: Path
    path: Path

    def describe(self) -> str:
        """See `Action`."""
        return f"copy {self.source} to {self.path}"

    def is_done(self, root: Path) -> bool:
        """See `Action`."""
        return same_tree(self.source, within(root, self.path))

    def carry_out(self, root: Path) -> None:
        """See `Action`."""
        path = within(root, self.path)
        part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
        if old.is_dir() and not path.exists():  # a power cut between the two renames; the launcher looks there, too
            old.rename(path)
        for leftover in (part, old):
            shutil.rmtree(leftover, ignore_errors=True)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copytree(self.source, part)
        for each in (part, *part.rglob("*")):
            each.chmod(0o755 if each.is_dir() or (os.access(each, os.X_OK) and each.stat().st_mode & 0o111) else 0o644)
        os.sync()
        if path.exists():
            path.rename(old)
        part.rename(path)
        flush_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    path: Path
    target: str

    def describe(self) -> str:
        """See `Action`."""
        return f"link {self.path} -> {self.target}"

    def is_done(self, root: Path) -> bool:
        """See `Action`."""
        path = within(root, self.path)
        return path.is_symlink() and str(path.readlink()) == self.target

    def carry_out(self, root: Path) -> None:
        """See `Action`."""
        path = within(root, self.path)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        point_link(path, self.target)


@dataclass(frozen=True)
class Remove:
    """A file, link or folder that goes."""

    path: Path

    def describe(self) -> str:
        """See `Action`."""
        return f"remove {self.path}"

    def is_done(self, root: Path) -> bool:
        """See `Action`."""
        path = within(root, self.path)
        return not path.exists() and not path.is_symlink()

    def carry_out(self, root: Path) -> None:
        """See `Action`."""
        path = within(root, self.path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True)
class Run:
    """A command of the system."""

    words: tuple[str, ...]
    offline: bool = False
    """Takes `--root` where the file system is not the running one; other commands are left out there."""
    may_fail: bool = False
    unless: tuple[Path, str] | None = None
    """A file and how one of its lines begins when nothing is left to do."""

    def describe(self) -> str:
        """See `Action`."""
        return f"run {' '.join(self.words)}"

    def is_done(self, root: Path) -> bool:
        """See `Action`."""
        if root != Path("/") and not self.offline:
            return True
        if self.unless is None or not (path := within(root, self.unless[0])).is_file():
            return False
        return any(line.startswith(self.unless[1]) for line in path.read_text().splitlines())

    def carry_out(self, root: Path) -> None:
        """See `Action`."""
        program, *rest = self.words
        words = [program, *([] if root == Path("/") else [f"--root={root}"]), *rest]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BadInput(f"{self.describe()}: {error}: needs a Debian system with systemd") from error
        if done.returncode and not self.may_fail:
            raise BadInput(f"{self.describe()}: {' '.join((done.stderr or done.stdout).split()) or done.returncode}")


def within(root: Path, path: Path) -> Path:
    """Return where a device's path lies under `root`."""
    return root / path.relative_to("/")


def same_tree(first: Path, second: Path) -> bool:
    """Return whether two folders hold the same files with the same content."""
    if not second.is_dir():
        return False
    names = [sorted(str(each.relative_to(top)) for each in top.rglob("*") if each.is_file()) for top in (first, second)]
    return names[0] == names[1] and not any(
        not filecmp.cmp(first / name, second / name, shallow=False) for name in names[0]
    )


def carry_out(actions: Sequence[Action], root: Path, dry_run: bool = False) -> None:
    """Carry out what is left to do, and print each step.

    Raises:
        BadInput: a step failed; those before it stay, and a second installation goes on from there.
    """
    for action in actions:
        done = action.is_done(root)
        print(f"{'unchanged' if done else 'would do' if dry_run else 'done'}: {action.describe()}", flush=True)
        if done or dry_run:
            continue
        try:
            action.carry_out(root)
        except OSError as error:
            raise BadInput(f"{action.describe()}: {error.strerror or error}: run it as root (sudo)") from error
