"""Keep the identity of a device: its key pair, its enrolment, the signature of its status, the ring it belongs to.

make_key(home)                          once: `device.key`, which never leaves the device; returns the public key
take_enrolment(home, file)              what the admin made with `sim2edge device enrol`
Signer(home, "pi-7").envelope(status)   the status for the fleet, signed if the device has a key
ring_of(client, "pi-7", read, ...)      the ring by the update repository's signed targets, else the one that is given

A device that has run once never ends for lack of its identity: it goes on with what is left, unsigned if need be.
"""

import argparse
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sim2edge.edge.events import log
from sim2edge.edge.storage.durable import read_regular, write_durably
from sim2edge.enrol.assignments import bin_of
from sim2edge.enrol.enrolment_file import MAX_BYTES, Enrolment, parse_enrolment, read_enrolment
from sim2edge.enrol.signed_status import PREFIX, Signed, plain, seal
from sim2edge.errors import BadInput
from sim2edge.private_files import make_private_folder

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile
    from tuf.ngclient import Updater

KEY, STARTS, ROOT, ASSIGNED = "device.key", "starts", "root.json", "ring-assigned"
ENROLMENTS = ("enrolment.json", "enrolment.copy.json")
"""Two copies: without `--id` a device knows its name by them alone."""
TRACES = (*ENROLMENTS, STARTS, "state-0.json", "state-1.json", "slots")
"""What only a device that ran leaves in its home."""
NAMELESS = "nameless"
"""The id of a device that lost both copies of its enrolment: it detects, and reports to nobody."""
MAX_KEY_BYTES = 4096
ACCESS_KEY = "AWS_ACCESS_KEY_ID"
DEFAULT_RING = "canary"
MAX_DEVICES_BYTES = 1 << 20
MAX_STARTS = 1 << 40


def new_key() -> tuple[str, str]:
    """Return a new key pair: the private key as PEM, the public key as 64 hexadecimal digits."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), public_of(key)


def public_of(key: Ed25519PrivateKey) -> str:
    """Return the public key of a private one, 64 hexadecimal digits."""
    return key.public_key().public_bytes_raw().hex()


def make_key(home: Path) -> str:
    """Make the device's key pair, unless it has one; return the public key.

    The key belongs to the owner of the home, whoever makes it: root does on an installed device.

    Raises:
        BadInput: `device.key` is not a key.
    """
    key = load_key(home)
    if key is None:
        make_private_folder(home)
        private, public = new_key()
        write_durably(home / KEY, private.encode(), 0o600)
    else:
        public = public_of(key)
    owner = home.stat()
    if os.geteuid() == 0 and (home / KEY).stat().st_uid != owner.st_uid:
        os.chown(home / KEY, owner.st_uid, owner.st_gid)
    return public


def load_key(home: Path) -> Ed25519PrivateKey | None:
    """Return the device's private key; None if it has none.

    Raises:
        BadInput: `device.key` is not a key, or cannot be read.
    """
    path = home / KEY
    try:
        return _parse_key(read_regular(path, MAX_KEY_BYTES), path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path}: cannot read the device's key: {error.strerror}") from error


def _parse_key(pem: bytes, where: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{where}: not a private key: remove it, and enrol the device with --replace") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{where}: not an Ed25519 key: remove it, and enrol the device with --replace")
    return key


class OfAnother(BadInput):
    """An enrolment is not this device's."""


def take_enrolment(home: Path, file: Path) -> Enrolment:
    """Take over an enrolment: the key if it brings one, the root if none is trusted yet, then the rest.

    Raises:
        BadInput: it is invalid, of another device, or made for another key than this device has.
    """
    found = read_enrolment(file)
    before = find_enrolment(home)
    if before and before.device != found.device:
        raise OfAnother(f"{file}: is for {found.device}, and {home} is that of {before.device}: use another --home")
    make_private_folder(home)
    if found.private_key is not None:
        if public_of(_parse_key(found.private_key.encode(), file)) != found.public_key:
            raise BadInput(f"{file}: private_key: not the one of public_key")
        _keep(home / KEY, found.private_key)
    key = load_key(home)
    if key is None or public_of(key) != found.public_key:
        raise BadInput(f"{file}: made for another key than {home / KEY}: `sim2edge device keygen` prints this one's")
    if found.root is not None and not (home / ROOT).is_file():
        _keep(home / ROOT, found.root)
    kept = found.model_copy(update={"private_key": None, "root": None})
    _keep_enrolment(home, kept)
    return kept


def _keep_enrolment(home: Path, enrolment: Enrolment) -> None:
    for name in ENROLMENTS:
        _keep(home / name, enrolment.model_dump_json(indent=1) + "\n")


def _keep(path: Path, text: str) -> None:
    """Write a file durably, for its owner only, unless it has that content: every start may bring the enrolment."""
    with suppress(OSError):
        if read_regular(path, MAX_BYTES) == text.encode():
            return
    write_durably(path, text.encode(), 0o600)


def find_enrolment(home: Path) -> Enrolment | None:
    """Return the enrolment that the home holds, the first whole copy; None if there is none."""
    for name in ENROLMENTS:
        try:
            return parse_enrolment(read_regular(home / name, MAX_BYTES), home / name)
        except FileNotFoundError:
            continue
        except (OSError, BadInput) as error:
            log("enrolment damaged", error=str(error))
    return None


def add_variables(enrolment: Enrolment, environment: MutableMapping[str, str] = os.environ) -> None:
    """Add the enrolment's credentials and address to the environment, unless it has credentials of its own."""
    if ACCESS_KEY not in environment:
        environment.update(enrolment.variables)


def keygen(argv: Sequence[str]) -> int:
    """Run `sim2edge device keygen`: make the device's key pair, unless it has one, and print the public key."""
    parser = argparse.ArgumentParser(prog="sim2edge device keygen", description="Print the device's public key.")
    parser.add_argument("--home", type=Path, required=True, help="the device's folder: the private key stays in it")
    home = parser.parse_args(argv).home
    if home == Path():  # an unset variable of the shell
        raise BadInput("--home: empty: the device's folder")
    try:
        print(PREFIX + make_key(home.absolute()))
    except OSError as error:
        raise BadInput(f"{error.filename or home}: cannot keep the key: {str(error.strerror).lower()}") from None
    return 0


def identify(home: Path, file: Path | None, device: str | None, ring: str | None) -> tuple[str, str]:
    """Return the device's id and default ring, and add its credentials to the environment.

    Args:
        home: the device's folder.
        file: an enrolment to take over; None: the home may hold one.
        device: the id that the command line gives; it has to be that of the enrolment, if there is one.
        ring: the ring that the command line gives.

    Raises:
        BadInput: the enrolment is another device's; or, in a home where none has run, it is invalid, or nothing tells
            the id.
    """
    found = find_enrolment(home)
    try:
        if file:
            found = take_enrolment(home, file)
        elif found:
            _keep_enrolment(home, found)
    except OfAnother:
        raise
    except OSError as error:  # a card that takes nothing: go on as who it is
        log("enrolment not taken", error=str(error))
        found = found or (read_enrolment(file) if file else None)
    except BadInput as error:
        if not has_run(home):
            raise
        log("enrolment not taken", error=str(error))
        found = found or _read_if_valid(file)
    if found is None:
        if device is None and not has_run(home):
            raise BadInput(f"--id is missing, and {home} holds no valid enrolment: give --enrolment, or --id")
        return device or NAMELESS, ring or DEFAULT_RING
    if device not in (None, found.device):
        raise BadInput(f"--id '{device}': {home} is enrolled as {found.device}: leave --id out")
    add_variables(found)
    return found.device, ring or found.ring


def has_run(home: Path) -> bool:
    """Return whether a device has run, or was enrolled, in a home: then it goes on, whatever its card has lost."""
    return any(os.path.lexists(home / name) for name in TRACES)


def _read_if_valid(file: Path | None) -> Enrolment | None:
    try:
        return read_enrolment(file) if file else None
    except BadInput:
        return None


class Signer:
    """Signs the status of one run of the agent."""

    def __init__(self, home: Path, device: str) -> None:
        """Load the key, and count this start; with a damaged key nothing is signed, which the fleet shows."""
        self._device = device
        self._key: Ed25519PrivateKey | None = None
        self.fault = ""
        """Why no status is believed, though the device is enrolled; for its status."""
        enrolled = find_enrolment(home)
        try:
            self._key = load_key(home)
        except BadInput as error:
            self.fault = str(error)
        if enrolled and not self.fault and (self._key is None or public_of(self._key) != enrolled.public_key):
            self.fault = f"{home / KEY}: not the key that was enrolled: enrol the device with --replace"
        if device == NAMELESS:
            self.fault = f"{home / ENROLMENTS[0]}: lost, and its copy: enrol the device with --replace"
        if self.fault:
            log("statuses are not signed by the enrolled key", error=self.fault)
        self._run = secrets.token_hex(8)
        self._start = count_start(home) if self._key else 0
        self._counter = 0
        self._lock = threading.Lock()

    def envelope(self, status: Mapping[str, Any]) -> bytes:
        """Return a status as it is sent: signed, or plain JSON if the device has no key."""
        if self._key is None:
            return json.dumps(plain(status), indent=1).encode()
        with self._lock:
            self._counter += 1
            counter = self._counter
        content = Signed(device=self._device, run=self._run, start=self._start, counter=counter, status=dict(status))
        return seal(self._key, content)


def count_start(home: Path) -> int:
    """Return the number of this start: the one after the last, or the Unix time in seconds if that is larger.

    By the time a device counts on after it lost the file, or got an older card.
    """
    path = home / STARTS
    last = 0
    with suppress(OSError, ValueError):
        last = max(0, int(read_regular(path, 100))) % MAX_STARTS
    number = max(last + 1, int(time.time()))
    with suppress(OSError):
        write_durably(path, f"{number}\n".encode(), 0o600)
    return number


def assigned_ring(client: "Updater", device: str, read: "Callable[[TargetFile], bytes]") -> str | None:
    """Return the ring that the update repository assigns to a device; None: it assigns none.

    Args:
        client: the TUF client, refreshed.
        device: the device's id.
        read: returns the verified content of a target.

    Raises:
        BadInput: the assignment is invalid.
    """
    path = bin_of(device)
    target = client.get_targetinfo(path)
    if target is None:
        return None
    if target.length > MAX_DEVICES_BYTES:
        raise BadInput(f"{path}: {target.length} bytes, more than {MAX_DEVICES_BYTES}")
    try:
        found = json.loads(read(target))
        ring = found.get(device)
    except (ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: does not assign rings to devices") from error
    if ring is not None and not isinstance(ring, str):
        raise BadInput(f"{path}: {device}: not a ring")
    return ring


def ring_of(client: "Updater", device: str, read: "Callable[[TargetFile], bytes]", home: Path, given: str) -> str:
    """Return the ring that counts for a device: the assigned one; `given` as long as none was ever assigned.

    Args:
        client: see `assigned_ring`.
        device: the device's id.
        read: see `assigned_ring`.
        home: the device's folder, which remembers that a ring was assigned.
        given: the ring of the command line or the enrolment.

    Raises:
        BadInput: the assignment is invalid, or it was withdrawn: the device was revoked.
    """
    found, remembered = assigned_ring(client, device, read), home / ASSIGNED
    if found is None and remembered.exists():
        raise BadInput(
            f"device {device} is in no ring any more: it was revoked; enrol it again, or remove {remembered}"
        )
    if found is not None and not remembered.exists():
        with suppress(OSError):
            write_durably(remembered, found.encode())
    return given if found is None else found
