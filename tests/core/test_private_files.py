"""Files and folders of their owner alone, whatever the umask, and closed again where they were open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim2edge.private_files import append_private, make_private_folder, restrict, write_private


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Have what names no mode open to everyone."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_missing_parents_of_a_folder_are_private_too(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o755)
    make_private_folder(tmp_path / "old" / "a" / "b")
    assert [mode(tmp_path / name) for name in ("old", "old/a", "old/a/b")] == [0o755, 0o700, 0o700]


def test_a_file_is_private_and_so_is_the_folder_that_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_private(path, "text")
    write_private(path, b"bytes", durable=True)
    with append_private(path) as file:
        file.write(b" and more")
    with append_private(tmp_path / "logs" / "new.log") as file:
        file.write(b"line")
    assert path.read_bytes() == b"bytes and more"
    assert sorted(each.name for each in path.parent.iterdir()) == ["file"]
    assert {mode(path), mode(tmp_path / "logs" / "new.log")} == {0o600}
    assert {mode(path.parent), mode(tmp_path / "logs")} == {0o700}


def test_an_open_tree_is_closed_and_programs_stay_executable(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not ours")
    inside = tmp_path / "home" / "data" / "deep"
    inside.mkdir(parents=True)
    (inside / "file").write_text("")
    (inside / "program").write_text("")
    (inside / "program").chmod(0o755)
    (inside / "link").symlink_to(outside)
    assert restrict(tmp_path / "home") == []
    assert mode(inside / "file") == 0o600
    assert mode(inside / "program") == 0o700
    assert {mode(folder) for folder in (tmp_path / "home", inside.parent, inside)} == {0o700}
    assert mode(outside) == 0o666
    assert restrict(tmp_path / "missing") == []
