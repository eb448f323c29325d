"""What a device signs, and what a reader believes of it."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.edge.server.identity import public_of
from sim2edge.enrol.signed_status import (
    MAX_BYTES,
    Forged,
    NotSigned,
    Signed,
    open_envelope,
    parse,
    parse_public_key,
    plain,
    seal,
)
from sim2edge.errors import BadInput

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = public_of(KEY)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def signed(**status: object) -> Signed:
    return Signed(device="pi-1", run="0123456789abcdef", start=1, counter=7, status=status)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_whatever_a_device_says_arrives_as_it_was_signed(status):
    content = seal(KEY, signed(status=status))
    found = open_envelope(parse(content), PUBLIC, "pi-1")
    assert found.status == {"status": plain(status)}
    assert (found.start, found.counter) == (1, 7)


def test_numbers_and_characters_that_json_has_not_are_replaced():
    content = seal(KEY, signed(latency=float("nan"), inf=[float("inf")], message="a\udcffb"))
    assert open_envelope(parse(content), PUBLIC, "pi-1").status == {"latency": None, "inf": [None], "message": "a?b"}


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["signed"].update(counter=8),
        lambda found: found["signed"]["status"].update(release="r9"),
        lambda found: found["signed"].update(device="pi-2"),
        lambda found: found["signed"].update(more=1),
        lambda found: found.update(signature="00" * 64),
        lambda found: found.update(signature=found["signature"][:-2]),
        lambda found: found.update(signature=None),
        lambda found: found.update(signature="zz"),
        lambda found: found.update(signed=[]),
        lambda found: found.update(signed="x"),
    ],
)
def test_what_was_changed_on_the_way_is_forged(change):
    found = json.loads(seal(KEY, signed(release="r1")))
    change(found)
    with pytest.raises(Forged):
        open_envelope(found, PUBLIC, "pi-1")


def test_the_status_of_another_device_or_of_another_key_is_forged():
    found = parse(seal(KEY, signed(release="r1")))
    assert open_envelope(found, PUBLIC, "pi-1")
    with pytest.raises(Forged, match="pi-1"):
        open_envelope(found, PUBLIC, "pi-2")
    with pytest.raises(Forged):
        open_envelope(found, public_of(Ed25519PrivateKey.generate()), "pi-1")


def test_what_was_signed_but_is_no_status_is_forged():
    content = signed().model_copy(update={"counter": -1})
    with pytest.raises(Forged):
        open_envelope(parse(seal(KEY, content)), PUBLIC, "pi-1")


def test_a_status_without_a_signature_is_not_signed():
    with pytest.raises(NotSigned):
        open_envelope(parse(b'{"release": "r1"}'), PUBLIC, "pi-1")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[" * 60_000,
        b'{"a":' * 12_000,
        b'{"a": "' + b"x" * MAX_BYTES + b'"}',
    ],
)
def test_what_is_no_json_object_of_a_reasonable_size_is_refused(content):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever
        parse(content)


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:" + "g" * 64, "ed25519:" + "0" * 63, "rsa:" + "0" * 64])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(BadInput, match="--public-key: not a public key"):
        parse_public_key(text, "--public-key")


def test_a_public_key_is_read_as_keygen_prints_it():
    assert parse_public_key(f"ed25519:{PUBLIC}\n", "x") == PUBLIC
