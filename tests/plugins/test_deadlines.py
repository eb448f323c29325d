"""A batch is late some hours after it was queued; how many is the deployment's to say."""

from datetime import timedelta

from sim2edge_airflow.alerts.deadlines import QueuedAt, late_batch

RUNBOOK = "### d: does\n\n**When it fails**: look.\n\nOwner: data engineering."


def test_the_clock_starts_when_a_run_is_queued_and_the_owner_is_told(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__LATE_AFTER_HOURS", "1.5")
    deadline = late_batch(RUNBOOK)
    assert deadline.interval == timedelta(minutes=90)
    assert deadline.reference == QueuedAt()
    assert deadline.callback.path == "sim2edge_airflow.alerts.report.report_late"
    assert deadline.callback.kwargs == {"owner": "data engineering", "when_it_fails": "look."}


def test_no_batch_is_late_where_nobody_wants_to_know(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__LATE_AFTER_HOURS", "0")
    assert late_batch(RUNBOOK) is None
