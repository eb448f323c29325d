"""Read, write, list and delete the objects of a bucket, through obstore: the lower half of the bus.

objects = Objects(MemoryStore())
objects.put("inbox/a.parquet", data, only_new=True)     # a conditional put: If-None-Match
data, tag = objects.get_tagged("refs/models/champion")
objects.put("refs/models/champion", data, if_tag=tag)   # compare-and-swap: If-Match
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    InvalidPathError,
    PreconditionError,
)
from obstore.store import MemoryStore, S3Store

from sim2edge.any_names import list_folders
from sim2edge.bucket import S3Access
from sim2edge.conditions import FOLDER as CONDITIONS
from sim2edge.conditions import Conditions
from sim2edge.errors import BadInput, Conflict, Missing, Unavailable
from sim2edge.server_clock import read_server_time
from sim2edge.storage_errors import first_line, storage_errors


@dataclass(frozen=True)
class Head:
    """An object as listed: size in bytes, the tag that a swap compares with, time of the last write."""

    key: str
    size: int
    tag: str
    modified: datetime


class Objects:
    """The objects of a bucket. Safe to share between threads."""

    def __init__(self, store: S3Store | MemoryStore, access: S3Access = S3Access()) -> None:  # noqa: B008 - frozen
        self._store = store
        self._access = access
        self._conditions = Conditions(store)

    def get(self, key: str) -> bytes:
        """Return the object's content.

        Raises:
            Missing: there is no such object.
        """
        found = self.get_tagged(key)
        if found is None:
            raise Missing(f"{key}: missing on the bus")
        return found[0]

    def get_tagged(self, key: str) -> tuple[bytes, str] | None:
        """Return the object's content and entity tag; None when there is no such object."""
        with self._errors(key):
            try:
                result = obstore.get(self._store, key)
                return bytes(result.bytes()), str(result.meta["e_tag"])
            except FileNotFoundError:
                return None

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes; None when there is no such object."""
        found = self.head(key)
        return found.size if found else None

    def head(self, key: str) -> Head | None:
        """Return size, tag and time of the object without reading it; None when there is no such object."""
        with self._errors(key):
            try:
                meta = obstore.head(self._store, key)
                return Head(key, int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])
            except FileNotFoundError:
                return None

    def peek(self, key: str, most: int) -> tuple[bytes, Head]:
        """Return the first bytes of an object, at least `most` + 1 of a larger one, with its size, tag and time.

        Raises:
            Missing: there is no such object.
        """
        with self._errors(key):
            try:
                result, content = obstore.get(self._store, key), b""
            except FileNotFoundError as error:
                raise Missing(f"{key}: missing on the bus") from error
            meta = result.meta
            for chunk in result.stream(min_chunk_size=most + 1) if meta["size"] else ():
                content += bytes(chunk)
                if len(content) > most:
                    break
            return content, Head(key, int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])

    def server_time(self) -> datetime | None:
        """Return the time of the server's clock; None if it does not say."""
        if not isinstance(self._store, S3Store):
            return datetime.now(UTC)
        config = self._store.config
        region = config.get("region") or "us-east-1"
        return read_server_time(config.get("endpoint") or f"https://s3.{region}.amazonaws.com")

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the object's content from byte `start` to before byte `end`, in chunks; None: to its end.

        Raises:
            Missing: there is no such object.
        """
        with self._errors(key):
            try:
                options: Any = {"range": {"offset": start} if end is None else (start, end)} if start or end else None
                for chunk in obstore.get(self._store, key, options=options).stream(min_chunk_size=1 << 20):
                    yield bytes(chunk)
            except FileNotFoundError as error:
                raise Missing(f"{key}: missing on the bus") from error

    def sign(self, key: str, lifetime: timedelta) -> str | None:
        """Return an address that anyone who has it can read the object at, for a while; None of a bucket in memory."""
        if isinstance(self._store, MemoryStore):
            return None
        with self._errors(key):
            return str(obstore.sign(self._store, "GET", key, lifetime))

    def put(
        self, key: str, data: bytes | Path | Iterator[bytes], *, only_new: bool = False, if_tag: str | None = None
    ) -> None:
        """Write an object; `only_new`: only if it does not exist, `if_tag`: only if it still has that tag.

        If chunks are given and their iterator raises, nothing is written.

        Raises:
            Conflict: the condition does not hold.
        """
        mode: Any = "create" if only_new else {"e_tag": if_tag} if if_tag else "overwrite"
        with self._errors(key):
            try:
                if mode == "overwrite":
                    obstore.put(self._store, key, data)
                else:
                    self._conditions.put(key, data, mode)
            except (AlreadyExistsError, PreconditionError) as error:
                raise Conflict(f"{key}: changed by another writer") from error
            except FileNotFoundError as error:
                if if_tag:
                    raise Conflict(f"{key}: removed by another writer") from error
                raise BadInput(f"{key}: {first_line(error)}") from error

    def check_conditions(self) -> None:
        """Check that the server honours conditions: before work whose result will be committed.

        Raises:
            Misconfigured: it does not.
        """
        with self._errors(CONDITIONS):
            self._conditions.check()

    def list(self, prefix: str, after: str | None = None) -> Iterator[str]:
        """Yield the keys below folder `prefix`, in no particular order; with `after` only those that sort after it.

        Sends one request for each thousand keys.
        """
        for key, _ in self._list(prefix, after):
            yield key

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are no error."""
        names = list(keys)
        with self._errors(names[0] if names else ""):
            if names:
                obstore.delete(self._store, names)

    def first_page(self, prefix: str, most: int = 1000) -> Sequence[Head]:
        """Return the first objects below folder `prefix`, in the order of the server, by one request.

        Raises:
            BadInput: one of the keys is not a valid path.
        """
        try:
            with self._errors(prefix):
                found = next(iter(obstore.list(self._store, prefix=prefix.rstrip("/") + "/", chunk_size=most)), [])
        except Unavailable as error:
            if isinstance(error.__cause__, InvalidPathError):
                raise BadInput(f"{prefix}: contains a key that is not a valid path") from error
            raise
        return [Head(meta["path"], meta["size"], str(meta["e_tag"]), meta["last_modified"]) for meta in found]

    def heads(self, prefix: str) -> Iterator[Head]:
        """Yield the objects below folder `prefix`, in no particular order; one request for each thousand."""
        with self._errors(prefix):
            for chunk in obstore.list(self._store, prefix=prefix.rstrip("/") + "/", chunk_size=1000):
                for meta in chunk:
                    yield Head(meta["path"], meta["size"], str(meta["e_tag"]), meta["last_modified"])

    def files(self, prefix: str) -> Sequence[str]:
        """Return the names of the objects directly below folder `prefix`, sorted."""
        with self._errors(prefix):
            found = obstore.list_with_delimiter(self._store, prefix=prefix.rstrip("/") + "/")["objects"]
        return sorted(meta["path"].rpartition("/")[2] for meta in found)

    def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders directly below folder `prefix`, sorted; other writers may use any text.

        Raises:
            BadInput: a name is not a valid path, and boto3, which lists those too, is not installed.
        """
        try:
            return self._folders(prefix)
        except Unavailable as error:
            if isinstance(error.__cause__, InvalidPathError) and isinstance(self._store, S3Store):
                return list_folders(self._store.config["bucket"], prefix, self._access)
            raise

    def _list(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, datetime]]:
        with self._errors(prefix):
            for chunk in obstore.list(self._store, prefix=prefix.rstrip("/") + "/", offset=after, chunk_size=1000):
                for meta in chunk:
                    yield meta["path"], meta["last_modified"]

    def _folders(self, prefix: str) -> Sequence[str]:
        with self._errors(prefix):
            found = obstore.list_with_delimiter(self._store, prefix=prefix.rstrip("/") + "/")["common_prefixes"]
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return storage_errors(key, self._access.source)
