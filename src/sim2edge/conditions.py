"""Put objects on conditions (If-None-Match, If-Match), on servers that honour them.

    conditions = Conditions(store)
    conditions.put("refs/x", data, "create")            only if it does not exist
    conditions.put("refs/x", data, {"e_tag": tag})      only if it still has that tag

On a server that ignores conditions two writers both win, and the data of one is lost without a word. So each process
checks the server before its first conditional put: a record in the bucket says that it was checked, or else it is
checked with two puts that must be refused (`find_problem`). docs/s3.md has the servers that were tested.
"""

import hashlib
import json
import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError
from obstore.store import MemoryStore, S3Store

from sim2edge.errors import Misconfigured, Unavailable
from sim2edge.storage_errors import is_refusal

FOLDER = "conditions"
"""Folder of the records, one for each address of the server: who may put on conditions reads and writes it."""
VALID = timedelta(hours=24)
"""Age up to which a record, or the result that a process has, is believed: the server may be replaced."""
SWAPS = 8
"""Tries to swap a record while other processes do, too."""
CONFLICT_S = 60.0
"""Seconds after which a put is given up that the server refuses because of another one under way (409)."""
WORKING = "AWS S3 and SeaweedFS do"
REFUSED = (AlreadyExistsError, PreconditionError, NotModifiedError)
UNDER_WAY = re.compile(r"status code: 409\b")
"""Not that the condition fails, but that another write to the object is under way: "retry the upload", says AWS."""
NOT_IMPLEMENTED = re.compile(r"status code: 501\b")

Store = S3Store | MemoryStore
_CHECKED: dict[str, float] = {}
"""Server and bucket to the time of the check, seconds of the monotonic clock."""
_LOCK = threading.Lock()


class Conditions:
    """The conditional puts of one bucket. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._once: Store | None = None

    def put(self, key: str, data: Any, mode: Any) -> None:
        """Write an object if a condition holds.

        Raises:
            AlreadyExistsError, PreconditionError, FileNotFoundError: it does not hold.
            Misconfigured: the server does not honour conditions.
            Unavailable: other writes to the object were under way all the time.
            BaseError: any other error of obstore.
        """
        self.check()
        self.put_unchecked(key, data, mode)

    def check(self) -> None:
        """Check that the server honours conditions: one request, or a few for the first process of a day.

        Raises:
            Misconfigured: it does not.
        """
        if isinstance(self._store, MemoryStore):
            return
        endpoint, bucket = self._store.config.get("endpoint", ""), self._store.config["bucket"]
        place = f"{endpoint or 'AWS'} bucket {bucket}"
        with _LOCK:
            if time.monotonic() - _CHECKED.get(place, float("-inf")) < VALID.total_seconds():
                return
            if problem := self._look_up_or_probe(place):
                where = f"bucket {bucket} on {endpoint or 'AWS'}"
                raise Misconfigured(
                    f"{where}: the server {problem}, so that writers would overwrite each other's data: use one that "
                    f"honours If-None-Match and If-Match, as {WORKING} (docs/s3.md)"
                )
            _CHECKED[place] = time.monotonic()

    def _look_up_or_probe(self, place: str) -> str:
        key = f"{FOLDER}/{hashlib.sha256(place.encode()).hexdigest()[:16]}.json"
        try:
            found = read(self._store, key)
            if found and is_valid(found[0], place, datetime.now(UTC)):
                return ""
            return find_problem(self._store, self.put_unchecked, key, place)
        except BaseError as error:
            if is_refusal(error):  # by a policy of before this folder: such servers honour conditions, as far as known
                return ""
            raise

    def put_unchecked(self, key: str, data: Any, mode: Any) -> None:
        """Write an object if a condition holds, on a server that is not checked.

        A put that another one under way prevented is tried again, one that is not implemented is not.
        """
        deadline, wait_s = time.monotonic() + CONFLICT_S, 0.1
        while True:
            try:
                return self._send(key, data, mode)
            except BaseError as error:
                if not UNDER_WAY.search(str(error)):
                    raise
                if time.monotonic() > deadline:
                    raise Unavailable(f"{key}: other writes to it were under way for {CONFLICT_S:.0f} s") from error
            time.sleep(wait_s * random.uniform(0.5, 1))
            wait_s = min(2 * wait_s, 3.0)

    def _send(self, key: str, data: Any, mode: Any) -> None:
        """Put once to see what the server says; if it did not say anything, with the store's retries."""
        if self._once is None:
            self._once = without_retries(self._store)
        try:
            obstore.put(self._once, key, data, mode=mode, use_multipart=False)
        except REFUSED:
            raise
        except BaseError as error:
            if NOT_IMPLEMENTED.search(str(error)):
                raise Misconfigured(
                    f"{key}: the server does not implement {header(mode)} (501): use one that honours If-None-Match "
                    f"and If-Match, as {WORKING} (docs/s3.md)"
                ) from error
            if is_refusal(error):
                raise
            obstore.put(self._store, key, data, mode=mode, use_multipart=False)


def header(mode: Any) -> str:
    """Return the name of the header of a condition."""
    return "If-None-Match" if mode == "create" else "If-Match"


def without_retries(store: Store) -> Store:
    """Return a store that sends each request once."""
    if isinstance(store, MemoryStore):
        return store
    config: Any = {name: value for name, value in store.config.items() if name != "bucket"}
    return S3Store(
        store.config["bucket"],
        config=config,
        client_options=store.client_options,
        retry_config={**(store.retry_config or {}), "max_retries": 0},
        credential_provider=store.credential_provider,
    )


def read(store: Store, key: str) -> tuple[bytes, str] | None:
    """Return content and tag of an object; None if there is no such object."""
    try:
        found = obstore.get(store, key)
        return bytes(found.bytes()), str(found.meta["e_tag"])
    except FileNotFoundError:
        return None


def is_valid(record: bytes, place: str, now: datetime) -> bool:
    """Return whether a record says that the server and bucket `place` were checked lately; other content says no."""
    try:
        content = json.loads(record)
        return content["place"] == place and abs(now - datetime.fromisoformat(content["checked"])) < VALID
    except (ValueError, KeyError, TypeError):
        return False


def find_problem(store: Store, put: Callable[[str, bytes, Any], None], key: str, place: str) -> str:
    """Return how the server fails to honour conditions; empty: it honours them, and the record `key` says so.

    Any number of processes may do this at once: the record is never deleted, so that its creation has to be refused,
    and a swap that fails because another process was faster is tried again.
    """
    mark = json.dumps({"place": place, "probe": uuid.uuid4().hex}).encode()
    is_accepted(put, key, mark, "create")  # or it exists already
    if read(store, key) is None:
        return "refuses If-None-Match: * for an object that does not exist"
    if is_accepted(put, key, mark, "create"):
        return "ignores If-None-Match"
    if is_accepted(put, key, mark, {"e_tag": f'"{uuid.uuid4().hex}"'}):
        return "ignores If-Match"
    for _ in range(SWAPS):
        found = read(store, key)
        now = datetime.now(UTC)
        if found is None:
            return "loses objects"
        if is_valid(found[0], place, now):
            return ""
        record = json.dumps({"place": place, "checked": now.isoformat(timespec="seconds")}).encode()
        if is_accepted(put, key, record, {"e_tag": found[1]}):
            return ""
        time.sleep(random.uniform(0, 0.1))
    return "refuses If-Match with the tag that it gave"


def is_accepted(put: Callable[[str, bytes, Any], None], key: str, data: bytes, mode: Any) -> bool:
    """Return whether the server accepts a conditional put."""
    try:
        put(key, data, mode)
    except REFUSED:
        return False
    return True
