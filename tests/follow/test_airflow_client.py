"""The client of Airflow's API against a server that answers as Airflow does when SQLite is locked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sim2edge.errors import Unavailable
from sim2edge.follow import airflow_client
from sim2edge.follow.airflow_client import AirflowClient

LOCKED = {"detail": {"reason": "Database error", "statement": "hidden"}}
BROKEN = {"detail": {"reason": "Something else"}}


@pytest.fixture
def airflow(monkeypatch):
    """`airflow(answers) -> (client, asked)`: a server that gives these (status, body) in turn after the login."""
    monkeypatch.setattr(airflow_client, "BUSY_S", 0.01)
    servers = []

    def serve(*answers: tuple[int, dict]):
        left, asked = [(201, {"access_token": "t"}), *answers], []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append(self.path)
                status, body = left.pop(0)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return AirflowClient(f"http://127.0.0.1:{server.server_port}", "user", "secret"), asked

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_locked_database_is_asked_again(airflow):
    client, asked = airflow((500, LOCKED), (500, LOCKED), (200, {"dag_run_id": "r1"}))
    assert client.trigger("sim_capture", "b", {}) == "r1"
    assert len(asked) == 4


def test_any_other_error_is_told_at_once(airflow):
    client, asked = airflow((500, BROKEN), (200, {"dag_run_id": "r1"}))
    with pytest.raises(Unavailable, match=r"Airflow answered 500 .*Something else"):
        client.trigger("sim_capture", "b", {})
    assert len(asked) == 2


def test_a_database_that_stays_locked_is_told_in_the_end(airflow):
    client, _ = airflow(*[(500, LOCKED)] * airflow_client.BUSY_TRIES)
    with pytest.raises(Unavailable, match="Database error"):
        client.trigger("sim_capture", "b", {})
