"""Read `ota/` over HTTP: from any plain web server, or from the bus by signed addresses.

    origin = open_mirror("https://updates.example.org/ota", ca=None)     # no S3 credential
    origin = open_bus(bus)
    for chunk in origin.stream("ota/metadata/timestamp.json"): ...

What is fetched is not trusted: TUF checks it, and bounds its size. A server that asks for time (`Retry-After`) is not
called again by this module: the error carries the seconds, and the agent waits. obstore's own retries ignore that
header, so a device reads the bus by addresses that it signs itself.
"""

import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.response import BaseHTTPResponse

from sim2edge.bus import Bus
from sim2edge.edge.events import log
from sim2edge.edge.server.tuf_fetcher import Origin
from sim2edge.errors import BadInput, Forbidden, Misconfigured, Missing, Unavailable
from sim2edge.lines import join_lines
from sim2edge.storage_errors import read_code

FOLDER = "ota/"
TIMEOUT = urllib3.Timeout(connect=5.0, read=20.0)
"""Seconds until a connection stands, and between two pieces of an answer."""
RETRIES = urllib3.Retry(total=1, redirect=0, status=0, backoff_factor=0.5, respect_retry_after_header=False)
"""A connection that was kept may have been closed meanwhile: once more, then the agent's pause."""
MAX_REDIRECTS = 3
REDIRECTS = (301, 302, 303, 307, 308)
MAX_RETRY_AFTER_S = 3600.0
"""The longest wait a server can ask for: updates arrive though it asks for years."""
PIECE = 64 * 1024
SLOW_AFTER_S = 60.0
SLOW = 512
"""Bytes a second below which a transfer that takes longer than SLOW_AFTER_S is given up."""
PATIENCE_S = 20.0
"""Seconds for sending a status, one repetition included."""
SIGNED_FOR = timedelta(hours=12)
"""Signed by this device's clock: one that is behind by less than that still reaches the bucket."""
MAX_REASON = 2048
ADDRESS = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~%/-]*)?")


class HttpOrigin:
    """Reads objects at the addresses that a function gives them."""

    def __init__(self, address: Callable[[str], str], example: str, ca: Path | None = None) -> None:
        self._address = address
        self._pool = open_pool(example, ca)

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """Yield the object's content from byte `start` on.

        Raises:
            Missing: there is no such object.
            Forbidden: the server refuses to give it.
            Unavailable: the server was not reached, broke off, is too slow, or asks for time.
        """
        try:
            response = self._open(key, start)
            try:
                yield from read_pieces(key, response, skip=start if response.status == 200 else 0)
            finally:
                response.close()
        except HTTPError as error:
            raise Unavailable(f"{key}: {without_address(error)}") from error

    def _open(self, key: str, start: int) -> BaseHTTPResponse:
        """Send the request, follow redirects, and check the answer's head."""
        url = self._address(key)
        headers = {"Accept-Encoding": "identity", "User-Agent": "sim2edge-device"}
        if start:
            headers["Range"] = f"bytes={start}-"
        for _ in range(MAX_REDIRECTS + 1):
            response = self._pool.request(
                "GET", url, headers=headers, redirect=False, preload_content=False, decode_content=False
            )
            if response.status not in REDIRECTS:
                check_answer(key, response, start)
                return response
            url = next_address(key, url, response.headers.get("Location", ""))
            response.close()
        raise Unavailable(f"{key}: more than {MAX_REDIRECTS} redirects")


def open_mirror(url: str, ca: Path | None = None) -> HttpOrigin:
    """Open a web server's copy of `ota/`.

    Args:
        url: address of the folder: `<url>/metadata/timestamp.json` has to exist.
        ca: PEM file of the certificates to trust; None: those of the system.

    Raises:
        BadInput: the address or the file is not valid.
    """
    if not ADDRESS.fullmatch(url):
        shown = "it contains a user" if "@" in url else repr(url[:100])
        raise BadInput(
            f"--mirror {shown}: expected https://<host>/<path>, the folder that holds metadata/ and targets/"
        )
    base = url.rstrip("/") + "/"
    return HttpOrigin(lambda key: base + quote(key.removeprefix(FOLDER)), base, ca)


def open_bus(bus: Bus) -> Origin:
    """Open `ota/` of the bus, by addresses signed on this device; a bucket in memory as it is."""
    example = bus.sign(FOLDER, SIGNED_FOR)
    if example is None:
        return bus
    return HttpOrigin(lambda key: bus.sign(key, SIGNED_FOR) or "", example)


def open_origins(mirror: str | None, ca: Path | None) -> tuple[Bus, Origin]:
    """Return the bus that a device reports to and the origin of its updates, as the command line names them.

    A device with a mirror may have no bucket: it reports to memory, which is nowhere, and logs that once.

    Raises:
        BadInput: the mirror or its certificates are not valid, or there is neither bucket nor mirror.
    """
    if ca and not mirror:
        raise BadInput("--mirror-ca: only with --mirror")
    origin = open_mirror(mirror, ca) if mirror else None
    if origin and not os.environ.get("SIM2EDGE_BUCKET"):
        log("reports nothing", reason="SIM2EDGE_BUCKET is not set")
        return Bus.in_memory(), origin
    bus = Bus.from_environment(PATIENCE_S)
    return bus, origin or open_bus(bus)


def open_pool(url: str, ca: Path | None) -> urllib3.PoolManager:
    """Return connections to the server of an address, by the proxy that the environment names for it.

    Raises:
        Misconfigured: `ca` is no file of certificates.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = {"timeout": TIMEOUT, "retries": RETRIES, "maxsize": 1}
    if parts.scheme == "https":
        try:
            options["ssl_context"] = ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"--mirror-ca {ca}: not a PEM file of certificates: {error}") from error
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, **options)
    return urllib3.PoolManager(**options)


def check_answer(key: str, response: BaseHTTPResponse, start: int) -> None:
    """Check status and range of an answer; see `HttpOrigin.stream` for what it raises."""
    status = response.status
    if status == 200:
        return
    found = response.headers.get("Content-Range", "")
    if status == 206 and start and found.startswith(f"bytes {start}-"):
        return
    reason = read_code(ValueError(response.read(MAX_REASON).decode(errors="replace")))
    wait_s = read_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
    response.close()
    if status in (404, 410):
        raise Missing(f"{key}: missing on the server")
    if status in (401, 403):
        raise Forbidden(f"{key}: refused by the server ({status}){f': {reason}' if reason else ''}")
    if status == 206:
        raise Unavailable(f"{key}: the server sent another range than asked for: {found[:60]!r}")
    asked = f", asks to wait {wait_s:.0f} s" if wait_s else ""
    raise Unavailable(f"{key}: the server answered {status}{asked}", wait_s)


def read_pieces(key: str, response: BaseHTTPResponse, skip: int) -> Iterator[bytes]:
    """Yield the content of an answer without its first `skip` bytes: some servers know no ranges."""
    began, received = time.monotonic(), 0
    while piece := response.read1(PIECE, decode_content=False):
        received += len(piece)
        if wanted := piece[max(0, skip - received + len(piece)) :]:
            yield wanted
        elapsed = time.monotonic() - began
        if elapsed > SLOW_AFTER_S and received < SLOW * elapsed:
            raise Unavailable(f"{key}: {received} bytes in {elapsed:.0f} s: too slow")


def next_address(key: str, url: str, location: str) -> str:
    """Return where a redirect leads.

    Raises:
        Unavailable: nowhere, or from an encrypted connection to one that is not.
    """
    target = urljoin(url, location)
    allowed = ("https",) if url.startswith("https:") else ("http", "https")
    if not location or urlsplit(target).scheme not in allowed:
        raise Unavailable(f"{key}: a redirect that leads to no {' or '.join(allowed)} address")
    return target


def read_retry_after(value: str, now: datetime) -> float:
    """Return the seconds of a `Retry-After` header, a number or a date; 0 if there is none, or it is neither."""
    try:
        seconds = float(value) if value.strip().isdigit() else (parsedate_to_datetime(value) - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def without_address(error: HTTPError) -> str:
    """Return an error as a line without the address, whose query is a secret."""
    cause = getattr(error, "reason", None) or error
    said = cause.args[0] if isinstance(cause, ProtocolError) and cause.args else cause
    return re.sub(r"\S*X-Amz-\S*", "...", join_lines(said, 300)) or type(cause).__name__
