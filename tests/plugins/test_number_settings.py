"""A setting that is a number is one, and in its range, or is named in one line."""

import pytest
from airflow.sdk import Asset

from sim2edge.errors import BadInput
from sim2edge_airflow.alerts.deadlines import late_batch
from sim2edge_airflow.number_settings import read_number
from sim2edge_airflow.operators.register_operator import RegisterOperator
from sim2edge_airflow.operators.release_approval import ApproveRelease

READERS = {
    "late_after_hours": lambda: late_batch(""),
    "release_approval_hours": lambda: ApproveRelease(task_id="approve", release=None),
    "inbox_overdue_minutes": lambda: RegisterOperator(task_id="register", outlet=Asset("delivery"), starts="d"),
}


@pytest.mark.parametrize("said", ["", "soon", "nan", "inf", "1e300", "-2"])
@pytest.mark.parametrize("name", READERS)
def test_a_wrong_number_is_named_by_whoever_reads_it(monkeypatch, name, said):
    monkeypatch.setenv(f"AIRFLOW__SIM2EDGE__{name.upper()}", said)
    with pytest.raises(BadInput, match=rf"^\[sim2edge\] {name}: '{said}': expected a number from "):
        READERS[name]()


@pytest.mark.parametrize(("said", "number"), [("0", 0.0), ("0.5", 0.5), ("2", 2.0), (" 1e1 ", 10.0)])
def test_a_number_in_its_range_is_taken(monkeypatch, said, number):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__INBOX_POLL_SECONDS", said)
    assert read_number("inbox_poll_seconds", 0.5, 10, or_zero=True) == number
