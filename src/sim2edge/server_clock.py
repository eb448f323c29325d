"""Ask an HTTP server for its time: the `Date` of its answer, whatever the answer is.

    now = read_server_time("http://127.0.0.1:8333")        None: it does not answer, or says no time

What a server wrote down by its own clock, such as when an object was last written, is compared with this time: neither
the clock of a device nor the reader's is involved.
"""

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

PATIENCE_S = 5.0


def read_server_time(endpoint: str) -> datetime | None:
    """Return the time of the server at `endpoint`, to the second; None if it cannot be asked."""
    try:
        parts = urlsplit(endpoint)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE_S)
        try:
            connection.request("HEAD", "/")
            said = connection.getresponse().getheader("Date")
        finally:
            connection.close()
        return parsedate_to_datetime(said).astimezone(UTC) if said else None
    except (OSError, ssl.SSLError, HTTPException, ValueError):
        return None
