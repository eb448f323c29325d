"""Recognise the pointers that a clone without Git LFS has in place of its large files."""

from pathlib import Path

from sim2edge.ingest.bad_log import BadLog

START = b"version https://git-lfs.github.com/spec/"
MAX_BYTES = 1024
"""Pointers are shorter."""


def check_fetched(path: Path, where: str = "") -> None:
    """Check that a file, if it is there, is not the pointer to it; `where` names it in the error.

    Raises:
        BadLog: it is the pointer.
    """
    if not path.is_file() or path.stat().st_size >= MAX_BYTES:
        return
    with path.open("rb") as file:
        if file.read(len(START)) == START:
            named = f"{where}: " if where else ""
            raise BadLog(f"{named}only a pointer of Git LFS: fetch the file itself with 'git lfs pull'")
