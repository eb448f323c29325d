"""The same DAG files run stages as processes, in containers and in pods: nothing in them depends on where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim2edge.stage import STAGE_NAMES

ROOT = Path(__file__).parents[2]
PIPELINE = ("sim_capture", "data_cleaning", "train_model", "release_model")
DESCRIBE = f"""
import json, sys
from airflow.dag_processing.dagbag import DagBag
sys.path.append({str(ROOT / "plugins")!r})
bag = DagBag({str(ROOT / "dags")!r})
tasks = {{
    dag_id: {{
        task.task_id: [
            getattr(task, "stage", task.task_type), sorted(task.downstream_task_ids),
            [asset.name for asset in task.outlets], str(task.execution_timeout), task.retries, task.pool,
            task.pool_slots, str(getattr(task, "inputs", "")),
        ]
        for task in bag.dags[dag_id].tasks
    }}
    for dag_id in {PIPELINE!r}
}}
print(json.dumps({{"errors": bag.import_errors, "tasks": tasks, "client": "kubernetes" in sys.modules}}))
"""


def describe(runtime: str, **variables: str) -> dict:
    """What Airflow makes of the DAG files in a deployment with that runtime."""
    environment = {**os.environ, "AIRFLOW__SIM2EDGE__RUNTIME": runtime, **variables}
    answer = subprocess.run(
        [sys.executable, "-c", DESCRIBE], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def in_process():
    return describe("process")


def test_every_stage_is_there(in_process):
    assert in_process["errors"] == {}
    stages = {task[0] for tasks in in_process["tasks"].values() for task in tasks.values()}
    assert stages == {*STAGE_NAMES, "RequestTraining"}


def test_pods_run_the_same_tasks_by_the_same_edges(in_process):
    in_pods = describe("kubernetes")
    assert in_pods["errors"] == {}
    assert in_pods["tasks"] == in_process["tasks"]
    assert not in_pods["client"], "a DAG file is parsed without a client of a cluster"


def test_so_do_containers(in_process):
    in_containers = describe("docker")
    assert in_containers["errors"] == {}
    assert in_containers["tasks"] == in_process["tasks"]


def test_one_stage_elsewhere_changes_no_dag(in_process, tmp_path):
    stages = tmp_path / "stages.yaml"
    stages.write_text("train: {runtime: kubernetes, gpus: 1, kubernetes: {node_selector: {pool: gpu}}}")
    mixed = describe("process", AIRFLOW__SIM2EDGE__STAGES=str(stages))
    assert mixed["errors"] == {}
    assert mixed["tasks"] == in_process["tasks"]
