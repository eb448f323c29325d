"""Update a device over the air: check, repair damage, download, unpack, try out, put on trial; each step can be rerun.

    updater = OtaUpdater(bus, "canary", slots)
    updater.update()        # Update(offer, Step.INSTALL): a slot holds the offer, on trial now

The TUF client decides what is authentic. It neither resumes downloads nor flushes to disk: this code does. A release
that is not authentic, too large, too old or unfit for this device is refused with one line (`BadInput`), before a slot
is touched; the old one keeps running.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig

from sim2edge.edge.bundle import check_requirements, parse_release
from sim2edge.edge.detector.runtime import available_runtimes
from sim2edge.edge.events import Repeated, log
from sim2edge.edge.judgement import trial
from sim2edge.edge.judgement.preflight import Preflight, Result
from sim2edge.edge.judgement.trial import Installed, Slot, Step
from sim2edge.edge.pi.self_update import find_agent
from sim2edge.edge.server.clock import day
from sim2edge.edge.server.identity import ring_of
from sim2edge.edge.server.rollout import Rollout, parse_rollout, wait_s
from sim2edge.edge.server.tuf_fetcher import BusFetcher, Origin, asked_wait_s
from sim2edge.edge.storage.durable import is_shortage, read_regular, remove_any, write_durably
from sim2edge.edge.storage.folders import make_folder
from sim2edge.edge.storage.rights import claim_tree
from sim2edge.edge.storage.seal import make_seal, read_seal, release_text
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.storage.staging import MAX_BUNDLE_BYTES, TARGETS, Source, Staging, Unusable, unpacked_bytes
from sim2edge.errors import BadInput, Missing, Unavailable

METADATA = "ota/metadata/"
MAX_RING_BYTES = 4096
MAX_METADATA_BYTES = 16 * 2**20
FIRST_PAUSE_S, MAX_PAUSE_S = 60.0, 3600.0
"""Pauses after the second and further attempts at repairing the same slot."""

LIMITS = UpdaterConfig(max_root_rotations=1024, max_delegations=0)

TryOut = Callable[[Path], Result]
"""Tries a release in a folder of its own before it is switched to (`preflight.check`)."""


def no_preflight(_: Path) -> Result:
    """Try nothing: the trial alone decides."""
    return Result(Preflight.PASSED)


@dataclass(frozen=True)
class Ring:
    """The content of `rings/<ring>.json`."""

    release: str
    bundle: str
    attempt: int
    """When an operator asked for another attempt at a release that failed, Unix seconds; 0: never."""
    rollout: Rollout


@dataclass(frozen=True)
class Update:
    """The result of a check."""

    offer: Installed
    step: Step
    reason: str = ""
    """Why it is held back."""


class DurableUpdater(Updater):
    """The TUF reference client, with metadata flushed to disk before it is trusted.

    A disk that takes nothing does not keep it from checking: `problem` has the error. Expiry is judged by the time
    `now`, Unix seconds; None: by the system's clock.
    """

    def __init__(self, home: Path, fetcher: BusFetcher, root: bytes, now: float | None = None) -> None:
        self.problem: OSError | None = None
        self.raw: dict[str, bytes] = {}
        """The bytes of each role's metadata as seen last."""
        folder = home / "metadata"
        try:
            tidy_metadata(folder)
        except OSError as error:
            self.problem = error
        super().__init__(str(folder), METADATA, str(home), TARGETS, fetcher, LIMITS, bootstrap=root)
        if now is not None:
            self._trusted_set.reference_time = datetime.fromtimestamp(now, UTC)

    def _load_local_metadata(self, rolename: str) -> bytes:
        self.raw[rolename] = read_regular(Path(self._dir, f"{rolename}.json"), MAX_METADATA_BYTES)
        return self.raw[rolename]

    def _persist_root(self, version: int, data: bytes) -> None:
        self._persist_file(str(Path(self._dir, "root_history", f"{version}.root.json")), data)

    def _persist_file(self, filename: str, data: bytes) -> None:
        path = Path(filename)
        self.raw[path.stem] = data
        try:
            if not path.is_file() or path.read_bytes() != data:  # the root comes at every check: spare the card
                write_durably(path, data)
        except OSError as error:
            self.problem = error

    def _update_root_symlink(self) -> None:
        """Do without the link `root.json`, which would be written at every check: the newest root is given."""


def tidy_metadata(folder: Path) -> None:
    """Make the client's folders, and remove from them what it could choke on.

    Raises:
        OSError: the disk takes nothing.
    """
    history = folder / "root_history"
    claim_tree(folder)
    make_folder(folder, keep=True)
    make_folder(history, keep=True)
    for path in (*folder.iterdir(), *history.iterdir()):
        odd = path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_METADATA_BYTES
        if (odd or not os.access(path, os.R_OK)) and path != history:
            remove_any(path)


class OtaUpdater:
    """The updater of one device; for one thread."""

    def __init__(
        self, origin: Origin, ring: str, slots: Slots, try_out: TryOut = no_preflight, device: str = ""
    ) -> None:
        """Open the updater of a device.

        Args:
            origin: where `ota/` is read from.
            ring: the device's ring, unless the server assigns one.
            slots: the home.
            try_out: tries a release before it is switched to.
            device: the device's id; without one it has no turn in a rollout, and no assigned ring.
        """
        self._origin = origin
        self._given_ring = ring
        self._device = device
        self.ring = ring
        """The ring that counts now."""
        self._slots = slots
        self._preflight = try_out
        self._staging = Staging(slots.staging, origin, slots.roots.chain)
        self._small: dict[str, bytes] = {}
        self._known: tuple[str, float] = ("", 0.0)
        self._unfit: dict[str, Result] = {}
        """The release that does not fit this device's settings, which are the same until the agent starts again."""
        self._repairing: dict[Slot, tuple[int, float]] = {}
        self._repeated = Repeated()
        self.retry_after_s = 0.0
        """How long the server asked to be left alone, seconds."""
        self.agent: TargetFile | None = None
        """The agent that the ring names for this machine, as of the last check."""
        self.last_contact: float | None = None
        """When the server's metadata was last verified as authentic and current, monotonic seconds."""

    def update(self) -> Update:
        """Check once, repair damaged slots, and act on what the ring offers.

        Raises:
            BadInput: the offered release is refused; the message names the reason.
            Unavailable: the server was not reached, the download was interrupted, or this device cannot try the
                release now: try again later.
        """
        self.retry_after_s = 0.0
        try:
            with disk_errors():
                return self._update()
        except (BadInput, Unavailable) as error:
            self.retry_after_s = asked_wait_s(error)
            raise

    def _update(self) -> Update:
        client = self._contact()
        damaged = self._repair(client)
        offer, rollout = self._read_offer(client)
        state, now = self._slots.state, self._slots.now()
        step = trial.decide(state, offer.installed, now, damaged)
        if step is Step.HOLD:
            return Update(offer.installed, step, trial.held_back(state, offer.installed, now))
        if step is Step.KEEP:
            return Update(offer.installed, step)
        if step is Step.RETRY:  # nothing to download: a ring that was moved back is followed at once
            self._retry(offer, damaged)
        elif self._turn_s(offer, rollout, now):
            return Update(offer.installed, Step.HOLD, "waits for its turn in the rollout")
        elif client.problem:
            raise client.problem
        else:
            self.install(offer)
        return Update(offer.installed, step)

    def _turn_s(self, offer: Source, rollout: Rollout, now: float) -> float:
        """Return the seconds until this device's turn; a device that has nothing to run does not wait."""
        sha256, seen = offer.installed.sha256, time.monotonic()
        if self._known[0] != sha256:
            self._known = sha256, seen
        if not self._device or not self._slots.state.slots:
            return 0.0
        return wait_s(rollout, self._device, offer.installed.release, now, seen - self._known[1])

    def check(self) -> Source:
        """Return the release that the ring offers now.

        Raises:
            BadInput: the metadata is not authentic, not current, or names no such ring.
            Unavailable: the server was not reached.
        """
        return self._read_offer(self._contact())[0]

    def _contact(self) -> DurableUpdater:
        """Fetch the newest metadata and verify it."""
        self._slots.make_folders()
        roots, now = self._slots.roots.chain(), self._slots.now()
        if not roots:
            raise BadInput(f"{self._slots.home}: there is no root to trust: give --root")
        with tuf_errors(now):
            client = DurableUpdater(self._slots.home, BusFetcher(self._origin), roots[-1], now)
            client.refresh()
        self.last_contact = time.monotonic()
        with suppress(OSError):
            self._slots.roots.keep()
        return client

    def _read_offer(self, client: DurableUpdater) -> tuple[Source, Rollout]:
        with tuf_errors(self._slots.now()):
            if self._device:
                self.ring = ring_of(client, self._device, self._read, self._slots.home, self._given_ring)
            content = self._read_ring(client)
            ring = parse_ring(content, self.ring)
            target = client.get_targetinfo(ring.bundle)
            self.agent = find_agent(client, content)
        if target is None:
            raise BadInput(f"ring {self.ring}: its bundle {ring.bundle} is not among the targets")
        installed = Installed(ring.release, target.hashes["sha256"], ring.attempt)
        return Source(installed, target, make_seal(client.raw[Targets.type], target.path)), ring.rollout

    def _read_ring(self, client: Updater) -> bytes:
        name = f"rings/{self.ring}.json"
        target = client.get_targetinfo(name)
        if target is None:
            raise BadInput(f"ring '{self.ring}' has no release yet")
        if target.length > MAX_RING_BYTES:
            raise BadInput(f"{name}: {target.length} bytes, more than {MAX_RING_BYTES}")
        return self._read(target)

    def _read(self, target: TargetFile) -> bytes:
        """Return the verified content of a small target, kept in memory as long as it is the same."""
        key = TARGETS + target.get_prefixed_paths()[0]
        if key not in self._small:
            data = BusFetcher(self._origin).download_bytes(key, target.length)
            target.verify_length_and_hashes(data)
            others = {old: content for old, content in self._small.items() if not is_version_of(old, target.path)}
            self._small = {**others, key: data}
        return self._small[key]

    # Installing

    def install(self, offer: Source) -> None:
        """Download an offer, unpack it and try it out, then move it into a slot and put it on trial.

        Raises:
            BadInput: it is too large, does not fit this device or its disk, or does not match its signed hash.
            Unavailable: the download was interrupted, or it cannot be tried now; what was received is kept.
        """
        check_fit(offer)
        try:
            folder, seal = self._staging.complete(offer, self._slots.free_bytes)
        except Unusable as error:
            self._ban(offer, str(error))
            raise
        self._try_out(offer, folder)
        slot = self._slots.slot_to_fill()
        self._slots.apply(lambda state: trial.clear(state, slot))
        self._slots.fill(slot, folder, seal)
        self._slots.apply(lambda state: trial.begin(state, slot, offer.installed))
        self._staging.clean()

    def _retry(self, offer: Source, damaged: dict[Slot, str]) -> None:
        """Put a release that a slot holds on trial."""
        slot = trial.slot_with(self._slots.state, offer.installed, damaged)
        assert slot  # noqa: S101 - decide() has found it
        if slot != self._slots.state.active:
            self._try_out(offer, self._slots.folder(slot))
        self._slots.apply(lambda state: trial.begin(state, slot, offer.installed))

    def _try_out(self, offer: Source, folder: Path) -> None:
        sha256 = offer.installed.sha256
        result = self._unfit.get(sha256) or self._preflight(folder)
        if result.outcome is Preflight.UNFIT:  # no fault: it stays until this device is set otherwise
            self._unfit = {sha256: result}
            raise BadInput(f"release {offer.installed.release} does not fit this device: {result.reason}")
        if result.outcome is Preflight.REFUSED:
            self._ban(offer, result.reason)
            self._staging.clean()
            raise BadInput(f"release {offer.installed.release} refused: {result.reason}")
        if result.outcome is Preflight.UNDECIDED:
            raise Unavailable(f"release {offer.installed.release} cannot be tried now: {result.reason}")

    def _ban(self, offer: Source, reason: str) -> None:
        now = self._slots.now()
        self._slots.apply(lambda state: trial.ban(state, offer.installed, reason, now), must_last=False)

    # Repairing

    def _repair(self, client: DurableUpdater) -> dict[Slot, str]:
        """Fetch what damaged slots should hold; return what is still wrong with each.

        Damage is no fault of the release: whether it is good, on trial or banned stays as it is.
        """
        for slot, problem in self._slots.problems().items():
            if time.monotonic() < self._repairing.get(slot, (0, 0.0))[1]:
                continue
            installed = self._slots.state.slots[slot]
            try:
                folder, seal = self._staging.complete(self._find_source(slot, client), self._slots.free_bytes)
                self._slots.fill(slot, folder, seal)
                log("repaired", slot=slot, release=installed.release, problem=problem)
            except BadInput as error:
                self._repeated.log("not repaired", slot=slot, release=installed.release, error=str(error))
                if isinstance(error, Missing):
                    self._give_up(slot)
            except Unavailable as error:
                self._repeated.log("not repaired", slot=slot, release=installed.release, error=str(error))
                continue
            self._pause(slot)
        return dict(self._slots.problems())

    def _pause(self, slot: Slot) -> None:
        """Let time pass before the same slot is repaired again: a card that forgets at once must not be worn."""
        times, until = self._repairing.get(slot, (0, 0.0))
        now = time.monotonic()
        times = 0 if now - until > MAX_PAUSE_S else times
        pause_s = min(FIRST_PAUSE_S * 2 ** (times - 1), MAX_PAUSE_S) if times else 0.0
        self._repairing[slot] = times + 1, now + pause_s

    def _give_up(self, slot: Slot) -> None:
        """Forget a damaged release that the server does not have any more, if a proven one is whole beside it."""
        if self._slots.state.proven - {slot, *self._slots.problems()}:
            self._slots.drop(slot)

    def _find_source(self, slot: Slot, client: DurableUpdater) -> Source:
        """Return where to fetch the release of a damaged slot: as the server lists it, or as its seal says.

        Raises:
            BadInput: nothing that is signed names it any more.
        """
        installed, raw = self._slots.state.slots[slot], client.raw[Targets.type]
        for path, target in Metadata[Targets].from_bytes(raw).signed.targets.items():
            if target.hashes.get("sha256") == installed.sha256:
                return Source(installed, target, make_seal(raw, path))
        seal = self._slots.seal(slot)
        with suppress(BadInput, OSError):
            target = read_seal(seal, self._slots.roots.chain())
            if target.hashes.get("sha256") == installed.sha256:
                return Source(installed, target, read_regular(seal, MAX_METADATA_BYTES))
        raise Missing(f"release {installed.release}: the server does not list it any more")


def is_version_of(key: str, path: str) -> bool:
    """Return whether an object holds a version of a target: `rings/<hash>.canary.json` of `rings/canary.json`."""
    folder, _, name = (TARGETS + path).rpartition("/")
    return key.startswith(f"{folder}/") and key.endswith(f".{name}")


def check_fit(offer: Source) -> None:
    """Check, before anything is downloaded, that this device can run an offer.

    Raises:
        BadInput: it cannot, or the offer is too large.
    """
    if (size := max(offer.target.length, unpacked_bytes(offer.target))) > MAX_BUNDLE_BYTES:
        raise BadInput(f"{offer.key}: {size} bytes, more than the {MAX_BUNDLE_BYTES} a device takes")
    release = parse_release(release_text(offer.target).encode())
    check_requirements(release, available_runtimes(), psutil.virtual_memory().total / 2**20)


def parse_ring(data: bytes, ring: str) -> Ring:
    """Parse `rings/<ring>.json`.

    Raises:
        BadInput: it does not name a release and its bundle.
    """
    try:
        content: Any = json.loads(data)
        attempt = int(content.get("attempt", 0))
        return Ring(str(content["release"]), str(content["bundle"]), attempt, parse_rollout(content))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"rings/{ring}.json: does not name a release and its bundle") from error


REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (tuf.ExpiredMetadataError, "expired metadata: this device's clock ({today}) or the server is wrong"),
    (tuf.BadVersionNumberError, "metadata older than what this device has seen, or inconsistent"),
    (tuf.UnsignedMetadataError, "metadata not signed by the right keys"),
    (tuf.LengthOrHashMismatchError, "not what was signed"),
    (tuf.DownloadLengthMismatchError, "larger than allowed"),
    (tuf.DownloadHTTPError, "missing or forbidden on the server"),
    (tuf.RepositoryError, "damaged metadata"),
)


@contextmanager
def tuf_errors(now: float) -> Iterator[None]:
    """Map errors of the TUF client to BadInput (refused) or Unavailable (server not reached), each of one line.

    Args:
        now: the time by which expiry is judged, Unix seconds.
    """
    try:
        yield
    except (tuf.RepositoryError, tuf.DownloadError) as error:
        for kind, words in REFUSALS:
            if isinstance(error, kind):
                what = words.format(today=day(now))
                raise BadInput(f"update refused: {what}: {' '.join(str(error).split())}") from error
        raise Unavailable(f"update server: {' '.join(str(error).split())}") from error


@contextmanager
def disk_errors() -> Iterator[None]:
    """Map errors of the disk to BadInput, like any other that this device cannot take, and shortages to Unavailable."""
    try:
        yield
    except OSError as error:
        what = f"{(error.strerror or str(error)).lower()}: {error.filename or 'the home folder'}"
        if is_shortage(error):
            raise Unavailable(f"update put off: {what}") from error
        raise BadInput(f"update refused: {what}") from error
