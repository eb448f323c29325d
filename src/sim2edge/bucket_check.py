"""Check that a bucket does everything that the bus relies on; `sim2edge check` shows the results.

    for result in check_bucket(store): result.name, result.problem

Every check writes below a folder of its own, `conditions/check/<random>`, which is deleted at the end. So checks may
run at once, and besides any other work; what a killed one left is deleted by a later one.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import MemoryStore, S3Store

from sim2edge.conditions import FOLDER, REFUSED, Conditions, read
from sim2edge.errors import BadInput, NotFound, Unavailable
from sim2edge.storage_errors import first_line, storage_errors

CHECKS = f"{FOLDER}/check"
WRITERS = 8
RACES = 5
PAGE = 1000
"""Keys on a page of a listing."""
MULTIPART_BYTES = 12_000_000
"""Sent in parts of 5 MiB, as is every file of more."""
MAX_CLOCK_S = 60.0
"""Largest harmless difference of the clocks, seconds: leftovers are recognised by their age. AWS refuses 15 minutes."""
LEFT_OVER = timedelta(days=1)
ANSWER = re.compile(r"Error performing ([A-Z]+) .* status code: (.*)$")
"""In an error of obstore: method and answer, without the address."""
NAMES = ("a b", "dag_id=x/run_id=scheduled__2026-01-01T00:00:00+00:00", "A-Za.z_0-9", "50% (1), ~!'@;$&", "grün")
"""Names as Airflow's logs have them, and whatever a producer may think of."""


@dataclass(frozen=True)
class Result:
    """The result of one check; an empty problem means ok."""

    name: str
    problem: str


@dataclass
class Workplace:
    """The store with the folder of one check."""

    store: S3Store | MemoryStore
    folder: str = field(default_factory=lambda: f"{CHECKS}/{uuid.uuid4().hex}")
    written: set[str] = field(default_factory=set)
    conditions: Conditions = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = Conditions(self.store)

    def key(self, name: str) -> str:
        """Return the key of an object that will be deleted at the end."""
        key = f"{self.folder}/{name}"
        self.written.add(key)
        return key

    def put(self, name: str, data: bytes | Iterator[bytes]) -> str:
        """Write an object and return its key."""
        key = self.key(name)
        obstore.put(self.store, key, data)
        return key

    def get(self, key: str) -> bytes | None:
        """Return the content of an object; None if there is none."""
        found = read(self.store, key)
        return found[0] if found else None

    def tag(self, key: str) -> str:
        """Return the tag of an object."""
        return str(obstore.head(self.store, key)["e_tag"])

    def accepts(self, key: str, data: bytes, mode: Any) -> bool:
        """Return whether a conditional put is accepted."""
        try:
            self.conditions.put_unchecked(key, data, mode)
        except (*REFUSED, FileNotFoundError):
            return False
        return True

    def names(self, folder: str = "", after: str | None = None) -> list[str]:
        """Return the keys below the folder."""
        listed = obstore.list(self.store, prefix=f"{self.folder}/{folder}", offset=after)
        return [meta["path"] for chunk in listed for meta in chunk]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, in one request as far as the server can."""
        obstore.delete(self.store, list(keys))

    def race(self, mode: Any, key: str) -> list[bytes]:
        """Let many writers put on a condition at once, and return what those wrote that won."""
        contents = [uuid.uuid4().hex.encode() for _ in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(lambda content: self.accepts(key, content, mode), contents))
        return [content for content, accepted in zip(contents, won, strict=True) if accepted]


def read_and_write(at: Workplace) -> str:
    """Check that a write is seen at once."""
    for content in (b"first", b"second, longer", b""):
        key = at.put("object", content)
        if (found := at.get(key)) != content:
            return f"{len(content)} bytes were written, {'none' if found is None else len(found)} read"
        if (size := obstore.head(at.store, key)["size"]) != len(content):
            return f"an object of {len(content)} bytes has {size} by HEAD"
    return ""


def tags(at: Workplace) -> str:
    """Check that the entity tag tells contents apart, and is the same by every request."""
    key = at.put("tagged", b"first")
    first = at.tag(key)
    listed = {meta["path"]: str(meta["e_tag"]) for chunk in obstore.list(at.store, prefix=at.folder) for meta in chunk}
    if not first.strip('"') or first == "None":
        return "objects have no ETag"
    if listed.get(key, "").strip('"') != first.strip('"'):
        return f"the ETag is {first} by HEAD and {listed.get(key)} in a listing"
    return "" if at.tag(at.put("tagged", b"other")) != first else "the ETag stays the same when the content changes"


def create(at: Workplace) -> str:
    """Check `If-None-Match: *`, with one writer and with many."""
    key = at.key("created")
    if not at.accepts(key, b"first", "create"):
        return "If-None-Match: * is refused for an object that does not exist"
    if at.accepts(key, b"second", "create") or at.get(key) != b"first":
        return "If-None-Match is ignored: an object that exists was overwritten"
    return _race(at, lambda key: at.race("create", key), "If-None-Match")


def swap(at: Workplace) -> str:
    """Check `If-Match`, with one writer and with many."""
    key = at.put("swapped", b"first")
    old = at.tag(key)
    if not at.accepts(key, b"second", {"e_tag": old}):
        return "If-Match is refused with the right ETag"
    if at.accepts(key, b"third", {"e_tag": old}) or at.get(key) != b"second":
        return "If-Match is ignored: an object was overwritten whose ETag had changed"
    if at.accepts(at.key("never"), b"x", {"e_tag": old}):
        return "If-Match creates an object that does not exist"

    def start(key: str) -> list[bytes]:
        obstore.put(at.store, key, b"start")
        return at.race({"e_tag": at.tag(key)}, key)

    return _race(at, start, "If-Match")


def _race(at: Workplace, run: Callable[[str], list[bytes]], header: str) -> str:
    for number in range(RACES):
        key = at.key(f"race-{header}-{number}")
        won = run(key)
        if len(won) != 1:
            return f"{len(won)} of {WRITERS} writers at once succeeded with {header}"
        if at.get(key) != won[0]:
            return f"with {header} the content is not that of the writer who succeeded"
    return ""


def delete(at: Workplace) -> str:
    """Check that what is deleted is gone at once, can be created again, and that a missing object is no error."""
    keys = [at.put(f"deleted-{number}", b"x") for number in range(3)]
    at.delete(keys)
    at.delete([at.key("never-written")])
    if any(at.get(key) is not None for key in keys):
        return "an object that was deleted can still be read"
    if left := set(at.names()) & set(keys):
        return f"{len(left)} of {len(keys)} objects that were deleted are still listed"
    return "" if at.accepts(keys[0], b"again", "create") else "an object that was deleted cannot be created again"


def listing(at: Workplace) -> str:
    """Check that a listing has what was just written: more than a page of it, from the middle, and folders."""
    expected = [f"{at.folder}/many/{number:04d}" for number in range(PAGE + 1)]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda key: at.put(key.removeprefix(f"{at.folder}/"), b""), expected))
    found = at.names("many/")
    if sorted(found) != expected:
        return (
            f"{len(expected)} objects were written, {len(set(found))} are listed, {len(found) - len(set(found))} twice"
        )
    if sorted(at.names("many/", after=expected[PAGE // 2])) != expected[PAGE // 2 + 1 :]:
        return "a listing that starts after a key has others"
    at.put("more/x", b"")
    folders = obstore.list_with_delimiter(at.store, prefix=at.folder)["common_prefixes"]
    names = {name.strip("/").rpartition("/")[2] for name in folders}
    return "" if {"many", "more"} <= names else f"the folders many and more were written, {sorted(names)} are listed"


def ranges(at: Workplace) -> str:
    """Check that a part of an object can be read."""
    data = bytes(range(256)) * 4
    key = at.put("ranges", data)
    for start, end in ((0, 1), (10, 300), (1000, 1024)):
        if bytes(obstore.get_range(at.store, key, start=start, end=end)) != data[start:end]:
            return f"bytes {start} to {end - 1} of an object are others"
    rest = bytes(obstore.get(at.store, key, options={"range": {"offset": 1000}}).bytes())
    return "" if rest == data[1000:] else f"from byte 1000 on there are {len(rest)} bytes, not {len(data) - 1000}"


class _Given(Exception):
    """An upload was given up."""


def multipart(at: Workplace) -> str:
    """Check an upload in several parts, and that one which is given up leaves no object."""
    part = bytes(range(250)) * 4000
    key = at.put("large", iter([part] * (MULTIPART_BYTES // len(part))))
    found = hashlib.sha256()
    for chunk in obstore.get(at.store, key).stream():
        found.update(bytes(chunk))
    if found.hexdigest() != hashlib.sha256(part * (MULTIPART_BYTES // len(part))).hexdigest():
        return f"{MULTIPART_BYTES} bytes written in parts are read as others"

    def give_up() -> Iterator[bytes]:
        yield from [part] * 6
        raise _Given

    with suppress(_Given):
        at.put("given-up", give_up())
    return "an upload that was given up left an object" if at.get(at.key("given-up")) is not None else ""


def names(at: Workplace) -> str:
    """Check that names with other characters, and those that differ in their case only, are kept apart."""
    keys = [at.put(f"names/{name}", name.encode()) for name in (*NAMES, "case", "CASE")]
    for key in keys:
        if at.get(key) != key.removeprefix(f"{at.folder}/names/").encode():
            return f"an object with the name {key.rpartition('/')[2]!r} is not read as it was written"
    missing = set(keys) - set(at.names("names/"))
    at.delete(keys)
    return f"not listed as it was written: {min(missing).rpartition('/')[2]!r}" if missing else ""


def clock(at: Workplace) -> str:
    """Check the server's clock by the time of an object that was just written."""
    before = datetime.now(UTC)
    made = obstore.head(at.store, at.put("clock", b""))["last_modified"]
    ahead = (made - before).total_seconds()
    if abs(ahead) <= MAX_CLOCK_S:
        return ""
    where = "ahead of" if ahead > 0 else "behind"
    return f"the server's clock is {abs(ahead):.0f} s {where} this machine's: set both by NTP"


ALL: Sequence[tuple[str, Callable[[Workplace], str]]] = (
    ("read and write, also nothing", read_and_write),
    ("ETag", tags),
    (f"create only if new (If-None-Match), {WRITERS} at once", create),
    (f"swap only if unchanged (If-Match), {WRITERS} at once", swap),
    ("delete, create again", delete),
    (f"list what was just written, over {PAGE} keys", listing),
    ("read a part (Range)", ranges),
    (f"upload in parts, {MULTIPART_BYTES // 1_000_000} MB", multipart),
    ("names with any characters", names),
    ("clock", clock),
)


def check_usable(store: S3Store, source: str) -> None:
    """Check that the server answers and lets these keys list, write and delete.

    Args:
        store: the bucket.
        source: where the credentials come from, for messages.

    Raises:
        NotFound: there is no such bucket.
        Forbidden: the server refuses the keys.
        Unavailable: the server does not answer.
    """
    at = Workplace(store)
    try:
        with storage_errors(CHECKS, source):
            at.names()
            at.delete([at.put("usable", b"")])
    except (Unavailable, FileNotFoundError) as error:
        if "NoSuchBucket" not in str(error):
            raise
        where = store.config.get("endpoint", "AWS")
        raise NotFound(f"SIM2EDGE_BUCKET: there is no bucket {store.config['bucket']} on {where}") from error


def check_bucket(store: S3Store | MemoryStore) -> Iterator[Result]:
    """Yield the result of every check, and delete what they wrote."""
    at = Workplace(store)
    try:
        for name, check in ALL:
            yield Result(name, _run(check, at))
    finally:
        _clean_up(at)


def _run(check: Callable[[Workplace], str], at: Workplace) -> str:
    try:
        return check(at)
    except (BaseError, BadInput, Unavailable, OSError) as error:
        line = first_line(error)
        answer = ANSWER.search(line)
        return f"{answer[1]} is answered by {answer[2]}" if answer else line.removeprefix("Generic S3 error: ")


def _clean_up(at: Workplace) -> None:
    """Delete what the check wrote, also what the listing hides, and what killed ones left a day ago."""
    deadline = datetime.now(UTC) - LEFT_OVER
    with suppress(BaseError):
        listed = [meta for chunk in obstore.list(at.store, prefix=CHECKS) for meta in chunk]
        at.written |= {meta["path"] for meta in listed if meta["last_modified"] < deadline}
        at.written |= {meta["path"] for meta in listed if meta["path"].startswith(at.folder)}
    with suppress(BaseError, FileNotFoundError):
        at.delete(sorted(at.written))
