"""`sim2edge s3 serve`: what it opens to others, that it learns of new roles, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from s3_requests import client, refused

from sim2edge import cli
from sim2edge.errors import EXIT_RETRY
from sim2edge.private_files import write_private
from sim2edge.services.role_files import add_role, init_roles, read_variables, rotate_role

HOST = "127.0.0.2"
"""Stands for the address that others reach: not the loopback address of the internal ports."""

STATS = "AWS_ACCESS_KEY_ID=of-a-stage\nAWS_SECRET_ACCESS_KEY=that-was-removed\n"


@dataclass
class Serving:
    """A server that runs as a command."""

    process: subprocess.Popen[str]
    roles: Path
    port: int
    home: Path

    def said(self, event: str) -> dict:
        """Wait until it has said so."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{") and json.loads(line)["event"] == event:
                return dict(json.loads(line))
        raise AssertionError(f"it ended without saying '{event}'")

    def environment(self, role: str) -> dict[str, str]:
        found = {"AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}", "AWS_REGION": "us-east-1"}
        return found | read_variables(self.roles, role)

    def parts(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def serving(
    tmp_path: Path,
    free_range: Callable[[int], int],
    left_behind: Callable[[Path], list[psutil.Process]],
) -> Iterator[Serving]:
    roles, port, home = tmp_path / "credentials", free_range(10), tmp_path / "home"
    init_roles(roles, ["pi-1"])
    add_role(roles, "producer-farm")
    write_private(roles / "stats.env", STATS)
    write_private(roles / "device-pi-0.env", "AWS_ACCESS_KEY_ID=half-writ")
    command = [sys.executable, "-m", "sim2edge", "s3", "serve", "--home", str(home), "--host", HOST]
    command += ["--port", str(port), "--credentials", str(roles), "--bucket", "fleet"]
    command += ["--inbox-webhook", "http://127.0.0.1:9/arrived"]  # as a manifest of an earlier version may say
    foreign = {"AWS_ACCESS_KEY_ID": "somebody-elses", "AWS_SECRET_ACCESS_KEY": "somebody-elses-secret"}
    with subprocess.Popen(
        command, env=os.environ | foreign, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield Serving(process, roles, port, home)
        process.kill()
    deadline = time.monotonic() + 10
    while left_behind(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(home) == []


@pytest.mark.slow
def test_a_day_of_the_server(serving: Serving, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["s3", "check", "--port", str(serving.port), "--credentials", str(serving.roles), "--bucket", "fleet"]
    assert cli.main(check) == EXIT_RETRY
    assert "--inbox-webhook has no effect any more" in serving.said("error")["message"]
    assert "stats.env: left out" in serving.said("warning")["message"]
    assert "device-pi-0.env: AWS_SECRET_ACCESS_KEY is missing" in serving.said("error")["message"]
    assert serving.said("ready")["bucket"] == "fleet"
    assert cli.main(check) == 0

    listening = {c.laddr for p in serving.parts() for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    others = {address.port for address in listening if address.ip != "127.0.0.1"}
    assert others == {serving.port, serving.port + 1}  # S3, and its gRPC, which wants a certificate

    foreign = {"AWS_ACCESS_KEY_ID": "somebody-elses", "AWS_SECRET_ACCESS_KEY": "somebody-elses-secret"}
    assert refused(lambda: client(serving.environment("admin") | foreign).list_objects_v2(Bucket="fleet"))

    device = client(serving.environment("device-pi-1"))
    device.put_object(Bucket="fleet", Key="fleet/pi-1/status.json", Body=b"{}")
    assert refused(lambda: device.put_object(Bucket="fleet", Key="fleet/pi-2/status.json", Body=b"{}"))

    producer = client(serving.environment("producer-farm"))
    producer.put_object(Bucket="fleet", Key="inbox/farm.1/monday/a.mcap", Body=b"a log")
    producer.put_object(Bucket="fleet", Key="inbox/farm.1/READY.json", Body=b"{}", IfNoneMatch="*")
    for key in ("inbox/farm-2.1/READY.json", "inbox/farm.1/x.txt", "episodes/farm.1/x.mcap", "registered/farm.1.json"):
        assert refused(lambda key=key: producer.put_object(Bucket="fleet", Key=key, Body=b"{}"))
    assert refused(lambda: producer.get_object(Bucket="fleet", Key="fleet/pi-1/status.json"))

    write_private(serving.roles / "heat.env", STATS)
    assert "heat.env: left out" in serving.said("warning")["message"]  # the other is not warned of again
    add_role(serving.roles, "device-pi-2")
    assert serving.said("roles")["changed"] == ["device-pi-2"]
    rotate_role(serving.roles, "device-pi-1")
    assert serving.said("roles")["changed"] == ["device-pi-1"]
    time.sleep(0.5)
    client(serving.environment("device-pi-2")).put_object(Bucket="fleet", Key="fleet/pi-2/status.json", Body=b"{}")
    assert refused(lambda: device.put_object(Bucket="fleet", Key="fleet/pi-1/status.json", Body=b"{}"))
    client(serving.environment("device-pi-1")).put_object(Bucket="fleet", Key="fleet/pi-1/status.json", Body=b"{}")

    keys_of_pi_2 = serving.environment("device-pi-2")
    write_private(serving.roles / "device-pi-2.env", "half a li")  # whole at once: the server may look at any time
    assert "device-pi-2.env, line 1" in serving.said("error")["message"]
    rotate_role(serving.roles, "device-pi-1")
    assert serving.said("roles")["changed"] == ["device-pi-1"]  # the others go on, and it keeps its keys
    time.sleep(0.5)
    client(serving.environment("device-pi-1")).put_object(Bucket="fleet", Key="fleet/pi-1/status.json", Body=b"{}")
    removed = client(keys_of_pi_2)
    removed.put_object(Bucket="fleet", Key="fleet/pi-2/status.json", Body=b"{}")
    (serving.roles / "device-pi-2.env").unlink()
    assert serving.said("roles")["changed"] == ["device-pi-2"]
    time.sleep(0.5)
    assert refused(lambda: removed.put_object(Bucket="fleet", Key="fleet/pi-2/status.json", Body=b"{}"))

    serving.process.send_signal(signal.SIGTERM)
    assert serving.said("stopped")
    assert serving.process.wait(15) == 0


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_part_dies_the_whole_ends_and_says_which(serving: Serving, victim: int) -> None:
    serving.said("ready")
    serving.parts()[victim].kill()
    assert "ended with code -9" in serving.said("error")["message"]
    assert serving.process.wait(20) == EXIT_RETRY


def test_without_role_files_it_does_not_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["s3", "serve", "--home", str(tmp_path), "--credentials", str(tmp_path / "none")]) == 2
    assert "create the role files with `sim2edge access init`" in capsys.readouterr().err
