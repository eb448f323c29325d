"""Keep the roots of trust of a device, each twice: the one it was provisioned with, and those that followed it.

    roots = Roots(home)
    roots.provision(Path("root.json"))      # on the first start
    roots.chain()                           # each version verified by the one before, oldest first
    roots.keep()                            # after a check for updates: complete what one of the two places lacks

The first places are those of the TUF client and of earlier homes, `root.json` and `metadata/root_history/`; the second
is the folder `roots/`. A root is signed by itself, so a damaged copy is known as such.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from sim2edge.edge.storage.durable import read_regular, write_durably
from sim2edge.edge.storage.folders import make_folder
from sim2edge.errors import BadInput

MAX_ROOT_BYTES = 512_000
MAX_ROOTS = 1024


class Roots:
    """The roots in one home folder; not safe to share between threads that write."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._given = b""
        self._known: list[tuple[bytes, Root]] = []

    def provision(self, given: Path | None) -> bytes:
        """Return the root that this device was provisioned with or, on the first start, trust the given one.

        Raises:
            BadInput: there is neither.
        """
        with suppress(StopIteration):
            return next(self._found("root.json", "roots/root.json"))[0]
        try:
            self._given = read_regular(given, MAX_ROOT_BYTES) if given else b""
            verify_root(self._given)
        except (OSError, ValueError) as error:
            wanted = "the root.json that `sim2edge ota init` wrote"
            if given is None:
                raise BadInput(f"{self._home / 'root.json'}: missing: give --root with {wanted}") from error
            reason = str(error.strerror).lower() if isinstance(error, OSError) else str(error)
            raise BadInput(f"--root {given}: {reason}: not {wanted}") from error
        with suppress(OSError):  # a disk that takes nothing: it is given again at the next start
            write_durably(self._home / "root.json", self._given)
        return self._given

    def chain(self) -> list[bytes]:
        """Return the roots that this device trusts, oldest first; empty if it was never provisioned."""
        if not self._known:
            self._known = list(self._first())
        while self._known and len(self._known) < MAX_ROOTS:
            _, newest = self._known[-1]
            name = f"{newest.version + 1}.root.json"
            following = next(self._found(f"metadata/root_history/{name}", f"roots/{name}", by=newest), None)
            if following is None:
                break
            self._known.append(following)
        return [data for data, _ in self._known]

    def keep(self) -> None:
        """Write the copies that are missing or damaged.

        Raises:
            OSError: the disk takes nothing.
        """
        self.chain()
        make_folder(self._home / "roots")
        for data, root in self._known[:1]:
            self._complete("root.json", data)
            self._complete("roots/root.json", data)
            self._complete(f"roots/{root.version}.root.json", data)
        for data, root in self._known[1:]:
            self._complete(f"roots/{root.version}.root.json", data)

    def _complete(self, name: str, data: bytes) -> None:
        path = self._home / name
        try:
            if path.stat().st_size == len(data) and read_regular(path, MAX_ROOT_BYTES) == data:
                return
        except OSError:
            pass
        write_durably(path, data)

    def _first(self) -> Iterator[tuple[bytes, Root]]:
        found = next(self._found("root.json", "roots/root.json"), None)
        if found:
            yield found
        elif self._given:
            yield self._given, verify_root(self._given)

    def _found(self, *names: str, by: Root | None = None) -> Iterator[tuple[bytes, Root]]:
        """Yield the copies that are whole, and signed by the root before them."""
        for name in names:
            with suppress(OSError, ValueError):
                data = read_regular(self._home / name, MAX_ROOT_BYTES)
                yield data, verify_root(data, by)


def verify_root(data: bytes, by: Root | None = None) -> Root:
    """Return a root whose signatures are valid by itself and, if given, by the version before it.

    Raises:
        ValueError: it is none, or not the one that follows.
    """
    try:
        metadata = Metadata[Root].from_bytes(data)
        root = metadata.signed
        if not isinstance(root, Root):
            raise ValueError(f"it is {root.type} metadata")
        for signer in (root, by or root):
            signer.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a root: {error}") from error
    if by and root.version != by.version + 1:
        raise ValueError(f"it is version {root.version}")
    return root
