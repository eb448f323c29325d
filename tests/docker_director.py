"""Tells the stand-ins for stages in containers what to do, over HTTP (`docker/stage/sim2edge.py`)."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Director:
    """`director(clean="bad input")` says how stages behave; `director.go()` lets those that wait go on."""

    def __init__(self, host: str) -> None:
        self.told: dict[str, Any] = {}
        self()
        director = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(director.told[self.path.strip("/")]).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __call__(self, **how: str) -> None:
        """Every stage commits, but for those that are named."""
        self.told = {"behaviours": how, "go": False}

    def go(self) -> None:
        """Let those that wait go on."""
        self.told["go"] = True

    def close(self) -> None:
        self._server.shutdown()
