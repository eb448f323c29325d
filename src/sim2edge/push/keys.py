"""Store the signing keys of the update repository as PEM files in a folder (`SIM2EDGE_KEYS`).

    <folder>/root.json                          the trusted root; devices are provisioned with it
    <folder>/{targets,snapshot,timestamp}-<key id, 8 digits>.pem
    <folder>/offline/root-<key id, 8 digits>.pem    used by `init` and `rotate-root` only: keep it offline

A key is found by its id, which the root names, never by its file name: an interrupted rotation leaves at worst a key
that no root names.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from sim2edge.errors import BadInput
from sim2edge.private_files import write_private

ROOT_KEYS = 3
ROOT_THRESHOLD = 2
ROLES = ("root", "targets", "snapshot", "timestamp")


def keys_folder() -> Path:
    """Return the folder named by `SIM2EDGE_KEYS`.

    Raises:
        BadInput: the variable is not set.
    """
    named = os.environ.get("SIM2EDGE_KEYS")
    if not named:
        raise BadInput("SIM2EDGE_KEYS is not set: name the folder of the signing keys (`sim2edge ota init` fills it)")
    return Path(named)


class KeyFolder:
    """The private keys and the trusted root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def root_file(self) -> Path:
        """The trusted root, public: devices are provisioned with it."""
        return self.folder / "root.json"

    def read_root(self) -> bytes:
        """Return the trusted root.

        Raises:
            BadInput: the file is missing: `sim2edge ota init` has not run.
        """
        if not self.root_file.is_file():
            where = f"{self.root_file}: missing"
            raise BadInput(f"{where}: `sim2edge ota init` writes it, or copy it from the machine that ran it")
        return self.root_file.read_bytes()

    def of_role(self, role: str) -> Sequence[CryptoSigner]:
        """Return every key of a role in the folder.

        Raises:
            BadInput: a file is not a private key.
        """
        return [_load(path) for path in sorted(self._folder(role).glob(f"{role}-*.pem"))]

    def create(self, role: str) -> CryptoSigner:
        """Create a new Ed25519 key of a role; only its owner can read the file."""
        signer = CryptoSigner.generate_ed25519()
        write_private(self.path(role, signer.public_key.keyid), signer.private_bytes, durable=True)
        return signer

    def complete(self, role: str, count: int) -> Sequence[CryptoSigner]:
        """Return the first `count` keys of a role, creating those that are missing."""
        present = list(self.of_role(role))[:count]
        return present + [self.create(role) for _ in range(count - len(present))]

    def signers(self, role: str, root: Root) -> Sequence[CryptoSigner]:
        """Return the keys in the folder that `root` accepts for a role.

        Raises:
            BadInput: there are fewer than the role's threshold.
        """
        signers, needed = self._accepted(role, root), root.roles[role].threshold
        if len(signers) < needed:
            raise BadInput(f"{self._folder(role)}: holds {len(signers)} of the {needed} {role} keys that are needed")
        return signers

    def _accepted(self, role: str, root: Root) -> list[CryptoSigner]:
        return [signer for signer in self.of_role(role) if signer.public_key.keyid in root.roles[role].keyids]

    def has(self, role: str, root: Root) -> bool:
        """Return whether the folder has enough keys of a role to sign for it.

        Raises:
            BadInput: a file is not a private key.
        """
        return len(self._accepted(role, root)) >= root.roles[role].threshold

    def discard(self, role: str, key_id: str) -> None:
        """Remove a key that no root accepts any more."""
        self.path(role, key_id).unlink(missing_ok=True)

    def path(self, role: str, key_id: str) -> Path:
        """Return the file of a key."""
        return self._folder(role) / f"{role}-{key_id[:8]}.pem"

    def _folder(self, role: str) -> Path:
        return self.folder / "offline" if role == "root" else self.folder


def _load(path: Path) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: not a private key: {error}") from error
