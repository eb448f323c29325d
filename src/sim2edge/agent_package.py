"""Read the package of an agent, as `sim2edge device pack` writes it: a tar, compressed by Zstandard; untrusted input.

    about = read_about(Path("agent-0.2.0-aarch64.tar.zst"))
    with open_package(path) as members:
        for member, content in members:         # content: None for anything but a plain file
            ...

The first file is `agent.json`; `files.json` has the SHA-256 of each of the others. The memory that reading takes and
the bytes that come out are bounded (`compression.py`).
"""

import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from sim2edge.compression import Content, open_content
from sim2edge.errors import BadInput

SUFFIX = ".tar.zst"
FIELD = "agent-"
"""Begin of the names of the ring file's fields that name an agent, followed by the architecture."""
ABOUT, LISTING = "agent.json", "files.json"
MAX_BYTES = 2 * 2**30
"""Largest content of a package."""
MAX_TAR_BYTES = MAX_BYTES + 64 * 2**20
"""Content and tar headers."""
MAX_ABOUT_BYTES = 4096
ARCHITECTURES = ("aarch64", "x86_64")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")

Members = Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]


@dataclass(frozen=True)
class About:
    """What `agent.json` says, and the signed metadata of the package."""

    version: str
    arch: str
    """As `uname -m` prints it."""
    python: str = "3.11"
    """Version of the interpreter that the packages were installed for."""


def check_about(about: About) -> None:
    """Check version, architecture and interpreter.

    Raises:
        BadInput: one of them is not valid.
    """
    if not VERSION.fullmatch(about.version):
        raise BadInput(f"version '{about.version[:80]}': expected up to 64 letters, digits, '.', '_', '+', '-'")
    if about.arch not in ARCHITECTURES:
        raise BadInput(f"architecture '{about.arch[:80]}': expected {' or '.join(ARCHITECTURES)}")
    if not re.fullmatch(r"3\.\d{1,2}", about.python):
        raise BadInput(f"python '{about.python[:80]}': expected a version such as 3.11")


def parse_about(data: bytes, where: str) -> About:
    """Parse `agent.json`.

    Raises:
        BadInput: it is not valid.
    """
    try:
        content = json.loads(data)
        about = About(**{name: str(content[name]) for name in ("version", "arch", "python")})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{where}: not a package of `sim2edge device pack`: no valid agent.json") from error
    check_about(about)
    return about


def read_about(file: Path) -> About:
    """Read `agent.json`, the first file of a package.

    Raises:
        BadInput: the file is not a package of an agent.
    """
    with open_package(file) as members:
        member, content = next(members, (None, None))
        first = content if member and member.name == ABOUT else None
        return parse_about(first.read(MAX_ABOUT_BYTES) if first else b"", str(file))


@contextmanager
def open_package(file: Path) -> Iterator[Members]:
    """Open a package to read its members in their order; after the last one its end is checked.

    Raises:
        BadInput: it cannot be read, is damaged or cut short, or too large.
    """
    try:
        with open_content(file, MAX_TAR_BYTES) as content:
            yield _read_members(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise BadInput(f"{file}: damaged, or not a package of `sim2edge device pack`: {error}") from error


def _read_members(content: Content, file: Path) -> Members:
    with tarfile.open(fileobj=cast(IO[bytes], content), mode="r|") as tar:
        for member in tar:
            yield member, tar.extractfile(member) if member.isreg() else None
        padding = tar.fileobj.read(tarfile.RECORDSIZE) if tar.fileobj else b""
    if padding.strip(b"\0"):
        raise BadInput(f"{file}: damaged: something follows the content")
    content.check_end()
