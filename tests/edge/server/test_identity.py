"""A device's key, its enrolment, and what it signs."""

import json
import os
import stat
from unittest import mock

import pytest

from sim2edge.edge.server import identity
from sim2edge.edge.server.identity import Signer, add_variables, find_enrolment, make_key, new_key, take_enrolment
from sim2edge.enrol.enrolment_file import Enrolment, write_enrolment
from sim2edge.enrol.signed_status import open_envelope, parse
from sim2edge.errors import BadInput

VARIABLES = {"SIM2EDGE_BUCKET": "b", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(autouse=True)
def environment():
    """What an enrolment adds to the environment goes with the test."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def enrolment(tmp_path, public: str, **fields: object):
    path = tmp_path / "pi-7.enrolment"
    made = Enrolment(device="pi-7", ring="canary", public_key=public, variables=VARIABLES, root='{"signed": 1}')
    write_enrolment(path, made.model_copy(update=fields))
    return path


def test_a_key_is_made_once_and_is_the_owners(home):
    public = make_key(home)
    assert make_key(home) == public
    assert stat.S_IMODE((home / "device.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert "PRIVATE" not in public


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_named_and_stops_no_robot(home, content, capsys):
    make_key(home)
    (home / "device.key").write_bytes(content)
    with pytest.raises(BadInput, match=r"device\.key: not a private key"):
        make_key(home)
    assert json.loads(Signer(home, "pi-7").envelope({"state": "running"})) == {"state": "running"}


def damage(path, how: str) -> None:
    """Make of a file, or of a folder's place, what a failing card may."""
    path.unlink(missing_ok=True)
    {
        "missing": lambda: None,
        "empty": path.touch,
        "torn": lambda: path.write_text('{"device": "pi-'),
        "bytes": lambda: path.write_bytes(b"\xff\x00" * 300_000),
        "pipe": lambda: os.mkfifo(path),
        "folder": lambda: (path / "in").mkdir(parents=True),
    }[how]()


DAMAGES = ["missing", "empty", "torn", "bytes", "pipe", "folder"]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["enrolment.json", "enrolment.copy.json", "device.key", "starts"])
def test_whatever_becomes_of_one_file_an_enrolled_device_still_knows_who_it_is(home, tmp_path, name, how):
    file = enrolment(tmp_path, make_key(home), ring="stable")
    assert identity.identify(home, file, None, None) == ("pi-7", "stable")
    Signer(home, "pi-7")
    damage(home / name, how)
    assert identity.identify(home, None, None, None) == ("pi-7", "stable")
    Signer(home, "pi-7").envelope({})
    assert identity.identify(home, file, None, None) == ("pi-7", "stable")
    damage(file, how)
    assert identity.identify(home, file, "pi-7", None) == ("pi-7", "stable")
    assert find_enrolment(home).device == "pi-7"


@pytest.mark.parametrize("how", ["missing", "torn", "folder"])
def test_with_all_of_it_lost_a_device_that_ran_goes_on_by_its_command_line_or_nameless(home, tmp_path, how):
    file = enrolment(tmp_path, make_key(home))
    take_enrolment(home, file)
    Signer(home, "pi-7")
    for path in (*(home / each for each in identity.ENROLMENTS), home / "device.key", file):
        damage(path, how)
    assert identity.identify(home, file, "pi-7", "stable") == ("pi-7", "stable")
    assert identity.identify(home, file, None, None) == ("nameless", "canary")
    assert "enrolment.json: lost, and its copy" in Signer(home, "nameless").fault
    with pytest.raises(BadInput, match=r"--id is missing, and .* holds no valid enrolment"):
        identity.identify(tmp_path / "new", None, None, None)


def test_the_enrolment_names_a_device_that_ran_and_lost_its_key_and_the_status_says_so(home, tmp_path):
    file = enrolment(tmp_path, make_key(home))
    take_enrolment(home, file)
    assert Signer(home, "pi-7").fault == ""
    (home / "device.key").unlink()
    for name in identity.ENROLMENTS:
        (home / name).write_text("{")
    assert identity.identify(home, file, None, None) == ("pi-7", "canary")
    (home / "enrolment.json").write_bytes(file.read_bytes())
    assert "device.key: not the key that was enrolled" in Signer(home, "pi-7").fault


def test_a_mistake_in_a_new_home_is_one_line_and_leaves_nothing(home, tmp_path):
    with pytest.raises(BadInput, match="cannot read the enrolment"):
        identity.identify(home, tmp_path / "typo", "pi-7", None)
    (tmp_path / "none").write_text("none")
    with pytest.raises(BadInput, match="not an enrolment"):
        identity.identify(home, tmp_path / "none", "pi-7", None)
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_root_makes_in_the_home_of_an_installed_device_is_that_devices(home):
    home.mkdir(mode=0o700)
    os.chown(home, 1234, 1234)
    public = make_key(home)
    assert ((home / "device.key").stat().st_uid, (home / "device.key").stat().st_gid) == (1234, 1234)
    os.chown(home / "device.key", 0, 0)
    assert make_key(home) == public
    assert (home / "device.key").stat().st_uid == 1234


def test_an_enrolment_that_is_there_already_writes_nothing(home, tmp_path, monkeypatch):
    private, public = new_key()
    file = enrolment(tmp_path, public, private_key=private)
    take_enrolment(home, file)

    def fail(*_: object) -> None:
        raise OSError(30, "read-only file system")

    monkeypatch.setattr(identity, "write_durably", fail)
    assert identity.identify(home, file, None, None) == ("pi-7", "canary")
    assert identity.identify(tmp_path / "other", file, None, None) == ("pi-7", "canary")


def test_each_status_is_signed_and_counted_through_restarts_whatever_the_clock_says(home, monkeypatch):
    monkeypatch.setattr(identity.time, "time", lambda: 5.0)
    public = make_key(home)
    found = []
    for _ in range(2):
        signer = Signer(home, "pi-7")
        found += [open_envelope(parse(signer.envelope({"state": "running"})), public, "pi-7") for _ in range(2)]
    assert [(each.start, each.counter) for each in found] == [(5, 1), (5, 2), (6, 1), (6, 2)]
    assert len({each.run for each in found}) == 2


def test_without_a_key_a_status_is_plain(home):
    home.mkdir()
    assert json.loads(Signer(home, "pi-7").envelope({"latency": float("nan")})) == {"latency": None}
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_still_signs(home, monkeypatch):
    public = make_key(home)
    first = identity.count_start(home)

    def fail(*_: object) -> None:
        raise OSError(30, "read-only file system")

    monkeypatch.setattr(identity, "write_durably", fail)
    for _ in range(2):
        signed = open_envelope(parse(Signer(home, "pi-7").envelope({})), public, "pi-7")
        assert signed.start >= first


def test_a_device_that_lost_the_count_of_its_starts_or_got_an_older_card_counts_on(home, monkeypatch):
    make_key(home)
    monkeypatch.setattr(identity.time, "time", lambda: 1_800_000_000.7)
    assert identity.count_start(home) == 1_800_000_000
    assert identity.count_start(home) == 1_800_000_001
    for content in ("", "57\n"):
        (home / "starts").write_text(content)
        monkeypatch.setattr(identity.time, "time", lambda: 1_800_000_010.0)
        assert identity.count_start(home) == 1_800_000_010


@pytest.mark.parametrize("content", ["", "x", "-3", "9" * 5000])
def test_a_damaged_count_of_starts_is_no_obstacle(home, content):
    make_key(home)
    (home / "starts").write_text(content)
    Signer(home, "pi-7").envelope({})


def test_an_enrolment_that_brings_the_key_makes_a_device(home, tmp_path):
    private, public = new_key()
    taken = take_enrolment(home, enrolment(tmp_path, public, private_key=private))
    assert (taken.device, taken.ring) == ("pi-7", "canary")
    assert make_key(home) == public
    assert (home / "root.json").read_text() == '{"signed": 1}'
    assert stat.S_IMODE((home / "enrolment.json").stat().st_mode) == 0o600
    assert "PRIVATE" not in (home / "enrolment.json").read_text()
    assert find_enrolment(home) == taken
    environment: dict[str, str] = {}
    add_variables(taken, environment)
    assert environment == VARIABLES
    own = {"AWS_ACCESS_KEY_ID": "mine"}
    add_variables(taken, own)
    assert own == {"AWS_ACCESS_KEY_ID": "mine"}


def test_an_enrolment_for_the_key_that_the_device_made_leaves_it(home, tmp_path):
    public = make_key(home)
    take_enrolment(home, enrolment(tmp_path, public))
    assert make_key(home) == public


def test_the_root_that_a_device_trusts_is_not_replaced(home, tmp_path):
    public = make_key(home)
    (home / "root.json").write_text("trusted")
    take_enrolment(home, enrolment(tmp_path, public))
    assert (home / "root.json").read_text() == "trusted"


def test_an_enrolment_of_another_key_or_device_is_refused_and_changes_nothing(home, tmp_path):
    with pytest.raises(BadInput, match="made for another key"):
        take_enrolment(home, enrolment(tmp_path, "0" * 64))
    with pytest.raises(BadInput, match="private_key: not the one of public_key"):
        take_enrolment(home, enrolment(tmp_path, "0" * 64, private_key=new_key()[0]))
    assert find_enrolment(home) is None
    public = make_key(home)
    take_enrolment(home, enrolment(tmp_path, public))
    with pytest.raises(BadInput, match=r"is for pi-8, and .* is that of pi-7"):
        take_enrolment(home, enrolment(tmp_path, public, device="pi-8"))
    assert find_enrolment(home).device == "pi-7"


def test_who_a_device_is_comes_from_its_enrolment_else_from_the_command_line(home, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    for name in VARIABLES:
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    assert identity.identify(home, None, "pi-7", None) == ("pi-7", "canary")
    with pytest.raises(BadInput, match="--id is missing"):
        identity.identify(home, None, None, "canary")
    public = make_key(home)
    file = enrolment(tmp_path, public, ring="stable")
    assert identity.identify(home, file, None, None) == ("pi-7", "stable")
    assert identity.identify(home, None, "pi-7", "canary") == ("pi-7", "canary")
    with pytest.raises(BadInput, match=r"--id 'pi-8': .* is enrolled as pi-7"):
        identity.identify(home, None, "pi-8", None)
