"""Decide what of `ota/` no device needs any more, and delete it.

    for name in choose(metadata, targets, named, live, Limits()): ...      # pure
    removed = prune(repository, Limits(), dry_run=True)

Kept are: every root, what the current targets name, the newest releases, and whatever was current within the grace
time, metadata and targets: a device may be in the middle of a check or a long download.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Targets

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.objects import Head
from sim2edge.push.metadata import METADATA
from sim2edge.push.repository import TARGETS, Repository

VERSIONED = re.compile(r"([1-9][0-9]*)\.(targets|snapshot)\.json")
RELEASES = "releases/"
SPARE_VERSIONS = 2
"""Versions kept besides: numbers of killed pushers, which were never current, make an older one look replaced."""


@dataclass(frozen=True)
class Limits:
    """What stays although no ring names it."""

    releases: int = 5
    """The newest bundles."""
    grace: timedelta = timedelta(hours=48)
    """Longer than any download takes."""


def keep_versions(written: Mapping[int, datetime], live: int, since: datetime) -> set[int]:
    """Return the versions of a role's metadata that were current at or after `since`, or may have been.

    Args:
        written: version to the time of its last write.
        live: the current version.
        since: the present time less the grace.
    """
    older = sorted(version for version, time in written.items() if version <= live and time <= since)
    first = older[-1 - SPARE_VERSIONS :][0] if older else 0
    return {version for version, time in written.items() if version >= min(first, live) or time > since}


def choose(targets: Mapping[str, datetime], named: Collection[str], limits: Limits, now: datetime) -> Sequence[str]:
    """Return the target files to delete, by name.

    Args:
        targets: every file below `ota/targets/`, to the time of its last write.
        named: those that kept metadata names.
        limits: what stays besides.
        now: the present time, UTC.
    """
    releases = sorted((name for name in targets if name.startswith(RELEASES)), key=lambda name: (targets[name], name))
    kept = {*named, *releases[len(releases) - min(limits.releases, len(releases)) :]}
    return sorted(name for name, written in targets.items() if name not in kept and written <= now - limits.grace)


def prune(repository: Repository, limits: Limits, dry_run: bool) -> Sequence[Head]:
    """Delete what no device needs any more; return it.

    Raises:
        BadInput: the repository's metadata cannot be verified, or metadata to keep is damaged: something live might be
            missed.
    """
    bus = repository.bus
    found = find(repository, limits)
    if not dry_run and found:
        still = {head.key for head in find(repository, limits)}  # a push may have begun meanwhile
        found = [head for head in found if head.key in still]
        bus.delete([head.key for head in found])
    return found


def find(repository: Repository, limits: Limits) -> Sequence[Head]:
    """Return what no device needs any more, metadata first."""
    bus, now = repository.bus, repository.now()
    current = repository.current()
    metadata = relative(bus, METADATA)
    live = {"targets": current.targets.signed.version, "snapshot": current.snapshot.signed.version}
    gone: list[Head] = []
    kept: dict[str, set[int]] = {}
    for role, version in live.items():
        written = {number: head.modified for number, head in versions(metadata, role).items()}
        kept[role] = keep_versions(written, version, now - limits.grace)
        gone += [head for number, head in versions(metadata, role).items() if number not in kept[role]]
    targets = relative(bus, TARGETS)
    named = {path for version in kept["targets"] for path in names(bus.get, version)}
    chosen = choose({name: head.modified for name, head in targets.items()}, named, limits, now)
    return [*gone, *(targets[name] for name in chosen)]


def relative(bus: Bus, folder: str) -> dict[str, Head]:
    """Return the objects below a folder by their names in it."""
    return {head.key.removeprefix(f"{folder}/"): head for head in bus.heads(folder)}


def versions(metadata: Mapping[str, Head], role: str) -> dict[int, Head]:
    """Return the versions of a role's metadata."""
    matches = ((VERSIONED.fullmatch(name), head) for name, head in metadata.items())
    return {int(match[1]): head for match, head in matches if match and match[2] == role}


def names(get: Callable[[str], bytes], version: int) -> Sequence[str]:
    """Return the target files that a version of the targets metadata names.

    Raises:
        BadInput: it cannot be read.
    """
    key = f"{METADATA}/{version}.targets.json"
    try:
        signed = Metadata[Targets].from_bytes(get(key)).signed
    except RepositoryError as error:
        raise BadInput(f"{key}: not readable: nothing is deleted: {error}") from error
    if not isinstance(signed, Targets):
        raise BadInput(f"{key}: holds {signed.type}: nothing is deleted")
    return [path for target in signed.targets.values() for path in target.get_prefixed_paths()]
