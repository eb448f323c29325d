"""`sim2edge trigger` and `sim2edge airflow`: what they refuse before and after Airflow is asked."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sim2edge import cli
from sim2edge.stack.client import Stack
from sim2edge.stack.settings import StackSettings

DETAIL = "The Dag with ID: `nosuch` was not found"


class Answers(BaseHTTPRequestHandler):
    """An API that knows one DAG, which is paused, once it has been asked which it knows."""

    asked: list[dict[str, Any]]
    known: list[dict[str, Any]] = []  # noqa: RUF012 (one of each server, see `asked`)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body | {"path": self.path, "token": self.headers["Authorization"]})
        known = "/sim_capture/" in self.path and bool(self.known)
        self.reply(200 if known else 404, {"dag_run_id": "run-1"} if known else {"detail": DETAIL})

    def do_GET(self) -> None:
        if "?" not in self.path:
            return self.reply(200, {"is_paused": True})
        self.reply(200, {"dags": list(self.known)})
        self.known.append({"dag_id": "sim_capture", "is_paused": True})
        return None

    def reply(self, code: int, content: dict[str, Any]) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """What another Airflow is asked, whose address and token are in the environment."""
    found: list[dict[str, Any]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Of", (Answers,), {"asked": found, "known": []})) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("SIM2EDGE_HOME", str(tmp_path / "no-stack"))
        monkeypatch.setenv("SIM2EDGE_AIRFLOW_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("SIM2EDGE_AIRFLOW_TOKEN", "token-of-theirs")
        yield found
        server.shutdown()


def test_a_run_of_another_airflow_has_batch_preset_and_settings(
    asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "trigger",
        "sim_capture",
        "--partition",
        "lab-7",
        "--preset",
        "demo",
        "--replace",
        "clean.width=64",
        "clean.height=48",
    ]
    assert cli.main(words) == 0
    (body,) = asked
    assert body["partition_key"] == "lab-7"
    assert body["conf"] == {"preset": "demo", "overrides": ["clean.width=64", "clean.height=48"], "replace": True}
    assert body["token"] == "Bearer token-of-theirs"
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("/dags/sim_capture/runs/run-1")
    assert said[1] == "sim_capture is paused: the run waits until it is unpaused"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nosuch"], f"nosuch: {DETAIL}"),
        (["sim_capture", "--partition", "Lab 7"], "partition 'Lab 7': expected 1 to 63"),
        (["sim_capture", "--partition", "lab-7", "width=64"], "'width=64': expected stage.key=value"),
        (["sim_capture", "--partition", "lab-7", "clean.width"], "override 'clean.width': expected key=value"),
    ],
)
def test_what_is_refused_is_one_line(
    asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert cli.main(["trigger", *words]) == 2
    assert says in capsys.readouterr().err
    assert all(body["path"].endswith("/nosuch/dagRuns") for body in asked)


@pytest.fixture
def here(settings: StackSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands look for the stack of this test."""
    monkeypatch.setenv("SIM2EDGE_HOME", str(settings.home))
    for name in ("SIM2EDGE_AIRFLOW_URL", "SIM2EDGE_AIRFLOW_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("words", [["airflow", "dags", "list"], ["trigger", "sim_capture", "--partition", "lab-7"]])
@pytest.mark.usefixtures("here")
def test_without_a_stack_or_without_airflow_in_it_the_command_says_so(
    stack: Stack, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert cli.main(words) == 75
    assert "the stack does not run: start it with `sim2edge up`" in capsys.readouterr().err
    stack.start()
    assert cli.main(words) == 2
    assert "the running stack has no Airflow" in capsys.readouterr().err


def test_airflow_without_words_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["airflow"]) == 2
    assert cli.main(["airflow", "--help"]) == 0
    assert "sim2edge airflow backfill create" in capsys.readouterr().out
