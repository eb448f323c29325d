"""Write and unpack bundles, the one file a device installs: reproducible bytes, unpacked as untrusted input.

    write_bundle(Path("bundle.tar"), {"release.json": ..., "model.tflite": ...})
    bundle = unpack_bundle(Path("bundle.tar"), slot)    # checks names, sizes, hashes and requirements
    bundle = open_bundle(slot)                          # checks the files of an installed bundle again

The layout is flat. `release.json` names every other member with its SHA-256. A bundle is unpacked while it is read,
compressed (`compression.py`) or not.
"""

import hashlib
import io
import json
import math
import os
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import psutil

from sim2edge.compression import Content, open_content
from sim2edge.edge.detector.runtime import RUNTIME_OF_SUFFIX, available_runtimes
from sim2edge.edge.storage.durable import flush_folder
from sim2edge.errors import BadInput

RELEASE_FILE = "release.json"
SIGNATURE_FILE = "signature.json"
CLASSES_FILE = "classes.json"

MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_MEMBERS = 32
MAX_BYTES = 256 * 2**20
"""Larger than any model meant for a Pi, small enough for its SD card."""
MAX_TAR_BYTES = MAX_BYTES + 2**20
"""Content, tar headers and padding."""

CHUNK = 1 << 20


@dataclass(frozen=True)
class Release:
    """The content of `release.json`."""

    id: str
    recipe: str
    model_file: str
    files: Mapping[str, str]
    """Name of every other member to its SHA-256."""
    runtime: str
    memory_mb: float
    """Budget: memory of the detector's process, MiB."""
    trained: str
    """When the model was trained, ISO 8601; empty in newer releases, whose id must not depend on a clock."""
    lineage: Mapping[str, str]
    cpu_ms_p95: float | None = None
    """Budget: 95th percentile of the processor time of a detection, ms; None: of export before version 4."""


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle whose files match its release."""

    folder: Path
    release: Release

    @property
    def model(self) -> Path:
        """The model file."""
        return self.folder / self.release.model_file

    @property
    def installed(self) -> float:
        """Time of unpacking, Unix time."""
        return (self.folder / RELEASE_FILE).stat().st_mtime

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON member.

        Raises:
            BadInput: it is not JSON, or missing.
        """
        return _parse_json((self.folder / name).read_bytes(), name) if name in self.release.files else _absent(name)


def write_bundle(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` as a tar whose bytes depend on names and contents only."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(files[name]))


def unpack_bundle(path: Path, folder: Path) -> Bundle:
    """Unpack a bundle, compressed or not, into a new or empty folder, flush it to disk and check it.

    Raises:
        BadInput: it is damaged or hostile, a file does not match `release.json`, or this device cannot run it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BadInput(f"{folder}: has to be empty to unpack a bundle into it")
    try:
        with open_content(path, MAX_TAR_BYTES) as content:
            _unpack(content, path.name, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BadInput(f"{path.name}: not a readable tar file: {error}") from error
    flush_folder(folder)
    return open_bundle(folder)


def _unpack(content: Content, name: str, folder: Path) -> None:
    """Unpack a tar as it is read: its members, then only the zeros that pad it."""
    with tarfile.open(fileobj=cast(IO[bytes], content), mode="r|") as tar:
        for member in _checked_members(tar):
            _extract(tar, member, folder / member.name)
        padding = tar.fileobj.read(tarfile.RECORDSIZE) if tar.fileobj else b""
    if padding.strip(b"\0"):
        raise BadInput(f"{name}: something follows the content")
    content.check_end()


def open_bundle(folder: Path) -> Bundle:
    """Open the bundle in `folder` after checking every file against `release.json`.

    Raises:
        BadInput: a file is missing, superfluous or altered, or this device cannot run the release.
    """
    bundle = check_files(folder)
    check_requirements(bundle.release, available_runtimes(), psutil.virtual_memory().total / 2**20)
    return bundle


def check_files(folder: Path) -> Bundle:
    """Check every file of the bundle in `folder` against `release.json`.

    Raises:
        BadInput: a file is missing, superfluous or altered.
    """
    path = folder / RELEASE_FILE
    if not path.is_file():
        raise BadInput(f"{folder}: no {RELEASE_FILE}: not a bundle")
    release = parse_release(path.read_bytes())
    present = {file.name for file in folder.iterdir()} - {RELEASE_FILE}
    for name in sorted(present ^ set(release.files)):
        raise BadInput(f"{name}: {'is not named by' if name in present else 'is missing; named by'} {RELEASE_FILE}")
    for name, expected in release.files.items():
        if _sha256(folder / name) != expected:
            raise BadInput(f"{name}: its SHA-256 is not the one in {RELEASE_FILE}")
    return Bundle(folder, release)


def parse_release(data: bytes) -> Release:
    """Parse `release.json`.

    Raises:
        BadInput: it is not JSON, or a field is missing or of the wrong type.
    """
    content = _parse_json(data, RELEASE_FILE)
    requires = _field(content, "requires", dict)
    release = Release(
        id=_field(content, "release", str),
        recipe=_field(content, "recipe", str),
        model_file=_field(content, "model_file", str),
        files=_string_map(content, "files"),
        runtime=_field(requires, "runtime", str),
        memory_mb=_budget(requires, "memory_mb"),
        cpu_ms_p95=_budget(requires, "cpu_ms_p95") if "cpu_ms_p95" in requires else None,
        trained=_field(content, "trained", str),
        lineage=_string_map(content, "lineage"),
    )
    if release.model_file not in release.files:
        raise BadInput(f"{RELEASE_FILE}: model_file '{release.model_file}' is not in files")
    for name in (SIGNATURE_FILE, CLASSES_FILE):
        if name not in release.files:
            raise BadInput(f"{RELEASE_FILE}: files: '{name}' is missing")
    for name in release.files:
        if not MEMBER_NAME.fullmatch(name):
            raise BadInput(f"{RELEASE_FILE}: files: {name!r} is not a plain file name")
    return release


def check_requirements(release: Release, runtimes: Collection[str], memory_mb: float) -> None:
    """Check that a device with these runtimes and this much memory (MiB) can run `release`.

    Raises:
        BadInput: it cannot; the message names the reason.
    """
    if release.runtime not in runtimes:
        has = ", ".join(sorted(runtimes)) or "none"
        raise BadInput(f"release {release.id} needs the runtime '{release.runtime}'; this device has: {has}")
    suffix = Path(release.model_file).suffix
    if RUNTIME_OF_SUFFIX.get(suffix) != release.runtime:
        raise BadInput(f"release {release.id}: '{release.model_file}' is not a file for '{release.runtime}'")
    if release.memory_mb > memory_mb:
        raise BadInput(
            f"release {release.id} needs {release.memory_mb:.0f} MB of memory; this device has {memory_mb:.0f}"
        )


def _checked_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of `tar`, each checked to be a plain, small, uniquely named file."""
    names: set[str] = set()
    total = 0
    for member in tar:
        problem = _problem(member, names)
        total += member.size
        if problem is None and total > MAX_BYTES:
            problem = f"more than {MAX_BYTES} bytes in all"
        if problem is None and len(names) >= MAX_MEMBERS:
            problem = f"more than {MAX_MEMBERS} files"
        if problem:
            raise BadInput(f"bundle member {member.name[:120]!r}: {problem}")
        names.add(member.name)
        yield member


def _problem(member: tarfile.TarInfo, names: Collection[str]) -> str | None:
    if not MEMBER_NAME.fullmatch(member.name):
        return "not a plain file name"
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        return "not a regular file"
    if member.name in names:
        return "occurs twice"
    return None


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise BadInput(f"bundle member {member.name!r}: has no content")
    with target.open("xb") as out:
        while chunk := source.read(CHUNK):
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if target.stat().st_size != member.size:
        raise BadInput(f"bundle member {member.name!r}: cut short")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse_json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadInput(f"{name}: not JSON: {error}") from error
    except RecursionError as error:
        raise BadInput(f"{name}: nested too deeply") from error


def _absent(name: str) -> Any:
    raise BadInput(f"{name}: the bundle has no such file")


def _field(content: Any, name: str, kind: Any) -> Any:
    if not isinstance(content, dict) or name not in content:
        raise BadInput(f"{RELEASE_FILE}: field '{name}' is missing")
    if not isinstance(content[name], kind) or isinstance(content[name], bool):
        raise BadInput(f"{RELEASE_FILE}: field '{name}' has the wrong type")
    return content[name]


def _budget(content: Any, name: str) -> float:
    value = float(_field(content, name, int | float))
    if not math.isfinite(value) or value <= 0:
        raise BadInput(f"{RELEASE_FILE}: requires.{name}: {value:g} is not a number above 0")
    return value


def _string_map(content: Any, name: str) -> dict[str, str]:
    values: dict[str, str] = _field(content, name, dict)
    if not all(isinstance(value, str) for value in values.values()):
        raise BadInput(f"{RELEASE_FILE}: field '{name}' has the wrong type")
    return values
