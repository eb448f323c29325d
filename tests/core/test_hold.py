"""A hold, as it is kept and as people read it."""

from datetime import UTC, datetime

import pytest

from sim2edge.errors import BadInput, Corrupt
from sim2edge.hold import begin, parse

NOW = datetime(2026, 11, 30, 2, 15, tzinfo=UTC)


def test_it_pauses_what_is_active_but_not_what_clears_up():
    hold = begin(" new disks ", "ann", ["train_model", "sim_capture", "reap_containers", "sim_capture"], NOW)
    assert hold.dags == ("sim_capture", "train_model")
    assert str(hold) == "on hold since 2026-11-30 02:15 UTC by ann: new disks"
    assert parse(hold.model_dump_json()) == hold


@pytest.mark.parametrize("reason", ["", "   ", "two\nlines", "x" * 301, "bell \x07"])
def test_the_reason_is_one_line(reason):
    with pytest.raises(BadInput, match="reason: expected one line"):
        begin(reason, "ann", [], NOW)


@pytest.mark.parametrize("text", ["", "{}", "yes", '{"reason": "x", "by": "a", "at": "soon", "dags": []}'])
def test_what_somebody_else_wrote_into_the_variable_is_named(text):
    with pytest.raises(Corrupt, match="Airflow variable sim2edge_hold: "):
        parse(text)
