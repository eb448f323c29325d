"""Check the pinned packages for known vulnerabilities, by OSV records on disk, without network access.

    SIM2EDGE_OSV=/data/osv/PyPI/all.zip python scripts/audit.py
    python scripts/audit.py --osv folder-of-records --require

The records are those of https://osv.dev for PyPI: its `all.zip`, or a folder of its JSON files. Exit codes: 0 no pin is
known to be vulnerable; 1 one is; 2 the data cannot be read; 3 no data and `--require` given. Without data and without
`--require` it prints that nothing was checked, and exits with 0. Debian packages are not checked.
"""

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

CHECKOUT = Path(__file__).parents[1]
LOCKS = ("requirements.txt", "requirements-stages.txt", "containers/device-tflite/requirements.txt")
ECOSYSTEM = "PyPI"
BEFORE_ALL = Version("0.dev0")
EXIT_FOUND, EXIT_UNREADABLE, EXIT_NOT_LOOKED = 1, 2, 3


class Unreadable(Exception):
    """A lock or the data cannot be read; the message is one line."""


@dataclass(frozen=True, order=True)
class Finding:
    """A pin that a record names."""

    package: str
    version: str
    record: str
    summary: str


def main(argv: Sequence[str] | None = None) -> int:
    """Check the pins and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--osv", type=Path, default=os.environ.get("SIM2EDGE_OSV") or None, help="records (SIM2EDGE_OSV)"
    )
    parser.add_argument("--require", action="store_true", help="fail without records")
    parser.add_argument("locks", nargs="*", type=Path, default=[CHECKOUT / name for name in LOCKS])
    arguments = parser.parse_args(argv)
    if arguments.osv is None:
        print("audit: NOT CHECKED: no OSV records; set SIM2EDGE_OSV to a folder or an all.zip of them", file=sys.stderr)
        return EXIT_NOT_LOOKED if arguments.require else 0
    try:
        pins = read_pins(arguments.locks)
        records = list(read_records(arguments.osv))
        if not records:
            raise Unreadable(f"{arguments.osv}: contains no OSV record")
    except Unreadable as error:
        print(f"audit: {error}", file=sys.stderr)
        return EXIT_UNREADABLE
    found = find(pins, records)
    for finding in found:
        print(f"{finding.package}=={finding.version}: {finding.record}: {finding.summary}")
    print(f"audit: {len(pins)} pins, {len(records)} records: {len(found)} known vulnerabilities")
    return EXIT_FOUND if found else 0


def read_pins(locks: Iterable[Path]) -> set[tuple[str, str]]:
    """Return the pins of lock files: normalized names, and versions.

    Raises:
        Unreadable: a file is missing, or a line is not a pin.
    """
    pins = set()
    for lock in locks:
        try:
            lines = lock.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise Unreadable(f"{lock}: {error.strerror}") from error
        for number, line in enumerate(lines, 1):
            words = line.partition("#")[0].strip()
            if words:
                pins.add(_parse_pin(words, f"{lock}, line {number}"))
    return pins


def _parse_pin(words: str, where: str) -> tuple[str, str]:
    try:
        requirement = Requirement(words)
        (specifier,) = requirement.specifier
    except (InvalidRequirement, ValueError) as error:
        raise Unreadable(f"{where}: '{words}' is not a pin") from error
    if specifier.operator != "==":
        raise Unreadable(f"{where}: '{words}' is not a pin")
    return canonicalize_name(requirement.name), specifier.version


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the OSV records in a folder or a zip file.

    Raises:
        Unreadable: it is neither, or a record is not JSON.
    """
    if path.is_dir():
        contents: Iterable[tuple[str, bytes]] = (
            (str(file), file.read_bytes()) for file in sorted(path.glob("**/*.json"))
        )
    else:
        contents = _unzip(path)
    for name, content in contents:
        try:
            record = json.loads(content)
        except ValueError as error:
            raise Unreadable(f"{name}: not JSON: {error}") from error
        if not isinstance(record, dict) or "id" not in record:
            raise Unreadable(f"{name}: not an OSV record: it has no id")
        yield record


def _unzip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json"):
                    yield f"{path}: {name}", archive.read(name)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise Unreadable(f"{path}: neither a folder nor a zip file") from error


def find(pins: Iterable[tuple[str, str]], records: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Return the pins that a record names, sorted; ignore withdrawn records and other ecosystems."""
    versions: dict[str, set[str]] = {}
    for name, version in pins:
        versions.setdefault(name, set()).add(version)
    found = set()
    for record in records:
        if record.get("withdrawn"):
            continue
        for affected in record.get("affected", []):
            package = affected.get("package", {})
            if package.get("ecosystem") != ECOSYSTEM:
                continue
            name = canonicalize_name(package.get("name", ""))
            for version in versions.get(name, ()):
                if is_affected(version, affected):
                    found.add(Finding(name, version, record["id"], summary_of(record)))
    return sorted(found)


def summary_of(record: Mapping[str, Any]) -> str:
    """Return a record's summary on one line."""
    text = record.get("summary") or record.get("details") or ""
    return " ".join(text.split())[:120]


def is_affected(version: str, affected: Mapping[str, Any]) -> bool:
    """Return whether an `affected` entry of a record names a version: in its list, or in one of its ranges."""
    parsed = Version(version)
    if any(_same(parsed, listed) for listed in affected.get("versions", [])):
        return True
    ranges = (part for part in affected.get("ranges", []) if part.get("type") in ("ECOSYSTEM", "SEMVER"))
    return any(in_range(parsed, part.get("events", [])) for part in ranges)


def _same(version: Version, listed: str) -> bool:
    try:
        return version == Version(listed)
    except InvalidVersion:
        return False


def in_range(version: Version, events: Sequence[Mapping[str, str]]) -> bool:
    """Return whether a version is in a range, by the OSV schema's algorithm: the events up to it, in order."""
    limits = [_parse_event(event["limit"]) for event in events if "limit" in event]
    if limits and not any(limit is None or version < limit for limit in limits):
        return False
    timeline = [(kind, _parse_event(at)) for event in events for kind, at in event.items() if kind != "limit"]
    vulnerable = False
    for kind, at in sorted(timeline, key=lambda item: item[1] or BEFORE_ALL):
        if kind == "introduced" and (at is None or version >= at):
            vulnerable = True
        elif at and ((kind == "fixed" and version >= at) or (kind == "last_affected" and version > at)):
            vulnerable = False
    return vulnerable


def _parse_event(at: str) -> Version | None:
    """Return the version of an event; None for `0`, which is before all versions, and for an invalid version.

    So an invalid `fixed` fixes nothing, and an invalid `introduced` affects all versions: rather a false positive.
    """
    try:
        return None if at == "0" else Version(at)
    except InvalidVersion:
        return None


if __name__ == "__main__":
    sys.exit(main())
