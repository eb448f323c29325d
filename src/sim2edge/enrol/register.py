"""Keep the register of enrolled devices: `devices/register.json`, which only the admin writes.

    records = read_register(bus)                                    device to record
    change(bus, lambda records: enrol(records, "pi-7", record))     by compare-and-swap

A record has the public key by which the device's status is verified, and the ring that it belongs to.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, ValidationError

from sim2edge.bus import Bus
from sim2edge.enrol.names import RING
from sim2edge.errors import BadInput, Conflict, Corrupt, NotFound

REGISTER = "devices/register.json"
TRIES = 8

Records = Mapping[str, "Record"]
Text = Annotated[str, StringConstraints(max_length=300)]


class Record(BaseModel):
    """What the server knows of a device."""

    model_config = ConfigDict(frozen=True)

    public_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    ring: Annotated[str, StringConstraints(pattern=f"^{RING}$")]
    enrolled: AwareDatetime
    revoked: AwareDatetime | None = None
    reason: Text = ""
    """Why it was revoked."""


class Register(BaseModel):
    """The content of the register."""

    devices: dict[str, Record] = {}


def read_register(bus: Bus) -> Records:
    """Return the records of all enrolled devices; none if there is no register.

    Raises:
        Corrupt: the register is invalid.
    """
    return _read(bus)[0]


def _read(bus: Bus) -> tuple[dict[str, Record], str | None]:
    found = bus.get_tagged(REGISTER)
    if found is None:
        return {}, None
    try:
        return Register.model_validate_json(found[0]).devices, found[1]
    except (ValidationError, ValueError) as error:
        raise Corrupt(f"{REGISTER}: not a register of devices") from error


def change(bus: Bus, action: Callable[[Records], Records]) -> Records:
    """Replace the register by the result of `action`, which is called again after a lost race; return it.

    Raises:
        Conflict: other writers won every race.
    """
    for last in (False,) * (TRIES - 1) + (True,):
        before, tag = _read(bus)
        after = action(before)
        content = Register(devices=dict(sorted(after.items()))).model_dump(mode="json")
        try:
            bus.put(REGISTER, json.dumps(content, indent=1).encode(), only_new=tag is None, if_tag=tag)
        except Conflict:
            if last:
                raise
        else:
            return after
    raise AssertionError("unreachable")


def enrol(records: Records, device: str, public_key: str, ring: str, *, replace: bool = False) -> Records:
    """Return the register with one more device.

    Raises:
        BadInput: the device is enrolled or was revoked, and is not to be replaced; or another has its key.
    """
    if (known := records.get(device)) and not replace:
        how = f"was revoked on {known.revoked:%Y-%m-%d}" if known.revoked else f"is enrolled, in ring {known.ring}"
        raise BadInput(f"device {device} {how}: --replace enrols it anew, with a new key and new credentials")
    for name, record in records.items():
        if record.public_key == public_key and name != device:
            raise BadInput(f"device {device}: {name} has this public key: run `sim2edge device keygen` on {device}")
    return {**records, device: Record(public_key=public_key, ring=ring, enrolled=_now())}


def move(records: Records, device: str, ring: str) -> Records:
    """Return the register with a device in another ring.

    Raises:
        NotFound: it is not enrolled.
        BadInput: it was revoked.
    """
    record = _find(records, device)
    if record.revoked:
        raise BadInput(f"device {device} was revoked: `sim2edge device enrol --replace` enrols it anew")
    return {**records, device: record.model_copy(update={"ring": ring})}


def revoke(records: Records, device: str, reason: str) -> Records:
    """Return the register with a device that counts no more; a second time changes nothing.

    Raises:
        NotFound: it is not enrolled.
    """
    record = _find(records, device)
    if record.revoked:
        return records
    return {**records, device: record.model_copy(update={"revoked": _now(), "reason": reason})}


def _find(records: Records, device: str) -> Record:
    if device not in records:
        raise NotFound(f"device {device}: not enrolled: `sim2edge device list` names the devices")
    return records[device]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def assignments(records: Records) -> dict[str, str]:
    """Return device to ring of those that are not revoked: what is signed for the devices."""
    return {device: record.ring for device, record in sorted(records.items()) if not record.revoked}
