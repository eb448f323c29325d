"""Which watcher a deployment's settings make; what a queue's message does."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from airflow.sdk import Asset

from sim2edge.errors import BadInput
from sim2edge_airflow.assets import watched

ARRIVED = Asset("inbox_arrived")


def triggers():
    return [watcher.trigger for watcher in watched(ARRIVED).watchers]


def test_it_looks_every_five_seconds_by_default():
    (trigger,) = triggers()
    assert trigger.serialize() == (
        "sim2edge_airflow.scheduling.bus_trigger.BusTrigger",
        {"look": "arrivals", "poll_s": 5.0, "remind_s": 60.0},
    )
    assert (watched(ARRIVED).name, watched(ARRIVED).uri) == (ARRIVED.name, ARRIVED.uri)


def test_with_zero_nobody_looks(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__INBOX_POLL_SECONDS", "0")
    assert triggers() == []


@pytest.mark.parametrize("said", ["soon", "-1", "0.1", "nan", "inf", "86400", ""])
def test_a_wrong_number_is_named(monkeypatch, said):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__INBOX_POLL_SECONDS", said)
    with pytest.raises(BadInput, match=r"\[sim2edge\] inbox_poll_seconds: "):
        triggers()


class Queue(BaseHTTPRequestHandler):
    """An SQS queue with one message, which is gone once it is deleted."""

    messages: ClassVar[list[dict]] = []
    asked: ClassVar[list[str]] = []

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        action = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.asked.append(action)
        answer = {"Messages": list(self.messages)} if action == "ReceiveMessage" else {"Successful": [], "Failed": []}
        if action == "DeleteMessageBatch":
            self.messages.clear()
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_message_of_the_queue_is_an_event(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Queue)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    Queue.messages[:] = [{"MessageId": "1", "ReceiptHandle": "r", "Body": '{"Records": []}'}]
    Queue.asked.clear()
    for name, value in {
        "AIRFLOW__SIM2EDGE__INBOX_QUEUE": f"{url}/000000000000/inbox",
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    (trigger,) = triggers()

    async def first():
        return await asyncio.wait_for(anext(trigger.run()), 30)

    try:
        event = asyncio.run(first())
    finally:
        server.shutdown()
        server.server_close()
    assert event.payload["status"] == "success"
    assert Queue.asked == ["ReceiveMessage", "DeleteMessageBatch"]
