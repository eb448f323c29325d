"""What devices say of themselves, read from the bus."""

import shutil
from datetime import UTC, datetime, timedelta

import pytest
from signed_devices import SigningDevice

from sim2edge.enrol import register
from sim2edge.enrol.sightings import Word
from sim2edge.errors import NotFound
from sim2edge.fleet import Device, read_device, read_fleet, watch_fleet
from sim2edge.server_clock import read_server_time


@pytest.mark.parametrize(
    ("said", "runs"),
    [
        ({"release": "r1", "state": "running", "inferences": 1}, True),
        ({"release": "r1", "state": "running", "inferences": 0}, False),
        ({"release": "r1", "state": "trial", "inferences": 9}, False),
        ({"release": "r0", "state": "running", "inferences": 9}, False),
        ({}, False),
    ],
)
def test_a_device_runs_a_release_once_that_has_passed_its_trial_and_seen_frames(said, runs):
    assert Device(device="pi-1", **said).runs("r1") is runs


def test_a_device_that_never_spoke_hides_no_other(bus):
    bus.put("fleet/pi-2/status.json", b'{"device": "pi-2", "state": "running", "release": "r1", "inferences": 3}')
    silent, other = read_fleet(bus, ["pi-1", "pi-2"])
    assert (silent.state, silent.runs("r1")) == ("unreadable", False)
    assert other.runs("r1")


@pytest.mark.parametrize("device", ["pi-1", "PI 1", "../pi-1"])
def test_a_device_that_does_not_exist_is_not_found(bus, device):
    with pytest.raises(NotFound):
        read_device(bus, device)


# Who a device is


@pytest.fixture
def pi(bus, tmp_path):
    """An enrolled device."""
    return SigningDevice(bus, tmp_path / "home")


def seen(bus) -> tuple[str, str]:
    """Identity and state of pi-1."""
    device = read_device(bus, "pi-1")
    return str(device.identity), device.state


def test_a_device_without_a_record_is_read_and_shown_as_not_enrolled(bus):
    bus.put(
        "fleet/pi-1/status.json",
        b'{"device": "x", "state": "running", "release": "r1", "identity": "verified", "silent_s": -9}',
    )
    device = read_device(bus, "pi-1")
    assert (device.identity, device.state, device.release) == (Word.NOT_ENROLLED, "running", "r1")
    assert device.silent_s >= 0


def test_the_signed_status_of_an_enrolled_device_counts_and_its_ring_is_the_servers(bus, pi):
    pi.send(ring="stable")
    assert seen(bus) == ("verified", "running")
    device = read_device(bus, "pi-1")
    assert (device.release, device.ring, device.runs("r1"), device.unclear) == ("r1", "canary", True, False)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"device": "pi-1", "state": "running", "release": "r9"}', "unsigned"),
        (b'{"signed": {"status": {}}, "signature": "00"}', "forged"),
        (b'{"signed": {}, "signature": {}}', "forged"),
        (b"", "forged"),
        (b"{" * 65_536, "forged"),
        (b"x" * 10_000_000, "forged"),
    ],
)
def test_of_a_status_that_an_enrolled_device_did_not_sign_nothing_is_believed(bus, pi, content, word):
    pi.send(content)
    device = read_device(bus, "pi-1")
    assert (str(device.identity), device.state) == (word, word)
    assert (device.release, device.ring, device.unclear) == (None, "canary", True)


def test_a_signed_status_that_is_none_is_no_status(bus, pi):
    pi.send(release=["r1"])
    assert seen(bus) == ("forged", "forged")


def test_the_status_of_one_device_is_forged_at_another(bus, pi, tmp_path):
    other = SigningDevice(bus, tmp_path / "other", "pi-2")
    pi.send(other.sign())
    assert seen(bus) == ("forged", "forged")


def test_a_status_that_was_sent_again_is_told_once_the_fleet_is_watched(bus, pi):
    old = pi.send()
    pi.send()
    assert watch_fleet(bus).news == []
    pi.send(old)
    assert seen(bus) == ("replayed", "replayed")
    pi.send()
    assert seen(bus) == ("verified", "running")


def test_a_copied_card_is_noticed_and_told_once(bus, pi, tmp_path):
    shutil.copytree(pi.home, tmp_path / "copy")
    pi.send()
    watch_fleet(bus)
    original = pi.signer
    pi.home = tmp_path / "copy"
    pi.restart()
    pi.send()
    watch_fleet(bus)
    pi.send(original.envelope({"device": "pi-1", "state": "running"}))
    (told,) = watch_fleet(bus).news
    assert (told.device, str(told.identity), told.state) == ("pi-1", "duplicate", "duplicate")
    assert "two devices report with this id" in told.message
    assert told.unclear
    again = watch_fleet(bus)
    assert (again.news, [each.device for each in again.doubtful]) == ([], ["pi-1"])
    assert seen(bus) == ("duplicate", "duplicate")


def test_a_forged_status_is_told_once_and_again_after_it_was_well(bus, pi):
    pi.send(b"{}")
    assert [str(each.identity) for each in watch_fleet(bus).news] == ["unsigned"]
    assert watch_fleet(bus).news == []
    pi.send()
    assert watch_fleet(bus).news == []
    pi.send(b"{}")
    assert [str(each.identity) for each in watch_fleet(bus).news] == ["unsigned"]


def test_a_revoked_device_counts_no_more(bus, pi):
    pi.send()
    register.change(bus, lambda records: register.revoke(records, "pi-1", "lost in the field"))
    device = read_device(bus, "pi-1")
    assert (device.state, device.release, device.ring, device.runs("r1")) == ("revoked", None, None, False)
    assert "lost in the field" in device.message
    assert not device.unclear
    assert watch_fleet(bus).news == []


def test_how_long_a_device_is_silent_is_by_the_servers_clock(bus, pi, monkeypatch):
    pi.send(updated="1970-01-01T00:00:00+00:00")
    assert read_device(bus, "pi-1").silent_s < 60
    later = datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setattr(bus, "server_time", lambda: later)
    assert 3500 < read_device(bus, "pi-1").silent_s < 3700
    monkeypatch.setattr(bus, "server_time", lambda: None)
    assert read_device(bus, "pi-1").silent_s is None


def test_a_dead_device_whose_newest_status_is_sent_again_and_again_falls_silent(bus, pi, monkeypatch):
    sent = pi.send()
    watch_fleet(bus)
    first = read_device(bus, "pi-1").reported
    for minutes in (10, 20, 30):
        monkeypatch.setattr(type(bus), "server_time", lambda _, minutes=minutes: first + timedelta(minutes=minutes))
        pi.send(sent)
        watch_fleet(bus)
        found = read_device(bus, "pi-1")
        assert (found.identity, found.reported) == (Word.VERIFIED, first)
        assert found.silent_s == pytest.approx(60 * minutes)
    pi.send()
    assert read_device(bus, "pi-1").reported > first


def test_a_real_server_says_its_time(s3):
    assert abs(s3.server_time() - datetime.now(UTC)) < timedelta(seconds=60)
    s3.put("fleet/pi-1/status.json", b"")
    content, head = s3.peek("fleet/pi-1/status.json", 10)
    assert (content, head.size) == (b"", 0)
    s3.put("fleet/pi-1/status.json", b"x" * 5_000_000)
    content, head = s3.peek("fleet/pi-1/status.json", 10)
    assert (10 < len(content) < 5_000_000, head.size) == (True, 5_000_000)
    with pytest.raises(NotFound):
        s3.peek("fleet/pi-2/status.json", 10)


def test_a_server_that_is_not_there_says_no_time():
    assert read_server_time("http://127.0.0.1:9") is None
    assert read_server_time("http://[") is None
