"""Read metadata of the update repository as untrusted input: parse it and verify its signatures before use.

root = check(Root, anchor)
timestamp = check(Timestamp, data, root.signed)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from sim2edge.errors import BadInput
from sim2edge.push.renewal import days_left

METADATA = "ota/metadata"
SIGNED_AT = "signed_at"
"""Signed field of every role: when it was signed, by the signer's clock. A lower bound of the time for devices."""

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class Current:
    """The current metadata of the repository, every signature verified."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    tag: str | None
    """Entity tag of `timestamp.json`, for the compare-and-swap; None while the file does not exist."""

    @property
    def expiries(self) -> dict[str, datetime]:
        """When each role expires, root first."""
        metadata = (self.root, self.targets, self.snapshot, self.timestamp)
        return {each.signed.type: each.signed.expires for each in metadata}


def check(kind: type[S], data: bytes, root: Root | None = None) -> Metadata[S]:
    """Parse metadata of a kind, and verify its signatures by `root` (None: self-signed, allowed for a root only).

    Raises:
        BadInput: it is not that kind of metadata, or not signed by enough of the right keys.
    """
    try:
        metadata = Metadata[S].from_bytes(data)
    except RepositoryError as error:
        raise BadInput(f"{METADATA}: {kind.type}: {error}") from error
    if not isinstance(metadata.signed, kind):
        raise BadInput(f"{METADATA}: expected {kind.type}, found {metadata.signed.type}")
    signed_by = metadata.signed if root is None else root
    if not isinstance(signed_by, Root):
        raise BadInput(f"{METADATA}: {kind.type}: no root to check it by")
    verify(metadata, signed_by)
    return metadata


def verify(metadata: Metadata[S], root: Root) -> None:
    """Verify the signatures of metadata by a root.

    Raises:
        BadInput: fewer valid signatures than the role's threshold.
    """
    kind = metadata.signed.type
    try:
        root.verify_delegate(kind, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise BadInput(f"{METADATA}: {kind} {metadata.signed.version}: {error}") from error


def find_key(root: Root, name: str) -> tuple[str, str]:
    """Return the role and the full key id behind `<role>-<first digits of the id>`.

    Raises:
        BadInput: the root has no such key.
    """
    role, _, start = name.partition("-")
    for key_id in root.roles[role].keyids if role in root.roles and start else ():
        if key_id.startswith(start):
            return role, key_id
    raise BadInput(f"key '{name}' is not in root {root.version}; see `sim2edge ota status`")


def describe(current: Current, rings: Mapping[str, Mapping[str, Any]], now: datetime) -> dict[str, object]:
    """Return the state of the repository as JSON: versions, expiries with days left, key names, rings.

    A key has no expiry of its own: devices trust it as long as the root that names it.
    """
    metadata, root = (current.root, current.targets, current.snapshot, current.timestamp), current.root.signed
    names = {role: [f"{role}-{key[:8]}" for key in root.roles[role].keyids] for role in current.expiries}
    trusted = {"expires": root.expires.isoformat(), "days_left": days_left(root.expires, now)}
    return {
        "roles": {
            each.signed.type: {
                "version": each.signed.version,
                "expires": each.signed.expires.isoformat(),
                "days_left": days_left(each.signed.expires, now),
                "keys": names[each.signed.type],
            }
            for each in metadata
        },
        "keys": {key: trusted for keys in names.values() for key in keys},
        "rings": {ring: content["release"] for ring, content in rings.items()},
    }
