"""The register of devices: who is in it, in which ring, and who is in it no more."""

import pytest

from sim2edge.enrol import register
from sim2edge.enrol.assignments import bin_of, files
from sim2edge.errors import BadInput, Conflict, Corrupt, NotFound

KEY, OTHER = "0" * 64, "1" * 64


def test_a_device_is_enrolled_moved_and_revoked(bus):
    assert register.read_register(bus) == {}
    register.change(bus, lambda records: register.enrol(records, "pi-1", KEY, "canary"))
    register.change(bus, lambda records: register.enrol(records, "pi-2", OTHER, "canary"))
    register.change(bus, lambda records: register.move(records, "pi-2", "stable"))
    records = register.read_register(bus)
    assert register.assignments(records) == {"pi-1": "canary", "pi-2": "stable"}
    register.change(bus, lambda records: register.revoke(records, "pi-1", "lost"))
    records = register.read_register(bus)
    assert records["pi-1"].reason == "lost"
    assert register.revoke(records, "pi-1", "again") == records
    assert register.assignments(records) == {"pi-2": "stable"}


def test_an_enrolled_device_is_replaced_only_on_purpose():
    records = register.enrol({}, "pi-1", KEY, "canary")
    with pytest.raises(BadInput, match="pi-1 is enrolled, in ring canary: --replace enrols"):
        register.enrol(records, "pi-1", OTHER, "canary")
    with pytest.raises(BadInput, match=r"pi-1 was revoked on .*--replace"):
        register.enrol(register.revoke(records, "pi-1", "lost"), "pi-1", OTHER, "canary")
    assert register.enrol(records, "pi-1", OTHER, "stable", replace=True)["pi-1"].ring == "stable"


def test_two_devices_may_not_have_one_key():
    records = register.enrol({}, "pi-1", KEY, "canary")
    with pytest.raises(BadInput, match="device pi-2: pi-1 has this public key"):
        register.enrol(records, "pi-2", KEY, "canary")


def test_who_is_not_enrolled_is_neither_moved_nor_revoked():
    for action in (lambda: register.move({}, "pi-1", "stable"), lambda: register.revoke({}, "pi-1", "lost")):
        with pytest.raises(NotFound, match="pi-1: not enrolled"):
            action()
    revoked = register.revoke(register.enrol({}, "pi-1", KEY, "canary"), "pi-1", "lost")
    with pytest.raises(BadInput, match="was revoked"):
        register.move(revoked, "pi-1", "stable")


def test_of_two_admins_at_once_neither_loses_an_entry(bus):
    def enrol_late(records):
        if "pi-2" not in records:  # the other admin is faster
            register.change(bus, lambda found: register.enrol(found, "pi-2", OTHER, "canary"))
        return register.enrol(records, "pi-1", KEY, "canary")

    assert set(register.change(bus, enrol_late)) == {"pi-1", "pi-2"}


def test_an_admin_who_loses_every_race_is_told(bus, monkeypatch):
    def lose(*_: object, **__: object) -> None:
        raise Conflict("changed by another writer")

    monkeypatch.setattr(bus, "put", lose)
    with pytest.raises(Conflict):
        register.change(bus, lambda records: records)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"devices": {"pi-1": {}}}', b'{"devices": {"pi-1": {"ring": "A"}}}'])
def test_a_damaged_register_stops_readers(bus, content):
    bus.put(register.REGISTER, content)
    with pytest.raises(Corrupt, match="not a register of devices"):
        register.read_register(bus)


def test_each_device_has_its_ring_in_one_small_target():
    rings = {f"pi-{number}": "canary" for number in range(200)}
    found = files(rings)
    assert set(found) == {f"devices/{digit}.json" for digit in "0123456789abcdef"}
    assert all(f'"{device}"'.encode() in found[bin_of(device)] for device in rings)
    assert files({}) == {}
