"""A pipeline file says how stages run; a mistake in it names the file and the field."""

from datetime import timedelta
from pathlib import Path

import pytest

from sim2edge.errors import BadInput
from sim2edge_airflow.scheduling.pipeline_file import read_pipeline

TRAIN_MODEL = Path(__file__).parents[2] / "dags" / "train_model.yml"


def test_the_training_recipe_can_be_read():
    pipeline = read_pipeline(TRAIN_MODEL)
    assert list(pipeline.stages) == ["augment", "train", "validate"]
    assert all(stage.task_arguments()["execution_timeout"] > timedelta(minutes=1) for stage in pipeline.stages.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: [", r"pipeline\.yml: not YAML"),
        ("stages: {train: {}}", r"pipeline\.yml: stages\.train\.timeout_minutes: Field required"),
        ("stages: {train: {timeout_minutes: .inf}}", r"pipeline\.yml: stages\.train\.timeout_minutes: .*less than"),
        ("stages: {train: {timeout_minutes: !!bool x}}", r"pipeline\.yml: not YAML"),
        ("stages: {train: {timeout_minutes: 5, retries: yes}}", r"stages\.train\.retries: .* not true or false"),
        ("stages: {train: {timeout_minutes: 1:30}}", r"pipeline\.yml: not YAML: '1:30' would be a sexagesimal number"),
        ("stages: {train: {timeout_minutes: 5}, train: {timeout_minutes: 6}}", r"not YAML: 'train' is a duplicate key"),
        ("stages: {train: {timeout_minutes: 5, retries: 0}}", r"pipeline\.yml: stages\.train\.retries: .*greater than"),
        (
            "stages: {train: {timeout_minutes: 5, retries: 99999999999999999999}}",
            r"stages\.train\.retries: .*less than",
        ),
        ("stages: {train: {timeout_minutes: 5, slots: 99999999999999999999}}", r"stages\.train\.slots: .*less than"),
        ("{max_active_runs: 99999999999999999999, stages: {}}", r"max_active_runs: .*less than"),
        ("stages: {train: {timeout_minutes: 5, epochs: 9}}", r"pipeline\.yml: stages\.train\.epochs: Extra inputs"),
        ("stages: {train: {timeout_minutes: 5, overrides: [x]}}", r"pipeline\.yml: .*override 'x': expected key=value"),
    ],
)
def test_a_mistake_names_file_and_field(tmp_path, text, message):
    path = tmp_path / "pipeline.yml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_pipeline(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {train: {timeout_minutes: 5}}", r"pipeline\.yml: stages\.validate: Field required"),
        ("stages: {}", r"pipeline\.yml: stages\.train: Field required"),
        ("stages: {trian: {timeout_minutes: 5}}", r"pipeline\.yml: stages\.trian: is not one of: train, validate"),
    ],
)
def test_the_stages_are_those_of_the_dag(tmp_path, text, message):
    path = tmp_path / "pipeline.yml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_pipeline(path, ("train", "validate"))
