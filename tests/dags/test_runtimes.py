"""The same DAG files run stages as processes, in containers and in pods: nothing in them depends on where."""

import pytest

from sim2edge.stages import chain

CHAIN = [stage.name for stage in chain()]

PIPELINE = ("sim_capture", "data_cleaning", "train_model", "release_model")
DESCRIBE = f"""
bag = DagBag(DAGS)
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


@pytest.fixture(scope="module")
def describe(dag_reader):
    """What Airflow makes of the DAG files in a deployment with that runtime."""
    return lambda runtime, **more: dag_reader.ask(DESCRIBE, AIRFLOW__SIM2EDGE__RUNTIME=runtime, **more)


@pytest.fixture(scope="module")
def in_process(describe):
    return describe("process")


def test_every_stage_is_there(in_process):
    assert in_process["errors"] == {}
    stages = {task[0] for tasks in in_process["tasks"].values() for task in tasks.values()}
    assert stages == {*CHAIN, "RequestTraining", "GiveBack", "PipelineSettings"}


def test_pods_run_the_same_tasks_by_the_same_edges(in_process, describe):
    in_pods = describe("kubernetes")
    assert in_pods["errors"] == {}
    assert in_pods["tasks"] == in_process["tasks"]
    assert not in_pods["client"], "a DAG file is parsed without a client of a cluster"


def test_so_do_containers(in_process, describe):
    in_containers = describe("docker")
    assert in_containers["errors"] == {}
    assert in_containers["tasks"] == in_process["tasks"]


def test_one_stage_elsewhere_changes_no_dag(in_process, describe, tmp_path):
    stages = tmp_path / "stages.yaml"
    stages.write_text("train: {runtime: kubernetes, gpus: 1, kubernetes: {node_selector: {pool: gpu}}}")
    mixed = describe("process", AIRFLOW__SIM2EDGE__STAGES=str(stages))
    assert mixed["errors"] == {}
    assert mixed["tasks"] == in_process["tasks"]
