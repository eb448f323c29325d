"""Rebuild a disk as a power cut leaves it, from qemu's log of every write and flush (`blklogwrites`).

    log = read_log(Path("home.log"))
    cut(log, blank, Path("cut.img"), at=812, rng=random.Random(1))

A disk may keep what was not flushed in its cache, in any order. So a cut at an entry keeps every write before the last
flush, and of each later one nothing, all, or some of its pages. https://docs.kernel.org/admin-guide/device-mapper/log-writes.html
describes the format.
"""

import random
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0x6A736677736872
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
PAGE = 4096
"""Bytes that a disk writes whole or not at all."""


@dataclass(frozen=True)
class Write:
    """One entry: where it goes, and where in the log its bytes are."""

    at: int
    """Byte on the disk."""
    source: int
    """Byte in the log."""
    length: int
    flush: bool
    fua: bool


@dataclass(frozen=True)
class WriteLog:
    """All entries, in the order in which the machine made them."""

    path: Path
    writes: Sequence[Write]

    def last_flush(self, at: int) -> int:
        """Return the number of entries that are on the disk for certain when the power goes after `at` of them."""
        return next((n for n in range(at, 0, -1) if self.writes[n - 1].flush), 0)


def read_log(path: Path) -> WriteLog:
    """Read the entries of a log, up to the last whole one: the machine may have been killed.

    Raises:
        ValueError: it is not a log of writes.
    """
    size, writes = path.stat().st_size, []
    with path.open("rb") as file:
        magic, _, _, sector = SUPER.unpack(file.read(SUPER.size))
        if magic != MAGIC:
            raise ValueError(f"{path}: not a log of writes")
        position = sector
        while position + sector <= size:
            file.seek(position)
            start, count, flags, extra = ENTRY.unpack(file.read(ENTRY.size))
            length = extra if flags & MARK else 0 if flags & DISCARD else count * sector
            if not (count or flags) or position + sector + length > size:
                break
            kept = 0 if flags & MARK else length
            writes.append(Write(start * sector, position + sector, kept, bool(flags & FLUSH), bool(flags & FUA)))
            position += sector + -(-length // sector) * sector
    return WriteLog(path, writes)


def cut(log: WriteLog, blank: Path, image: Path, at: int, rng: random.Random) -> None:
    """Write to `image` what is on the disk when the power goes after `at` entries.

    Args:
        log: what the machine wrote.
        blank: the disk before the first entry.
        image: the file to make.
        at: the number of entries made before the cut.
        rng: decides which of the unflushed pages are there.
    """
    shutil.copyfile(blank, image)
    certain = log.last_flush(at)
    with log.path.open("rb") as source, image.open("r+b") as disk:
        for number, write in enumerate(log.writes[:at]):
            chance = 1.0 if number < certain or write.fua else rng.choice((0.0, 0.0, 0.5, 1.0))
            for offset in range(0, write.length if chance else 0, PAGE):
                if chance == 1 or rng.random() < chance:
                    source.seek(write.source + offset)
                    disk.seek(write.at + offset)
                    disk.write(source.read(min(PAGE, write.length - offset)))
