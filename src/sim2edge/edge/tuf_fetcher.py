"""Fetch TUF metadata and targets for the TUF client straight from the bus.

    Updater(metadata_base_url="ota/metadata/", fetcher=BusFetcher(bus), ...)

A URL is an object's key. The client limits lengths and stops reading at the limit.
"""

from collections.abc import Iterator
from itertools import chain

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Corrupt, Unavailable


class BusFetcher(FetcherInterface):
    """Fetches objects of the bus and maps errors to those the TUF client expects."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def _fetch(self, url: str) -> Iterator[bytes]:
        chunks = self._chunks(url)
        return chain([next(chunks, b"")], chunks)  # read the first chunk eagerly, so that a missing object fails here

    def _chunks(self, key: str) -> Iterator[bytes]:
        try:
            yield from self._bus.stream(key)
        except Corrupt as error:
            raise DownloadHTTPError(str(error), 404) from error
        except BadInput as error:
            raise DownloadHTTPError(str(error), 403) from error
        except Unavailable as error:
            raise DownloadError(str(error)) from error
