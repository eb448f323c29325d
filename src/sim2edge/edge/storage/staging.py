"""Download a release and unpack it beside the slots, so that it is complete and checked before a slot is touched.

    staging = Staging(home / "staging", origin, roots)
    folder, seal = staging.complete(Source(installed, target, make_seal(targets, target.path)))

An interrupted download goes on where it ended, also after a restart. What is complete is used again.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import TargetFile

from sim2edge.edge.bundle import MAX_BYTES, unpack_bundle
from sim2edge.edge.judgement.trial import Installed
from sim2edge.edge.server.tuf_fetcher import Origin
from sim2edge.edge.storage.durable import flush_folder, is_shortage, remove_any, write_durably
from sim2edge.edge.storage.folders import make_folder
from sim2edge.edge.storage.rights import claim_tree, is_usable
from sim2edge.edge.storage.seal import check_seal
from sim2edge.errors import BadInput, Unavailable

TARGETS = "ota/targets/"
MAX_BUNDLE_BYTES = MAX_BYTES + 2**20
"""Content and tar headers."""

SPACE_MARGIN = 8 * 2**20
"""Bytes left free for metadata, state and logs."""


WORTH_BYTES = 1024
"""What a transfer has to bring before it breaks off to be gone on with at once; else the agent's pause comes first."""


class Unusable(BadInput):
    """A release that was downloaded as signed cannot be used: its own fault."""


@dataclass(frozen=True)
class Source:
    """A release to fetch, with what proves it."""

    installed: Installed
    target: TargetFile
    seal: bytes

    @property
    def key(self) -> str:
        """Object key of the bundle."""
        return TARGETS + self.target.get_prefixed_paths()[0]


class Staging:
    """The folder of one device; for one thread."""

    def __init__(self, folder: Path, origin: Origin, roots: Callable[[], list[bytes]]) -> None:
        self._folder = folder
        self._origin = origin
        self._roots = roots

    def complete(self, source: Source, free_bytes: Callable[[], int]) -> tuple[Path, Path]:
        """Return the folder of the unpacked release and its seal, both complete on disk.

        Raises:
            Unusable: its bytes are those that were signed, but cannot be unpacked, or are another release.
            BadInput: it is too large for this device or its disk, or does not match its signed hash.
            Unavailable: the download was interrupted; the bytes received so far are kept.
            OSError: the disk takes nothing; what was received is given up.
        """
        make_folder(self._folder)
        folder, seal, part = (self._folder / f"{source.installed.sha256}{end}" for end in ("", ".seal", ".part"))
        self.clean(keep=(folder, seal, part))
        claim_tree(folder)
        if folder.is_dir() and not is_usable(folder):  # it could not be moved into a slot
            remove_any(folder)
        with suppress(BadInput):
            check_seal(seal, folder, source.installed, self._roots())
            return folder, seal
        try:
            self._check_space(source, part, free_bytes)
            download(self._origin, source.target, part)
            self._unpack(source, part, folder, seal)
        except OSError as error:
            if not is_shortage(error):
                self.clean()
            raise
        except Unusable:
            self.clean()
            raise
        remove_any(part)
        return folder, seal

    def clean(self, keep: tuple[Path, ...] = ()) -> None:
        """Remove everything but what is named."""
        for path in self._folder.iterdir():
            if path not in keep:
                remove_any(path)

    def _unpack(self, source: Source, part: Path, folder: Path, seal: Path) -> None:
        """Unpack a download; what fails is tried once more from the same bytes: a card may have lost some."""
        for last in (False, True):
            remove_any(folder)
            try:
                found = unpack_bundle(part, folder).release.id
                if found != source.installed.release:
                    raise BadInput(f"bundle of release {source.installed.release}: its release.json names {found}")
                write_durably(seal, source.seal)
                check_seal(seal, folder, source.installed, self._roots())
            except BadInput as error:
                if not matches(source.target, part):
                    remove_any(part)
                    raise Unavailable(f"{part.name}: the disk lost some of its bytes") from error
                if last:
                    raise Unusable(str(error)) from error
                continue
            flush_folder(self._folder)
            return

    def _check_space(self, source: Source, part: Path, free_bytes: Callable[[], int]) -> None:
        have = part.stat().st_size if part.is_file() else 0
        needed, free = source.target.length - have + unpacked_bytes(source.target) + SPACE_MARGIN, free_bytes()
        if free < needed:
            raise BadInput(
                f"release {source.installed.release}: needs {needed / 1e6:.1f} MB of disk; {free / 1e6:.1f} MB are free"
            )


def download(origin: Origin, target: TargetFile, part: Path) -> None:
    """Complete `part` with the bytes of a target, from where it ends, and check its hash.

    Raises:
        BadInput: the bytes are not those that were signed; there is no file then.
        Unavailable: the download was interrupted.
    """
    key = TARGETS + target.get_prefixed_paths()[0]
    if part.exists() and not part.is_file():
        remove_any(part)
    resumed = part.exists()
    if resumed and part.stat().st_size > target.length:
        part.unlink()
    fetch_rest(origin, key, part, target.length)
    if not matches(target, part) and resumed:  # a power cut tore the old part: download all of it again
        part.unlink()
        fetch_rest(origin, key, part, target.length)
    if not matches(target, part):
        part.unlink()
        raise BadInput(f"{key}: its bytes are not those that were signed")


def fetch_rest(origin: Origin, key: str, part: Path, length: int) -> None:
    """Append the missing rest of an object of `length` bytes to `part`.

    Raises:
        BadInput: the object is missing, shorter or longer.
        Unavailable: the transfer broke off and brought next to nothing, or the server asks for time.
    """
    with part.open("ab") as file:
        while (start := file.tell()) < length:
            try:
                for chunk in origin.stream(key, start):
                    file.write(chunk)
                    if file.tell() > length:
                        break
                else:
                    break
            except Unavailable as error:
                if file.tell() - start < WORTH_BYTES or error.retry_after_s:
                    raise
        file.flush()
        os.fsync(file.fileno())
        if (size := file.tell()) != length:
            part.unlink()
            raise BadInput(
                f"{key}: {'longer' if size > length else 'shorter'} than the {length} bytes that were signed"
            )


def unpacked_bytes(target: TargetFile) -> int:
    """Return the bytes that a bundle takes unpacked: as signed with it, else its own."""
    custom = target.unrecognized_fields.get("custom")
    said = custom.get("unpacked") if isinstance(custom, dict) else None
    return said if isinstance(said, int) and 0 < said <= MAX_BUNDLE_BYTES else target.length


def matches(target: TargetFile, path: Path) -> bool:
    """Return whether a file has the hash that was signed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == target.hashes["sha256"]
