"""What the pages say of a stage that failed: its line, the way to its log, and no more once it has been made good."""

from datetime import UTC, datetime

import pytest
from airflow import settings
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import DagRunState
from airflow_runs import add_run, add_task
from sqlalchemy import update


def test_the_cell_of_a_failed_stage_says_its_line_and_leads_to_the_error_in_its_log(visitor):
    run = add_run("data_cleaning", "night-0002", DagRunState.FAILED)
    add_task("data_cleaning", run, "clean", "failed", {"failed": {"reason": "lab-7.0001: <b>no</b> depth image"}})
    log = f"/dags/data_cleaning/runs/{run}/tasks/clean?log_level=error&amp;log_level=critical"
    page = visitor.get("/sim2edge/flywheel?text=night-0002").text
    assert 'title="clean: failed. lab-7.0001: &lt;b&gt;no&lt;/b&gt; depth image"' in page
    assert f'href="{log}" target="_top"' in page
    assert f'href="/dags/data_cleaning/runs/{run}" target="_top" title="the run of data_cleaning' in page
    assert 'href="/sim2edge/batches/night-0002#drives"' in page
    assert 'id="drives"' in visitor.get("/sim2edge/batches/night-0002").text
    tab = visitor.get(f"/sim2edge/runs/data_cleaning/{run}").text
    assert "lab-7.0001: &lt;b&gt;no&lt;/b&gt; depth image" in tab
    assert f'href="{log}"' in tab


@pytest.mark.parametrize("said", [None, "text", {"reason": None}, {"reason": {"a": 1}}, ["x"]])
def test_a_failure_that_left_no_line_refers_to_its_log(visitor, said):
    run = add_run("data_cleaning", "night-0002", DagRunState.FAILED)
    add_task("data_cleaning", run, "clean", "failed", {"return_value": "x"} if said is None else {"failed": said})
    assert 'title="clean: failed. see its log"' in visitor.get("/sim2edge/flywheel?text=night-0002").text


def test_the_tab_of_a_run_names_what_was_not_run_and_why(visitor):
    run = add_run("train_model", "night-0003", DagRunState.FAILED)
    add_task("train_model", run, "augment", "failed", {"failed": {"reason": "no frames left"}})
    add_task("train_model", run, "train", "upstream_failed", {"return_value": "x"})
    page = visitor.get(f"/sim2edge/runs/train_model/{run}").text
    assert '<span class="tag upstream_failed">⇢ upstream failed</span>' in page
    assert "not run: augment failed" in page
    assert "no frames left" in page


def test_failures_are_found_by_stage_and_no_longer_once_they_are_made_good(visitor):
    run = add_run("train_model", "night-0005", DagRunState.FAILED)
    add_task("train_model", run, "train", "failed", {"return_value": "x"})
    for query, count in (("stage=train", 1), ("stage=clean", 0), ("stage=", 1)):
        assert f"{count} batch" in visitor.get(f"/sim2edge/flywheel?state=failed&{query}&text=night-0005").text
    with settings.engine.begin() as connection:
        long_ago = {"end_date": datetime(2025, 12, 31, tzinfo=UTC), "start_date": datetime(2025, 12, 31, tzinfo=UTC)}
        connection.execute(update(TaskInstance.__table__).where(TaskInstance.run_id == run).values(**long_ago))
    assert "0 batch" in visitor.get("/sim2edge/flywheel?state=failed&text=night-0005").text
