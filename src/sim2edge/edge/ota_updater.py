"""Update a device over the air: check, download, verify, unpack, start a trial; each step can be interrupted and rerun.

    updater = OtaUpdater(bus, "canary", slots, (home / "root.json").read_bytes())
    updater.update()        # Update(step=Step.INSTALL, offer=...): the free slot is on trial now

The TUF client decides what is authentic. It neither resumes downloads nor flushes to disk: this module does. A release
that is not authentic, too large, too old or unfit for this device is refused with one line (`BadInput`); the old one
keeps running.
"""

import errno
import hashlib
import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tuf.api import exceptions as tuf
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from sim2edge.bus import Bus
from sim2edge.edge import trial
from sim2edge.edge.bundle import MAX_BYTES, check_requirements, parse_release, unpack_bundle
from sim2edge.edge.durable import flush_folder, write_durably
from sim2edge.edge.runtime import available_runtimes
from sim2edge.edge.slots import Slots
from sim2edge.edge.trial import Installed, Step
from sim2edge.edge.tuf_fetcher import BusFetcher
from sim2edge.errors import BadInput, Unavailable

METADATA = "ota/metadata/"
TARGETS = "ota/targets/"
MAX_RING_BYTES = 4096
MAX_BUNDLE_BYTES = MAX_BYTES + 2**20
"""Content and tar headers."""

SPACE_MARGIN = 8 * 2**20
"""Bytes left free for metadata, state and logs."""

LIMITS = UpdaterConfig(max_root_rotations=64, max_delegations=0)


@dataclass(frozen=True)
class Offer:
    """The release a ring offers, verified to be authentic."""

    installed: Installed
    target: TargetFile

    @property
    def key(self) -> str:
        """Object key of the bundle."""
        return TARGETS + self.target.get_prefixed_paths()[0]


@dataclass(frozen=True)
class Update:
    """The result of a check."""

    offer: Offer
    step: Step


class DurableUpdater(Updater):
    """The TUF reference client, with metadata flushed to disk before it is trusted."""

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        if not path.is_file() or path.read_bytes() != data:  # the root is persisted at every check: spare the SD card
            write_durably(path, data)


class OtaUpdater:
    """The updater of one device."""

    def __init__(self, bus: Bus, ring: str, slots: Slots, root: bytes) -> None:
        self._bus = bus
        self._ring = ring
        self._slots = slots
        self._root = root
        self.last_contact: float | None = None
        """When the server's metadata was last verified as authentic and current, monotonic seconds."""

    def update(self, resting: Collection[str] = ()) -> Update:
        """Check once and act on the result; hashes in `resting` are not tried now.

        Raises:
            BadInput: the offered release is refused; the message names the reason.
            Unavailable: the server was not reached, or the download was interrupted: try again later.
        """
        with disk_full_is_bad_input():
            offer = self.check()
            step = trial.decide(self._slots.state, offer.installed, resting)
            if step is Step.SUPERSEDE:
                self._slots.apply(trial.withdraw)
                step = trial.decide(self._slots.state, offer.installed, resting)
            if step is Step.INSTALL:
                self.install(offer)
            elif step is Step.RETRY:
                self._slots.apply(lambda state: trial.begin(state, offer.installed))
            return Update(offer, step)

    def check(self) -> Offer:
        """Return the release that the ring offers now.

        Raises:
            BadInput: the metadata is not authentic, not current, or names no such ring.
            Unavailable: the server was not reached.
        """
        with tuf_errors():
            client = self._client()
            client.refresh()
            self.last_contact = time.monotonic()
            ring = self._ring_file(client)
            target = client.get_targetinfo(ring["bundle"])
        if target is None:
            raise BadInput(f"ring {self._ring}: its bundle {ring['bundle']} is not among the targets")
        return Offer(Installed(ring["release"], target.hashes["sha256"]), target)

    def _client(self) -> Updater:
        metadata, targets = self._slots.home / "metadata", self._slots.home / "targets"
        for folder in (metadata, targets):
            folder.mkdir(exist_ok=True)
        return DurableUpdater(
            str(metadata), METADATA, str(targets), TARGETS, BusFetcher(self._bus), LIMITS, bootstrap=self._root
        )

    def _ring_file(self, client: Updater) -> dict[str, str]:
        target = client.get_targetinfo(f"rings/{self._ring}.json")
        if target is None:
            raise BadInput(f"ring '{self._ring}' has no release yet")
        if target.length > MAX_RING_BYTES:
            raise BadInput(f"rings/{self._ring}.json: {target.length} bytes, more than {MAX_RING_BYTES}")
        path = client.find_cached_target(target) or client.download_target(target)
        return parse_ring(Path(path).read_bytes(), self._ring)

    def install(self, offer: Offer) -> None:
        """Download an offer, unpack it into the free slot, and put it on trial.

        Raises:
            BadInput: it is too large, does not fit this device or its disk, or does not match its signed hash.
            Unavailable: the download was interrupted; the bytes received so far are kept.
        """
        check_fit(offer)
        part = self._slots.downloads / f"{offer.installed.sha256}.part"
        self._slots.remove_downloads(keep=part)
        self._check_space(offer, part)
        try:
            self._download(offer, part)
            self._unpack(offer, part)
        except OSError:  # disk full: free the space again
            self._slots.remove_downloads()
            self._slots.empty_free_slot()
            raise
        self._slots.apply(lambda state: trial.begin(state, offer.installed))
        self._slots.remove_downloads()

    def _unpack(self, offer: Offer, part: Path) -> None:
        folder = self._slots.empty_free_slot()
        try:
            release = unpack_bundle(part, folder).release.id
            if release != offer.installed.release:
                raise BadInput(f"bundle of release {offer.installed.release}: its release.json names {release}")
            flush_folder(folder.parent)
        except BadInput as error:
            reason = str(error)
            self._slots.apply(lambda state: trial.ban(state, offer.installed, reason))
            self._slots.remove_downloads()
            raise

    def _check_space(self, offer: Offer, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        needed = 2 * offer.target.length - have + SPACE_MARGIN
        free = self._slots.free_bytes()
        if free < needed:
            raise BadInput(
                f"release {offer.installed.release}: needs {needed / 1e6:.1f} MB of disk; {free / 1e6:.1f} MB are free"
            )

    def _download(self, offer: Offer, part: Path) -> None:
        """Complete `part`, resuming where it ends, and check its hash.

        Raises:
            BadInput: the bytes are not those that were signed.
            Unavailable: the download was interrupted.
        """
        resumed = part.exists()
        if resumed and part.stat().st_size > offer.target.length:
            part.unlink()
        fetch_rest(self._bus, offer.key, part, offer.target.length)
        if not matches(offer.target, part) and resumed:  # a power cut tore the old part: download all of it again
            part.unlink()
            fetch_rest(self._bus, offer.key, part, offer.target.length)
        if not matches(offer.target, part):
            part.unlink()
            raise BadInput(f"{offer.key}: its bytes are not those that were signed")


def fetch_rest(bus: Bus, key: str, part: Path, length: int) -> None:
    """Append the missing rest of an object of `length` bytes to `part`.

    Raises:
        BadInput: the object is missing, shorter or longer.
        Unavailable: the transfer broke off without bringing any byte.
    """
    with part.open("ab") as file:
        while (start := file.tell()) < length:
            try:
                for chunk in bus.stream(key, start):
                    file.write(chunk)
                    if file.tell() > length:
                        break
                else:
                    break
            except Unavailable:
                if file.tell() == start:
                    raise
        if (size := file.tell()) != length:
            part.unlink()
            raise BadInput(
                f"{key}: {'longer' if size > length else 'shorter'} than the {length} bytes that were signed"
            )


def matches(target: TargetFile, path: Path) -> bool:
    """Return whether a file has the hash that was signed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == target.hashes["sha256"]


def check_fit(offer: Offer) -> None:
    """Check, before anything is downloaded, that this device can run an offer.

    Raises:
        BadInput: it cannot, or the offer is too large.
    """
    if offer.target.length > MAX_BUNDLE_BYTES:
        raise BadInput(f"{offer.key}: {offer.target.length} bytes, more than the {MAX_BUNDLE_BYTES} a device takes")
    about = offer.target.unrecognized_fields.get("custom", {}).get("release")
    if not isinstance(about, str):
        raise BadInput(f"{offer.key}: the target metadata lacks its release.json")
    check_requirements(parse_release(about.encode()), available_runtimes(), psutil.virtual_memory().total / 2**20)


def parse_ring(data: bytes, ring: str) -> dict[str, str]:
    """Parse `rings/<ring>.json`.

    Raises:
        BadInput: it does not name a release and its bundle.
    """
    try:
        content: Any = json.loads(data)
        return {name: str(content[name]) for name in ("release", "bundle")}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"rings/{ring}.json: does not name a release and its bundle") from error


REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (tuf.ExpiredMetadataError, "expired metadata, or this device's clock is wrong"),
    (tuf.BadVersionNumberError, "metadata older than what this device has seen, or inconsistent"),
    (tuf.UnsignedMetadataError, "metadata not signed by the right keys"),
    (tuf.LengthOrHashMismatchError, "not what was signed"),
    (tuf.DownloadLengthMismatchError, "larger than allowed"),
    (tuf.DownloadHTTPError, "missing or forbidden on the server"),
    (tuf.RepositoryError, "damaged metadata"),
)


@contextmanager
def tuf_errors() -> Iterator[None]:
    """Map errors of the TUF client to BadInput (refused) or Unavailable (server not reached), each of one line."""
    try:
        yield
    except (tuf.RepositoryError, tuf.DownloadError) as error:
        for kind, words in REFUSALS:
            if isinstance(error, kind):
                raise BadInput(f"update refused: {words}: {' '.join(str(error).split())}") from error
        raise Unavailable(f"update server: {' '.join(str(error).split())}") from error


@contextmanager
def disk_full_is_bad_input() -> Iterator[None]:
    """Map a full disk to BadInput: refuse the update like any other that this device cannot take."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadInput(f"update refused: no space left on device: {error.filename or 'the home folder'}") from error
