"""A disk after a cut has all that was flushed, and of the rest any part."""

import random
import struct
from pathlib import Path

import pytest

from .write_log import ENTRY, FLUSH, MAGIC, PAGE, SUPER, cut, read_log

SECTOR = 512


def write_log(path: Path, *entries: tuple[int, bytes, int]) -> Path:
    """A log of entries: page, data, flags."""
    with path.open("wb") as file:
        file.write(SUPER.pack(MAGIC, 1, len(entries), SECTOR).ljust(SECTOR, b"\0"))
        for page, data, flags in entries:
            head = ENTRY.pack(page * PAGE // SECTOR, len(data) // SECTOR, flags, 0)
            file.write(head.ljust(SECTOR, b"\0") + data)
    return path


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    path = tmp_path / "blank"
    path.write_bytes(b"." * PAGE * 4)
    return path


ENTRIES = ((0, b"a" * PAGE, 0), (0, b"", FLUSH), (1, b"b" * PAGE * 2, 0), (3, b"c" * PAGE, 0))


def pages(path: Path) -> str:
    data = path.read_bytes()
    return "".join(chr(data[start]) for start in range(0, len(data), PAGE))


def test_what_was_flushed_is_there_and_the_rest_in_any_part(tmp_path: Path, blank: Path) -> None:
    log = read_log(write_log(tmp_path / "log", *ENTRIES))
    seen = set()
    for seed in range(300):
        cut(log, blank, tmp_path / "image", 4, random.Random(seed))
        seen.add(pages(tmp_path / "image"))
    assert seen == {"a" + first + second + last for first in ".b" for second in ".b" for last in ".c"}


def test_a_write_before_the_flush_may_be_lost(tmp_path: Path, blank: Path) -> None:
    log = read_log(write_log(tmp_path / "log", *ENTRIES))
    seen = set()
    for seed in range(50):
        cut(log, blank, tmp_path / "image", 1, random.Random(seed))
        seen.add(pages(tmp_path / "image"))
    assert seen == {"....", "a..."}


def test_a_log_cut_in_its_last_entry_is_read_up_to_it(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", *ENTRIES)
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_log(path).writes) == 3


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<QQQI", 1, 2, 3, 4))
    with pytest.raises(ValueError, match="not a log"):
        read_log(tmp_path / "x")
