"""Takes the webhooks of an S3 server: what a test looks at afterwards."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """A server on loopback, and what was posted to it."""

    url: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The header `Authorization` and the body of each."""
    refusals: list[int] = field(default_factory=list)
    """What the next posts are answered, one each; then all are taken."""
    answers: threading.Event = field(default_factory=threading.Event)
    """Cleared, it hangs: takes posts and answers none."""


@contextmanager
def receive_webhooks() -> Iterator[Receiver]:
    """Run a receiver until the context ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.events.append((self.headers["Authorization"], json.loads(body)))
            receiver.answers.wait()
            self.send_response(receiver.refusals.pop(0) if receiver.refusals else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}/arrived")
    receiver.answers.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        server.shutdown()
        server.server_close()
