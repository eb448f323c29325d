"""Pack an agent: a folder of installed Python packages becomes one reproducible file, which a device runs from a slot.

    pip install --target lib --only-binary=:all: --platform manylinux_2_28_aarch64 'sim2edge[edge]'
    sim2edge device pack lib --version 0.2.0 --arch aarch64 --out agent-0.2.0-aarch64.tar.zst

The file holds `lib/`, `agent.json`, a program `sim2edge`, and `files.json` with the SHA-256 of each file
(`agent_package.py`).
"""

import compileall
import hashlib
import io
import json
import py_compile
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import IO

from sim2edge.agent_package import ABOUT, LISTING, MAX_BYTES, About, check_about, open_package
from sim2edge.compression import compress
from sim2edge.errors import BadInput

MAX_FILES = 50_000
LEVEL = 12
"""Of the compression: 300 MB in half a minute."""
EXECUTABLE = ("sim2edge", "bin/python3")
PROGRAM = """\
#!/bin/sh
# Run the agent in this folder, wherever it lies.
here=$(dirname "$(readlink -f "$0")")
python=$here/bin/python3
[ -x "$python" ] || python=$(command -v python{python}) || {{
  echo "sim2edge: this agent needs Python {python}, which this system lacks" >&2
  exit 2
}}
PYTHONPATH=$here/lib PYTHONDONTWRITEBYTECODE=1 exec "$python" -s -B -m sim2edge "$@"
"""


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
        ABOUT: json.dumps(asdict(about), indent=1).encode(),
        "sim2edge": PROGRAM.format(python=about.python).encode(),
        **{f"lib/{path.relative_to(library)}": path for path in sorted(library.rglob("*")) if path.is_file()},
    }
    listing = {name: _sha256(content) for name, content in sorted(files.items())}
    files[LISTING] = json.dumps(listing, indent=0, sort_keys=True).encode()
    tar_file, part = out.with_name(f".{out.name}.tar"), out.with_name(f".{out.name}.part")
    try:
        with tarfile.open(tar_file, "w") as tar:
            for name in (ABOUT, *sorted({*files} - {ABOUT})):
                _add(tar, name, files[name])
        compress(tar_file, part, LEVEL)
        part.replace(out)
    finally:
        tar_file.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return listing


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
    with open_package(file) as members:
        for member, content in members:
            total, count = total + member.size, count + 1
            if total > MAX_BYTES or count > MAX_FILES:
                raise BadInput(f"{file}: more than {MAX_BYTES} bytes or {MAX_FILES} files")
            if content is None or not is_safe(member.name):
                raise BadInput(f"{file}: {member.name[:120]!r}: not a plain file with a safe name")
            _write(folder / member.name, content, member.name in EXECUTABLE)
    listing = folder / LISTING
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
