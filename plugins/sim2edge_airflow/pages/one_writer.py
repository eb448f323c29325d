"""Let Airflow's API server make one change at a time where its database is SQLite: middleware of the API server.

Airflow 3.3 logs users' changes to its database from the event loop, and waits there for SQLite's only lock. If another
request of the same server holds the lock at that moment, it cannot commit: its end needs the event loop. Both stand
until the wait times out, and so does every other request; Airflow then fails a task that ends meanwhile, although it
succeeded. With one change at a time, no request holds the lock while another waits for it. Reads pass: in SQLite's
write-ahead mode readers wait for nobody.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
OWN = "/sim2edge/"
"""Our own pages: their routes run in threads, and open sessions of their own."""


class OneWriter:
    """ASGI middleware around Airflow's API."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, a change once the one before is committed."""
        if scope["type"] != "http" or scope["method"] not in CHANGES or OWN in scope["path"]:
            await self.app(scope, receive, send)
            return
        async with self._turn:
            await self.app(scope, receive, send)


def is_needed(connection: str) -> bool:
    """Return whether the database of this SQLAlchemy address has one writer at a time."""
    return connection.startswith("sqlite")
