"""Prove at every start that a slot holds what was signed: keep the signed metadata beside it.

    seal = make_seal(targets_json, target_path)          # at installation, from metadata that TUF trusts
    check_seal(path, folder, installed, roots)           # raises BadInput: altered, damaged or incomplete

`release.json` names every other file with its SHA-256, and is itself part of the signed target, as text. So files that
were altered together with `release.json` are noticed, too. An expired signature still counts: it says what was signed,
not that it is the newest.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from sim2edge.edge.bundle import MAX_BYTES, MAX_MEMBERS, RELEASE_FILE, Bundle, check_files
from sim2edge.edge.judgement.trial import Installed
from sim2edge.edge.storage.durable import is_shortage, read_regular
from sim2edge.errors import BadInput

MAX_SEAL_BYTES = 16 * 2**20
MAX_RELEASE_BYTES = 2**20


def make_seal(targets: bytes, target_path: str) -> bytes:
    """Return the seal of a release: the signed metadata that names it, and its path there."""
    return json.dumps({"path": target_path, "targets": targets.decode()}).encode()


def check_seal(path: Path, folder: Path, installed: Installed, roots: Iterable[bytes]) -> Bundle:
    """Check that a slot holds the release that it should, as it was signed, and open it.

    Args:
        path: the seal of the slot.
        folder: the slot.
        installed: the release that it should hold.
        roots: the root metadata that this device trusts, any of which may have the keys.

    Raises:
        BadInput: it does not; the message names the file.
        OSError: memory, processes or descriptors are short: nothing is known about the slot.
    """
    target = read_seal(path, roots)
    if target.hashes.get("sha256") != installed.sha256:
        raise BadInput(f"{path.name}: it is the seal of another release than {installed.release}")
    signed = release_text(target)
    name = f"{folder.name}/{RELEASE_FILE}"
    try:
        check_shape(folder)
        if read_regular(folder / RELEASE_FILE, MAX_RELEASE_BYTES) != signed.encode():
            raise BadInput(f"{name}: not what was signed")
        return check_files(folder)
    except OSError as error:
        if is_shortage(error):
            raise
        raise BadInput(f"{error.filename or name}: {error.strerror}") from error


def check_shape(folder: Path) -> None:
    """Check that a folder holds regular files only, few and small enough to be hashed.

    Raises:
        BadInput: it does not.
        OSError: it cannot be read.
    """
    total = count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            count += 1
            if not entry.is_file(follow_symlinks=False):
                raise BadInput(f"{folder.name}/{entry.name[:100]}: not a regular file")
            total += entry.stat(follow_symlinks=False).st_size
            if total > MAX_BYTES or count > MAX_MEMBERS:
                raise BadInput(f"{folder.name}: more than {MAX_MEMBERS} files or {MAX_BYTES} bytes")


def read_seal(path: Path, roots: Iterable[bytes]) -> TargetFile:
    """Return the target that a seal names, its signature verified by one of the roots.

    Raises:
        BadInput: the seal is missing, damaged, or signed by none of them.
        OSError: memory, processes or descriptors are short.
    """
    try:
        content = json.loads(read_regular(path, MAX_SEAL_BYTES))
        metadata = Metadata[Targets].from_bytes(content["targets"].encode())
        if not isinstance(metadata.signed, Targets):
            raise ValueError(f"it holds {metadata.signed.type}")
        target = metadata.signed.targets[content["path"]]
    except OSError as error:
        if is_shortage(error):
            raise
        raise BadInput(f"{path.name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RepositoryError, RecursionError) as error:
        raise BadInput(f"{path.name}: damaged: {error!r}") from error
    if not any(is_signed_by(metadata, root) for root in reversed(list(roots))):
        raise BadInput(f"{path.name}: not signed by a key that this device trusts")
    return target


def release_text(target: TargetFile) -> str:
    """Return the text of `release.json` that was signed with a target.

    Raises:
        BadInput: the target lacks it.
    """
    custom = target.unrecognized_fields.get("custom")
    text = custom.get("release") if isinstance(custom, dict) else None
    if not isinstance(text, str):
        raise BadInput(f"{target.path}: the target metadata lacks its release.json")
    return text


def is_signed_by(metadata: Metadata[Targets], root: bytes) -> bool:
    """Return whether a root has the keys that signed the targets."""
    try:
        trusted = Metadata[Root].from_bytes(root).signed
        trusted.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError, AttributeError):
        return False
    return True
