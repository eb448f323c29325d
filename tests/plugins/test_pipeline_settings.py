"""The settings of a training are read once: an edit of the pipeline file changes the next run, not this one."""

from datetime import timedelta

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from sim2edge_airflow.operators.pipeline_settings import PipelineSettings
from sim2edge_airflow.operators.stage_operator import StageOperator

FIVE = timedelta(minutes=5)
TEXT = "stages: {{train: {{timeout_minutes: 5, overrides: [epochs={}]}}}}"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pipeline.yml"
    path.write_text(TEXT.format(3))
    return path


def make_tasks(file):
    with DAG("frozen"):
        settings = PipelineSettings(task_id="settings", pipeline=file)
        return settings, StageOperator(stage="train", overrides=settings.output["train"], execution_timeout=FIVE)


class Pushed:
    """The XComs of a task that has returned a dict, by key, as Airflow pushes them."""

    def __init__(self, operator, returned):
        self.values = {"return_value": returned, **(returned if operator.multiple_outputs else {})}

    def xcom_pull(self, task_ids, key, default, map_indexes):
        return self.values.get(key, default)


def test_an_edit_after_the_first_task_does_not_reach_the_run(file):
    settings, train = make_tasks(file)
    pushed = Pushed(settings, settings.execute({}))
    file.write_text(TEXT.format(99))
    assert train.overrides.resolve({"ti": pushed}) == ["epochs=3"]
    assert settings.execute({}) == {"train": ["epochs=99"]}, "the next run has the new ones"


def test_the_stage_waits_for_the_settings(file):
    _, train = make_tasks(file)
    assert train.upstream_task_ids == {"settings"}


def test_a_mistake_made_meanwhile_fails_the_run_with_the_field_and_is_not_retried(file):
    settings, _ = make_tasks(file)
    file.write_text("stages: {train: {timeout_minutes: 5, epochs: 9}}")
    with pytest.raises(AirflowFailException, match=r"pipeline\.yml: stages\.train\.epochs: Extra inputs"):
        settings.execute({})
