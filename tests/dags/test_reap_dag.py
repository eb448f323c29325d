"""The DAG that removes lost containers: there where stages run in containers, and nowhere else."""

from datetime import timedelta
from pathlib import Path

import pytest

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture
def reaper(dagbag, monkeypatch):
    """The DAG as a deployment with containers has it."""
    from airflow.dag_processing.dagbag import DagBag

    assert "reap_containers" not in dagbag.dags
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", "docker")
    bag = DagBag(str(DAGS / "reap_containers_dag.py"))
    assert bag.import_errors == {}
    return bag.dags["reap_containers"]


def test_it_explains_itself_and_belongs_to_someone(reaper):
    assert reaper.doc_md.strip().startswith("### reap_containers:")
    for part in ("**By hand**", "**When it fails**", "Owner:"):
        assert part in reaper.doc_md
    assert reaper.description
    assert reaper.catchup is False


def test_its_task_ends_is_retried_and_goes_first(reaper):
    (task,) = reaper.tasks
    assert task.execution_timeout == timedelta(minutes=5)
    assert task.retries >= 1
    assert task.priority_weight > 1
    assert task.pool_slots == 1
    assert task.doc_md
