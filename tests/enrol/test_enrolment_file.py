"""The file that carries an enrolment to the device."""

import json
import stat

import pytest

from sim2edge.enrol.enrolment_file import Enrolment, read_enrolment, write_enrolment
from sim2edge.errors import BadInput

MADE = Enrolment(
    device="pi-7",
    ring="canary",
    public_key="0" * 64,
    private_key="secret",
    variables={"SIM2EDGE_BUCKET": "b", "AWS_SECRET_ACCESS_KEY": "secret"},
)


def test_it_is_for_its_owner_only_and_shows_no_secret(tmp_path):
    write_enrolment(tmp_path / "pi-7.enrolment", MADE)
    assert read_enrolment(tmp_path / "pi-7.enrolment") == MADE
    assert stat.S_IMODE((tmp_path / "pi-7.enrolment").stat().st_mode) == 0o600
    assert "secret" not in repr(MADE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"device": "Pi 7"}, "device: not an enrolment"),
        ({"ring": None}, "ring: not an enrolment"),
        ({"public_key": "0"}, "public_key: not an enrolment"),
        ({"more": 1}, "more: not an enrolment"),
        ({"variables": {"LD_PRELOAD": "x"}}, "variables.LD_PRELOAD: not one of"),
        ({"root": "x" * 300_000}, "not an enrolment"),
    ],
)
def test_a_file_that_is_no_enrolment_is_refused_with_its_field(tmp_path, change, reason):
    path = tmp_path / "pi-7.enrolment"
    path.write_text(json.dumps(MADE.model_dump() | change))
    with pytest.raises(BadInput, match=reason) as caught:
        read_enrolment(path)
    assert "secret" not in str(caught.value)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot read the enrolment"):
        read_enrolment(tmp_path / "none")
