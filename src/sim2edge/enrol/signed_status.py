"""Sign and verify the status of a device: `{"signed": {...}, "signature": "<hex>"}`, Ed25519 over canonical JSON.

    content = seal(private_key, signed)             on the device
    signed = open_envelope(content, public_key)     on the server

`signed` holds, beside the status, the device's id, the number of its start, a random id of that run, and a counter: by
them a status that is sent again later is distinguished from a new one (`sightings.py`).
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from sim2edge.errors import BadInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_BYTES = 64 * 1024
"""The largest status that is read, bytes."""
PREFIX = "ed25519:"
PUBLIC_KEY = re.compile(PREFIX + r"([0-9a-f]{64})")
LARGEST = 2**53

Count = Annotated[int, Field(ge=0, lt=LARGEST, strict=True)]


class NotSigned(ValueError):
    """The status carries no signature."""


class Forged(ValueError):
    """The status is not signed by the device's key, or not for this device."""


class Signed(BaseModel):
    """What a device signs."""

    model_config = ConfigDict(frozen=True)

    device: Annotated[str, StringConstraints(max_length=63)]
    run: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    """Random id of this run of the agent."""
    start: Count
    """Number of the agent's start: larger than the last one's, and at least its Unix time in seconds."""
    counter: Count
    """How many statuses this run has signed."""
    status: dict[str, Any]


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: sorted names, no spaces, UTF-8.

    Raises:
        ValueError: it contains a number or a character that JSON has not.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def plain(value: Any) -> Any:
    """Return a value with what JSON has not replaced: numbers that are none by null, halves of characters by `?`."""
    if isinstance(value, Mapping):
        return {plain(str(name)): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def seal(key: "Ed25519PrivateKey", signed: Signed) -> bytes:
    """Return the envelope of a status, signed."""
    content = plain(signed.model_dump(mode="python"))
    signature = key.sign(canonical(content)).hex()
    return canonical({"signed": content, "signature": signature})


def parse(content: bytes) -> dict[str, Any]:
    """Parse what a device wrote, signed or not, as untrusted input.

    Raises:
        ValueError: it is too large, or not a JSON object.
    """
    if len(content) > MAX_BYTES:
        raise ValueError("too long")
    found = from_json(content, allow_inf_nan=False)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def is_envelope(found: Mapping[str, Any]) -> bool:
    """Return whether a parsed status is, or claims to be, signed."""
    return "signed" in found and "signature" in found


def status_of(found: Mapping[str, Any]) -> Any:
    """Return the status in what a device wrote, signed or not, without verifying it."""
    inside = found["signed"] if is_envelope(found) else {"status": found}
    return inside.get("status") if isinstance(inside, Mapping) else None


def open_envelope(found: Mapping[str, Any], public_key: str, device: str) -> Signed:
    """Return what a parsed envelope holds, its signature verified.

    Args:
        found: see `parse`.
        public_key: 64 hexadecimal digits.
        device: the device whose status it is.

    Raises:
        NotSigned: it is no envelope.
        Forged: the signature is not that of the key, or it was signed for another device.
    """
    if not is_envelope(found):
        raise NotSigned("not signed")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        data, signature = canonical(found["signed"]), bytes.fromhex(found["signature"])
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, data)
        signed = Signed.model_validate(found["signed"])
    except (InvalidSignature, ValidationError, ValueError, TypeError, RecursionError) as error:
        raise Forged("not signed by the key of this device") from error
    if signed.device != device:
        raise Forged(f"signed for device {signed.device}")
    return signed


def parse_public_key(text: str, where: str) -> str:
    """Return the 64 hexadecimal digits of `ed25519:<digits>`, as `sim2edge device keygen` prints it.

    Raises:
        BadInput: it is not a public key; `where` says whose.
    """
    match = PUBLIC_KEY.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{where}: not a public key: expected the line {PREFIX}<64 digits> of `sim2edge device keygen`")
    return match[1]


def key_id(public_key: str) -> str:
    """Return the short name of a public key, for people."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:8]
