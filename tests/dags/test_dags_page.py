"""docs/dags.md says what the DAGs are, as they are now."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "dags_page.py"


def test_the_page_is_current():
    answer = subprocess.run([sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture
def page():
    spec = importlib.util.spec_from_file_location("dags_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_dag_shows_what_starts_it_what_it_makes_and_how_its_tasks_end(page, dagbag):
    cleaning = page.describe(dagbag.dags["data_cleaning"])
    for line in (
        "## data_cleaning: a batch's episodes become frames",
        "| starts | on `episodes` |",
        "| updates | `frames` |",
        "| late | 12 h after it was queued |",
        "**When it fails**:",
    ):
        assert line in cleaning
    assert "| 2 h | 2 | " in cleaning
    assert "Owner:" not in cleaning, "it is in the table"


def test_the_picture_goes_from_asset_to_asset(page, dagbag):
    picture = page.picture(dagbag.dags.values())
    assert "sim_capture --> episodes([episodes])" in picture
    assert "episodes([episodes]) --> data_cleaning" in picture


def test_a_hint_is_dotted_and_a_cron_is_named(page):
    from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable

    when = CronTriggerTimetable("*/5 * * * *", timezone="UTC")
    dag = DAG("watch", schedule=AssetOrTimeSchedule(timetable=when, assets=[Asset("a") | Asset("b")]))
    assert list(page.starts(dag)) == [("a", "-.->"), ("b", "-.->")]
    assert page.schedule(dag) == "cron `*/5 * * * *`; on `a`; on `b`"
    assert page.schedule(DAG("by_hand", schedule=None)) == "by hand"
