"""Between SeaweedFS and Airflow: takes each event of the inbox at once, and tells Airflow of a batch until it listens.

    with relayed(Webhook("http://airflow:8080/sim2edge/inbox/arrived", token)) as hook: ...    SeaweedFS is given `hook`

SeaweedFS posts each object, keeps in memory what is not taken yet, and drops it after four tries: 20 000 files, put
while Airflow hung, made it slow. Here it is answered at once, and one event waits at most: Airflow, when told, looks at
all of the inbox.
"""

import contextlib
import hmac
import http.client
import json
import secrets
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Full, Queue
from typing import Any

from sim2edge.progress import emit
from sim2edge.services.ports import HOST
from sim2edge.services.seaweedfs import Webhook

ANSWER_S = 10.0
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextlib.contextmanager
def relayed(hook: Webhook) -> Iterator[Webhook]:
    """Take events on loopback and pass them on to `hook` until the context ends; yields where to post them."""
    teller = Teller(hook)
    token = secrets.token_urlsafe()
    server = ThreadingHTTPServer((HOST, 0), _handler(teller, token))
    for run in (server.serve_forever, teller.run):
        threading.Thread(target=run, daemon=True).start()
    try:
        yield Webhook(f"http://{HOST}:{server.server_port}/", token)
    finally:
        server.shutdown()
        server.server_close()
        teller.close()


class Teller:
    """Tells Airflow of what arrived, one event after the other, each until it is taken."""

    def __init__(self, hook: Webhook) -> None:
        self._hook = hook
        self._waiting: Queue[dict[str, Any]] = Queue(maxsize=1)
        self._closed = threading.Event()

    def take(self, event: dict[str, Any]) -> None:
        """Keep the event if it completes a batch, and none waits that will have Airflow see this batch, too."""
        if str(event.get("key", "")).endswith("/READY.json"):
            self._put({name: event.get(name) for name in ("event_type", "key")})

    def run(self) -> None:
        """Tell, until closed."""
        while not self._closed.is_set():
            self._tell(self._waiting.get())

    def close(self) -> None:
        """Have `run` end; what waits is left to Airflow's own looks at the inbox."""
        self._closed.set()
        self._put({})  # wakes it

    def _put(self, event: dict[str, Any]) -> None:
        with contextlib.suppress(Full):
            self._waiting.put_nowait(event)

    def _tell(self, event: dict[str, Any]) -> None:
        pause_s, said = FIRST_PAUSE_S, False
        while not self._closed.is_set() and (problem := post(self._hook, event)):
            if not said:
                emit("error", message=f"inbox webhook: {problem}; it is tried until Airflow takes it")
                said = True
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)


def post(hook: Webhook, event: dict[str, Any]) -> str | None:
    """Post an event; what went wrong, None when it was taken."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {hook.token}"}
    request = urllib.request.Request(hook.url, json.dumps(event).encode(), headers)  # noqa: S310 - checked to be http
    try:
        with _direct.open(request, timeout=ANSWER_S):
            return None
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"


def _handler(teller: Teller, token: str) -> type[BaseHTTPRequestHandler]:
    """What answers SeaweedFS, and nobody without the token."""

    class Handler(BaseHTTPRequestHandler):
        timeout = ANSWER_S

        def do_POST(self) -> None:
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                self.send_error(401)
                return
            teller.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: an event for each file would drown the log."""

    return Handler
