"""Devices are enrolled, moved, revoked: by their keys on a real S3 server, and by what they find signed."""

import errno
import json
import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_requests import client, refused

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.edge.server.identity import Signer, make_key, take_enrolment
from sim2edge.enrol.enrolment_file import read_enrolment
from sim2edge.enrol.register import read_register
from sim2edge.fleet import read_device
from sim2edge.push.config import PushConfig
from sim2edge.push.keys import KeyFolder
from sim2edge.push.repository import Repository
from sim2edge.services.role_files import read_keys
from sim2edge.services.seaweedfs import write_roles
from sim2edge.stack import device_commands

DEADLINE_S = 10


@pytest.fixture
def reload(s3_server, monkeypatch) -> Callable[..., None]:
    """Lets the S3 server read its role files again, as the local stack's does when it is notified."""

    def tell(*_: object) -> None:
        write_roles(s3_server.roles.parent, read_keys(s3_server.roles), s3_server.bucket)
        os.kill(s3_server.pid, signal.SIGHUP)

    monkeypatch.setattr(device_commands, "tell_server", tell)
    return tell


@pytest.fixture
def admin(s3, s3_server, reload, tmp_path, monkeypatch) -> Bus:
    """The bus of an admin who has the role files and the signing keys, and works in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIM2EDGE_CREDENTIALS", str(s3_server.roles))
    monkeypatch.setenv("SIM2EDGE_KEYS", str(tmp_path / "keys"))
    for folder in ("ota", "fleet", "devices"):  # of other tests on this server
        s3.delete(s3.list(folder))
    Repository(s3, KeyFolder(tmp_path / "keys"), PushConfig()).create()
    yield s3
    for path in s3_server.roles.glob("device-pi-*.env"):
        path.unlink()
    reload()


def run(*words: str) -> int:
    return cli.main(["device", *words])


def may_report(environment: dict[str, str], device: str) -> bool:
    """Whether keys may write a status; False also while the server does not know them yet."""
    mine = client(environment)
    return not refused(lambda: mine.put_object(Bucket="sim2edge", Key=f"fleet/{device}/status.json", Body=b"{}"))


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def signed_rings(bus: Bus) -> dict[str, str]:
    found: dict[str, str] = {}
    names = list(bus.list("ota/targets/devices"))
    current = Repository(bus, KeyFolder(Path(os.environ["SIM2EDGE_KEYS"])), PushConfig()).current()
    for path, target in current.targets.signed.targets.items():
        assert f"ota/targets/{target.get_prefixed_paths()[0]}" in names
        found |= json.loads(bus.get(f"ota/targets/{target.get_prefixed_paths()[0]}")) if "devices/" in path else {}
    return found


def test_the_life_of_an_enrolment(admin, tmp_path, capsys):
    assert run("enrol", "--id", "pi-7", "--ring", "canary") == 0
    assert "enrolled in ring canary" in capsys.readouterr().out
    file = tmp_path / "pi-7.enrolment"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert signed_rings(admin) == {"pi-7": "canary"}

    home = tmp_path / "home"
    keys = take_enrolment(home, file).variables
    assert until(lambda: may_report(keys, "pi-7"))
    assert not may_report(keys, "pi-8")
    assert refused(lambda: client(keys).put_object(Bucket="sim2edge", Key="devices/register.json", Body=b"{}"))
    assert (home / "root.json").read_bytes() == (tmp_path / "keys" / "root.json").read_bytes()
    status = {"device": "pi-7", "state": "running", "release": "r1", "inferences": 1}
    admin.put("fleet/pi-7/status.json", Signer(home, "pi-7").envelope(status))
    assert read_device(admin, "pi-7").identity == "verified"

    assert run("enrol", "--id", "pi-7", "--file", "other") == 2
    assert "pi-7 is enrolled, in ring canary: --replace" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert may_report(keys, "pi-7")

    assert run("move", "pi-7", "--ring", "stable") == 0
    assert signed_rings(admin) == {"pi-7": "stable"}

    assert run("revoke", "pi-7", "--reason", "lost in the field") == 0
    assert "the S3 server refuses its keys" in capsys.readouterr().out
    assert until(lambda: not may_report(keys, "pi-7"))
    assert signed_rings(admin) == {}
    assert read_device(admin, "pi-7").state == "revoked"

    assert run("enrol", "--id", "pi-7", "--replace") == 0
    again = read_enrolment(file)
    assert until(lambda: may_report(again.variables, "pi-7"))
    assert not may_report(keys, "pi-7")
    assert again.public_key != make_key(home)
    admin.put("fleet/pi-7/status.json", Signer(home, "pi-7").envelope(status))
    assert read_device(admin, "pi-7").identity == "forged"  # the lost device's key

    assert run("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = [row for row in rows if row["device"] == "pi-7"]  # the server may list empty folders of other tests
    assert (row["device"], row["identity"], row["ring"]) == ("pi-7", "forged", "canary")


def test_a_key_that_the_device_made_never_leaves_it(admin, tmp_path, capsys):
    assert run("keygen", "--home", str(tmp_path / "home")) == 0
    printed = capsys.readouterr().out
    (tmp_path / "pi-9.pub").write_text(printed)
    assert run("enrol", "--id", "pi-9", "--public-key", "pi-9.pub") == 0
    assert read_enrolment(tmp_path / "pi-9.enrolment").private_key is None
    assert "PRIVATE" not in (tmp_path / "pi-9.enrolment").read_text()
    assert take_enrolment(tmp_path / "home", tmp_path / "pi-9.enrolment").device == "pi-9"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["enrol", "--id", "Pi_7"], "device 'Pi_7': expected"),
        (["enrol", "--id", "pi-7", "--ring", "A"], "ring"),
        (["enrol", "--id", "pi-7", "--public-key", "none.pub"], "none.pub: cannot read the public key"),
        (["enrol", "--id", "pi-7", "--public-key", ""], "--public-key: empty"),
        (["enrol", "--id", "pi-7", "--public-key", "/dev/zero"], "/dev/zero: .* not a regular file"),
        (["enrol", "--id", "pi-7", "--file", "/proc/x"], "/proc/x: cannot write the enrolment: no such file"),
        (
            ["enrol", "--id", "pi-7", "--file", "/dev/null/x"],
            "/dev/null/x: cannot write the enrolment: file exists",
        ),
        (["enrol", "--id", "pi-7", "--public-key", "ed25519:7"], "--public-key: not a public key"),
        (["enrol", "--id", "pi-7", "--credentials", "nowhere"], "nowhere: no role files: .* --secrets FILE"),
        (["enrol", "--id", "pi-7", "--endpoint", "s3.example"], "--endpoint 's3.example': expected"),
        (["move", "pi-7", "--ring", "stable"], "pi-7: not enrolled"),
        (["revoke", "pi-7", "--reason", "x"], "pi-7: not enrolled"),
        (["revoke", "pi-7", "--reason", " "], "--reason: missing"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(admin, tmp_path, s3_server, capsys, words, line):
    before = sorted(tmp_path.iterdir())
    assert run(*words) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(line, said)
    assert read_register(admin) == {}
    assert sorted(tmp_path.iterdir()) == before
    assert not list(s3_server.roles.glob("device-pi-7.env"))


def test_a_device_keeps_its_keys_if_the_new_enrolment_cannot_be_written(admin, tmp_path, monkeypatch, capsys):
    """The file has the only copy of the new private key: without it nobody would be the device."""
    assert run("enrol", "--id", "pi-7") == 0
    keys = take_enrolment(tmp_path / "home", tmp_path / "pi-7.enrolment").variables
    assert until(lambda: may_report(keys, "pi-7"))
    before = read_register(admin)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert run("enrol", "--id", "pi-7", "--replace") == 2
    assert "pi-7.enrolment: cannot write the enrolment: no space left" in capsys.readouterr().err
    assert read_register(admin) == before
    assert may_report(keys, "pi-7")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert read_enrolment(tmp_path / "pi-7.enrolment").variables == keys


def test_where_another_server_has_the_keys_they_are_given_and_their_end_is_explained(admin, tmp_path, capsys):
    (tmp_path / "iam.env").write_text("AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY=secret-of-iam\n")
    elsewhere = ["--credentials", str(tmp_path / "none")]
    assert run("enrol", "--id", "pi-7", "--secrets", "iam.env", "--endpoint", "https://s3.example", *elsewhere) == 0
    found = read_enrolment(tmp_path / "pi-7.enrolment").variables
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_ENDPOINT_URL"]) == ("AKIA", "https://s3.example")
    assert run("revoke", "pi-7", "--reason", "sold", *elsewhere) == 0
    assert "aws iam delete-access-key --user-name device-pi-7" in capsys.readouterr().out


def test_without_the_signing_keys_the_ring_is_signed_by_the_next_refresh(admin, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("SIM2EDGE_KEYS")
    assert run("enrol", "--id", "pi-7") == 0
    assert "signed by the next `sim2edge ota refresh`" in capsys.readouterr().out
    assert run("revoke", "pi-7", "--reason", "sold") == 0
    assert "pi-7: out of its ring: the rings of the devices are signed by the next" in capsys.readouterr().out
    assert run("enrol", "--id", "pi-7", "--replace") == 0
    capsys.readouterr()
    monkeypatch.setenv("SIM2EDGE_KEYS", str(tmp_path / "keys"))
    assert cli.main(["ota", "refresh"]) == 0
    assert signed_rings(admin) == {"pi-7": "canary"}
    assert "rings of devices" in capsys.readouterr().out
    assert cli.main(["ota", "refresh"]) == 0
    assert "rings of devices" not in capsys.readouterr().out
