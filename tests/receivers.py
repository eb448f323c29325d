"""What alerts are sent to: a webhook and a mail server, real ones on loopback, that behave as they are told."""

import contextlib
import email
import email.policy
import http.server
import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any


class Webhook:
    """An HTTP receiver. `answers` are the status codes it gives one after another, the last one for ever."""

    def __init__(self, *answers: int, delay_s: float = 0.0) -> None:
        self.answers = list(answers or (200,))
        self.delay_s = delay_s
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    def answer(self) -> int:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @contextlib.contextmanager
    def listening(self) -> Iterator["Webhook"]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                time.sleep(receiver.delay_s)
                self.send_response(receiver.answer())
                self.send_header("Content-Length", "0")
                with contextlib.suppress(BrokenPipeError):
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/hooks/T0KEN-of-the-channel"
        yield from serving(server, self)


class MailServer:
    """An SMTP server that keeps what it is sent; with `refuse`, it takes no recipient."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.mails: list[email.message.EmailMessage] = []
        self.receivers: list[str] = []
        self.port = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator["MailServer"]:
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 ready")
                while line := self.rfile.readline().decode().strip():
                    word = line.split(":")[0].split()[0].upper()
                    if word == "DATA":
                        self.say("354 go on")
                        receiver.keep(list(iter(self.rfile.readline, b".\r\n")))
                    if word == "RCPT":
                        receiver.receivers.append(line.partition(":")[2].split()[0].strip("<>"))
                    self.say("550 nobody here" if word == "RCPT" and receiver.refuse else "250 ok")

            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        yield from serving(server, self)

    def keep(self, lines: list[bytes]) -> None:
        self.mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))

    @property
    def connection(self) -> str:
        """As `AIRFLOW_CONN_SMTP_DEFAULT` names it."""
        extra = {"from_email": "sim2edge@example.com", "disable_ssl": True, "disable_tls": True}
        return json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": self.port, "extra": extra})


def serving(server: socketserver.BaseServer, receiver: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
