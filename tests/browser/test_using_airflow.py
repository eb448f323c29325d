"""What people do in Airflow's pages: log in, start a batch, fill in days gone by, do a stage again."""

import json

from airflow_pages import log_in, run_page
from airflow_stack import wait_for
from playwright.sync_api import expect


def open_trigger_form(page, dag):
    page.goto(f"/dags/{dag}")
    page.get_by_role("button", name="Trigger").first.click()
    return page.get_by_role("dialog").first


def pick_date(page, form, date):
    """Fill in the first date that is not chosen yet."""
    form.get_by_text("Select date and time").first.click()
    box = page.get_by_placeholder("YYYY/MM/DD").last
    box.fill(date)
    box.press("Enter")
    page.keyboard.press("Escape")


def test_a_wrong_password_is_refused_and_the_right_one_opens_the_home_page(visit, airflow):
    page = visit(None)
    log_in(page, "admin", "not the password")
    expect(page.get_by_text("Invalid credentials")).to_be_visible()
    log_in(page, "admin", airflow.password("admin"))
    page.wait_for_url(f"{airflow.url}/")
    expect(page.get_by_role("link", name="Dags")).to_be_visible()


def test_a_batch_is_started_by_its_name(visit, airflow, keep):
    page = visit("admin")
    form = open_trigger_form(page, "sim_capture")
    form.locator("#element_batch").fill("lab-7")
    keep(page, "trigger")
    form.get_by_role("button", name="Trigger", exact=True).click()
    page.wait_for_url("**/runs/manual__*")
    expect(page.get_by_text("lab-7").first).to_be_visible()
    run = airflow.run("sim_capture", "lab-7")
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    page.reload()
    expect(page.get_by_text("Success").first).to_be_visible()
    assert airflow.run("data_cleaning", "lab-7"), "the next DAG follows by itself"


def test_days_gone_by_are_filled_in(visit, airflow, keep):
    page = visit("admin")
    form = open_trigger_form(page, "sim_capture")
    form.get_by_text("Backfill", exact=True).click()
    pick_date(page, form, "2026/01/01")
    pick_date(page, form, "2026/01/03")
    expect(form.get_by_text("3 runs will be triggered.")).to_be_visible()
    form.get_by_role("spinbutton").first.fill("2")
    overrides = form.get_by_placeholder("Enter each string on a new line")
    overrides.fill("capture.episodes=3")
    overrides.press("Tab")
    # Without this, Airflow's form sends no params at all, also for runs that are new.
    form.get_by_text("Override parameters on existing runs").click()
    expect(form.get_by_role("checkbox", name="Override parameters on existing runs")).to_be_checked()
    form.get_by_text("Date Range").scroll_into_view_if_needed()
    keep(page, "backfill")
    form.get_by_role("button", name="Advanced Options").click()
    expect(form.get_by_role("code").first).to_contain_text("capture.episodes=3")
    form.get_by_role("button", name="Run Backfill").click()
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        run = airflow.run("sim_capture", day)
        assert run.startswith("backfill__")
        assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
        assert airflow.outcome("sim_capture", run, "capture"), "Airflow writes the fields anew after the task has ended"
        rendered = airflow.client.tasks("sim_capture", run)["capture"]["rendered_fields"]
        assert "episodes=3" in json.dumps(rendered["overrides"])
    (backfill,) = airflow.call("GET", "backfills?dag_id=sim_capture")["backfills"]
    assert (backfill["max_active_runs"], backfill["dag_run_conf"]["overrides"]) == (2, ["capture.episodes=3"])


def test_a_stage_and_what_follows_is_done_again(visit, airflow, batch, keep):
    run = airflow.run("train_model", batch)
    page = visit("admin")
    page.goto(f"{run_page('train_model', run)}/tasks/train")
    page.get_by_role("button", name="Press shift+c to clear").click()
    form = page.get_by_role("dialog").first
    expect(form.get_by_role("button", name="Affected Tasks: 3")).to_be_visible()
    expect(form.get_by_role("cell", name="validate")).to_be_visible()
    keep(page, "redo")
    form.get_by_role("button", name="Confirm").click()

    def both_again():
        tasks = airflow.client.tasks("train_model", run)
        return all(
            (tasks[task]["state"], tasks[task]["try_number"]) == ("success", 2) for task in ("train", "validate")
        )

    wait_for(both_again, "another try of both")
    tasks = airflow.client.tasks("train_model", run)
    assert tasks["augment"]["try_number"] == 1, "what comes before is left alone"
    assert airflow.outcome("train_model", run, "train").startswith("cached")


def test_a_run_shows_its_batch_and_its_tasks(visit, airflow, batch, keep):
    page = visit("admin")
    page.goto(run_page("train_model", airflow.run("train_model", batch)))
    for text in (batch, "augment", "train", "validate"):
        expect(page.get_by_text(text).first).to_be_visible()
    keep(page, "run")
