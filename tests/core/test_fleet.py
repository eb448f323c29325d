"""What devices say of themselves, read from the bus."""

import pytest

from sim2edge.errors import NotFound
from sim2edge.fleet import Device, read_device, read_fleet


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
