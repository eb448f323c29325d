"""How the TUF client reads the repository: straight from the bus.

    Updater(metadata_base_url="ota/metadata/", fetcher=BusFetcher(bus), ...)

An address is an object's key. Lengths are limited by the client, which stops reading at the limit.
"""

from collections.abc import Iterator
from itertools import chain

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Corrupt, Unavailable


class BusFetcher(FetcherInterface):
    """Fetches objects of the bus, with the errors the TUF client knows."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def _fetch(self, url: str) -> Iterator[bytes]:
        chunks = self._chunks(url)
        return chain([next(chunks, b"")], chunks)  # the first chunk now, so that what is missing is told at once

    def _chunks(self, key: str) -> Iterator[bytes]:
        try:
            yield from self._bus.stream(key)
        except Corrupt as error:
            raise DownloadHTTPError(str(error), 404) from error
        except BadInput as error:
            raise DownloadHTTPError(str(error), 403) from error
        except Unavailable as error:
            raise DownloadError(str(error)) from error
