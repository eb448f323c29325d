"""Fetch TUF metadata and targets for the TUF client from the bus or a mirror of it.

    Updater(metadata_base_url="ota/metadata/", fetcher=BusFetcher(origin), ...)

A URL is an object's key. The client limits lengths; reading stops at the limit, so an object fits into memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from typing import IO, Protocol

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient import FetcherInterface

from sim2edge.errors import BadInput, Corrupt, Unavailable


class Origin(Protocol):
    """Where a device reads `ota/`: the bus itself, or over HTTP (`mirror.py`)."""

    def stream(self, key: str, start: int = 0) -> Iterator[bytes]:
        """Yield an object's content from byte `start` on; raises `Missing`, `BadInput` or `Unavailable`."""


class BusFetcher(FetcherInterface):
    """Fetches objects of an origin and maps errors to those the TUF client expects."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def _fetch(self, url: str) -> Iterator[bytes]:
        chunks = self._chunks(url)
        return chain([next(chunks, b"")], chunks)  # read the first chunk eagerly, so that a missing object fails here

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Fetch an object into memory: the base class takes a file in /tmp, which may be on a card that takes nothing.

        Raises:
            DownloadLengthMismatchError: it is longer than `max_length` bytes.
            DownloadError: see `FetcherInterface`.
        """
        content = BytesIO()
        for chunk in self.fetch(url):
            if content.tell() + len(chunk) > max_length:
                raise DownloadLengthMismatchError(f"{url}: longer than the {max_length} bytes allowed")
            content.write(chunk)
        content.seek(0)
        yield content

    def _chunks(self, key: str) -> Iterator[bytes]:
        try:
            yield from self._origin.stream(key)
        except Corrupt as error:
            raise DownloadHTTPError(str(error), 404) from error
        except BadInput as error:
            raise DownloadHTTPError(str(error), 403) from error
        except Unavailable as error:
            raise DownloadError(str(error)) from error


def asked_wait_s(error: BaseException | None) -> float:
    """Return the seconds for which the server asked to be left alone, from an error or what caused it; 0: none."""
    while error is not None:
        if isinstance(error, Unavailable) and error.retry_after_s:
            return error.retry_after_s
        error = error.__cause__
    return 0.0
