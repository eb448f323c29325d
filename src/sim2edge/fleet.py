"""Read the status of devices, for people and pages: `fleet/<device id>/status.json` on the bus.

    read_device(bus, "virtual-pi-1").release

A device writes its own status, so it is treated as untrusted: validated, and limited in size.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from sim2edge.access import DEVICE
from sim2edge.bus import Bus, in_threads
from sim2edge.errors import Corrupt, NotFound

MAX_BYTES = 64 * 1024
RUNNING = "running"
"""State of a device whose release has passed its trial."""
UNREADABLE = "unreadable"
"""State shown for a device whose status is invalid."""

Text = Annotated[str, StringConstraints(max_length=2000)]


class Failure(BaseModel):
    """A release that failed its trial."""

    model_config = ConfigDict(frozen=True)

    release: Text | None = None
    reason: Text = ""


class Device(BaseModel):
    """The status of one device; see docs/data-format.md for its fields."""

    model_config = ConfigDict(frozen=True)

    device: Text
    ring: Text | None = None
    release: Text | None = None
    previous: Text | None = None
    state: Text = "unknown"
    inferences: int = 0
    errors: int = 0
    restarts: int = 0
    latency_ms_p50: float | None = None
    message: Text | None = None
    failure: Failure | None = None
    updated: AwareDatetime | None = None

    @property
    def had(self) -> Sequence[str]:
        """The releases that it reports besides the one that it runs: of the other slot, and of a failed trial."""
        return [each for each in (self.previous, self.failure and self.failure.release) if each]

    def runs(self, release: str) -> bool:
        """Return whether a release has passed its trial on the device and has made inferences."""
        return self.release == release and self.state == RUNNING and self.inferences > 0


def list_devices(bus: Bus) -> Sequence[str]:
    """Return the ids of all devices that ever wrote a status, sorted; one request for each thousand devices."""
    return [name for name in bus.folders("fleet") if DEVICE.fullmatch(f"device-{name}")]


def read_device(bus: Bus, device: str) -> Device:
    """Return the status of a device.

    Raises:
        NotFound: the id is invalid, or it has no status.
        Corrupt: its status is invalid.
    """
    if not DEVICE.fullmatch(f"device-{device}"):
        raise NotFound(f"'{device[:80]}' is not the id of a device: a-z, 0-9 and '-', at most 63")
    key = f"fleet/{device}/status.json"
    content = bus.get(key)
    try:
        if len(content) > MAX_BYTES:
            raise ValueError("too long")
        return Device.model_validate_json(content).model_copy(update={"device": device})
    except (ValidationError, ValueError) as error:
        raise Corrupt(f"{key}: not the status of a device") from error


def read_fleet(bus: Bus, devices: Sequence[str]) -> Sequence[Device]:
    """Return the status of several devices; the state of one whose status is invalid is `UNREADABLE`."""

    def read(device: str) -> Device:
        try:
            return read_device(bus, device)
        except Corrupt as error:
            return Device(device=device, state=UNREADABLE, message=str(error))

    return in_threads(read, devices)
