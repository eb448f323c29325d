"""Pack an agent: a folder of installed Python packages becomes one reproducible file, which a device runs from a slot.

    pip install --target lib --only-binary=:all: --platform manylinux_2_28_aarch64 'sim2edge[edge]'
    sim2edge device pack lib --version 0.2.0 --arch aarch64 --out agent-0.2.0-aarch64.tar.xz

The file holds `lib/`, `agent.json`, a program `sim2edge`, and `files.json` with the SHA-256 of each file. It is
compressed by XZ, which the standard library and a bare Raspberry Pi OS both read.
"""

import compileall
import hashlib
import io
import json
import lzma
import py_compile
import re
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from sim2edge.errors import BadInput

MAX_BYTES = 2 * 2**30
"""Largest content of a package."""
MAX_FILES = 50_000
MAX_ABOUT_BYTES = 4096
ARCHITECTURES = ("aarch64", "x86_64")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
EXECUTABLE = ("sim2edge", "bin/python3")
PROGRAM = """\
#!/bin/sh
# Run the agent in this folder, wherever it lies.
here=$(dirname "$(readlink -f "$0")")
python=$here/bin/python3
[ -x "$python" ] || python=python{python}
PYTHONPATH=$here/lib PYTHONDONTWRITEBYTECODE=1 exec "$python" -s -B -m sim2edge "$@"
"""


@dataclass(frozen=True)
class About:
    """What `agent.json` says, and the signed metadata of the package."""

    version: str
    arch: str
    """As `uname -m` prints it."""
    python: str = "3.11"
    """Version of the interpreter that the packages were installed for."""


def pack(library: Path, about: About, out: Path) -> Mapping[str, str]:
    """Write the package of an agent.

    Args:
        library: folder that `pip install --target` filled, with sim2edge and what its device needs.
        about: version and architecture.
        out: file to write.

    Returns:
        Path to SHA-256 of each packed file.

    Raises:
        BadInput: the version or the architecture is not valid, or sim2edge is not in the folder.
    """
    check_about(about)
    if not (library / "sim2edge" / "edge" / "device.py").is_file():
        raise BadInput(f"{library}: holds no sim2edge: fill it by `pip install --target {library} 'sim2edge[edge]'`")
    if about.python == f"{sys.version_info.major}.{sys.version_info.minor}":  # byte code makes the start faster
        compileall.compile_dir(
            library, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, stripdir=str(library)
        )
    files: dict[str, bytes | Path] = {
        "agent.json": json.dumps(asdict(about), indent=1).encode(),
        "sim2edge": PROGRAM.format(python=about.python).encode(),
        **{f"lib/{path.relative_to(library)}": path for path in sorted(library.rglob("*")) if path.is_file()},
    }
    listing = {name: _sha256(content) for name, content in sorted(files.items())}
    files["files.json"] = json.dumps(listing, indent=0, sort_keys=True).encode()
    part = out.with_name(f".{out.name}.part")
    try:
        with tarfile.open(part, "w:xz", preset=1) as tar:
            for name, content in sorted(files.items()):
                _add(tar, name, content)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return listing


def check_about(about: About) -> None:
    """Check version and architecture.

    Raises:
        BadInput: one of them is not valid.
    """
    if not VERSION.fullmatch(about.version):
        raise BadInput(f"version '{about.version}': expected up to 64 letters, digits, '.', '_', '+', '-'")
    if about.arch not in ARCHITECTURES:
        raise BadInput(f"architecture '{about.arch}': expected {' or '.join(ARCHITECTURES)}")
    if not re.fullmatch(r"3\.\d{1,2}", about.python):
        raise BadInput(f"python '{about.python}': expected a version such as 3.11")


def _sha256(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o755 if name in EXECUTABLE else 0o644
    member.size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        tar.addfile(member, file)


def read_about(file: Path) -> About:
    """Read `agent.json`, the first file of a package.

    Raises:
        BadInput: the file is not a package of an agent.
    """
    try:
        with tarfile.open(file, "r|xz") as tar:
            member = tar.next()
            content = tar.extractfile(member) if member and member.name == "agent.json" else None
            return parse_about(content.read(MAX_ABOUT_BYTES) if content else b"", str(file))
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError) as error:
        raise BadInput(f"{file}: not a package of `sim2edge device pack`: {error}") from error


def parse_about(data: bytes, where: str) -> About:
    """Parse `agent.json`.

    Raises:
        BadInput: it is not valid.
    """
    try:
        content = json.loads(data)
        about = About(**{name: str(content[name]) for name in ("version", "arch", "python")})
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{where}: not a package of `sim2edge device pack`: no valid agent.json") from error
    check_about(about)
    return about


def unpack(file: Path, folder: Path) -> str:
    """Unpack a package into a folder that does not exist; the caller flushes it to disk (`os.sync`).

    Returns:
        The SHA-256 of its `files.json`.

    Raises:
        BadInput: the package is damaged, too large, or holds anything but plain files with safe names.
        OSError: the disk is full or fails.
    """
    total = count = 0
    folder.mkdir(mode=0o755, parents=True)
    try:
        with tarfile.open(file, "r|xz") as tar:
            for member in tar:
                total, count = total + member.size, count + 1
                if total > MAX_BYTES or count > MAX_FILES:
                    raise BadInput(f"{file}: more than {MAX_BYTES} bytes or {MAX_FILES} files")
                content = tar.extractfile(member) if member.isreg() and is_safe(member.name) else None
                if content is None:
                    raise BadInput(f"{file}: {member.name!r}: not a plain file with a safe name")
                _write(folder / member.name, content, member.name in EXECUTABLE)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise BadInput(f"{file}: damaged: {error}") from error
    listing = folder / "files.json"
    if not listing.is_file():
        raise BadInput(f"{file}: holds no files.json")
    return _sha256(listing)


def is_safe(name: str) -> bool:
    """Return whether a member's name is a plain relative path."""
    parts = PurePosixPath(name).parts
    return bool(parts) and str(PurePosixPath(*parts)) == name and parts[0] != "/" and ".." not in parts


def _write(path: Path, content: IO[bytes], executable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        while chunk := content.read(2**20):
            file.write(chunk)
        file.flush()
    path.chmod(0o755 if executable else 0o644)
