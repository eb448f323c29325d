"""Every DAG parses, is known by name, explains itself, and has tasks that end, are retried, belong to someone."""

import ast
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from sim2edge.stages import chain
from sim2edge_airflow.run_settings import TYPED

DAGS = Path(__file__).parents[2] / "dags"
PIPELINE = {
    "sim_capture": ["capture"],
    "data_cleaning": ["clean", "request_training"],
    "train_model": ["settings", "augment", "train", "validate", "give_back"],
    "release_model": ["export", "push"],
}
HELPERS = {"request_training", "give_back", "settings"}
"""Tasks of those DAGs that run no stage."""
BETWEEN = {"retrain": ["decide", "start"]}
"""DAGs without a partition: they decide what the others do."""
INBOX = {
    "watch_inbox": ["register", "register_annotations"],
    "ingest_batch": ["ingest"],
    "annotate_batch": ["annotate", "request_training"],
}
"""The other way in: batches that were made elsewhere."""
STARTED = ("ingest_batch", "annotate_batch", "data_cleaning", "train_model", "release_model")
MADE_UP = {"reconcile": [f"{do}_{dag}" for dag in STARTED for do in ("find", "start")]}
"""What starts the DAGs whose events were dropped."""
HOUSEKEEPING = {"retention": ["retire"], "refresh_fleet": ["refresh", "watch"]}
DECIDED = {"withdraw_batch": ["withdraw"], "erase_batch": ["erase"], "fleet_change": ["push"]}
"""What a person has decided about a batch or a release."""


def stage_tasks(dag):
    return [task for task in dag.tasks if task.task_id not in HELPERS]


def test_the_dags_are_these_and_no_file_fails(dagbag):
    assert dagbag.import_errors == {}
    found = {dag_id: [task.task_id for task in dag.topological_sort()] for dag_id, dag in dagbag.dags.items()}
    assert {dag_id: sorted(tasks) for dag_id, tasks in MADE_UP.items()} == {"reconcile": sorted(found.pop("reconcile"))}
    assert found == PIPELINE | BETWEEN | INBOX | HOUSEKEEPING | DECIDED


def test_the_stages_are_tasks_in_the_order_in_which_they_follow_from_each_other():
    tasks = [task for tasks in PIPELINE.values() for task in tasks if task not in HELPERS]
    assert tasks == [stage.name for stage in chain() if stage.name in tasks]


@pytest.mark.parametrize("dag_id", PIPELINE)
def test_a_dag_explains_itself(dagbag, dag_id):
    dag = dagbag.dags[dag_id]
    assert dag.doc_md.strip().startswith(f"### {dag_id}:")
    for part in ("**When it fails**", "Owner:", "*Trigger*"):
        assert part in dag.doc_md
    assert dag.description
    assert "sim2edge" in dag.tags
    assert dag.catchup is False
    assert set(dag.params) - {"replace", *TYPED} == {"batch", "preset", "overrides"}
    assert ("replace" in dag.params) == (dag.dag_id in ("sim_capture", "ingest_batch", "data_cleaning"))


@pytest.mark.parametrize("dag_id", [*PIPELINE, *BETWEEN])
def test_a_task_ends_is_retried_and_says_what_it_does(dagbag, dag_id):
    for task in dagbag.dags[dag_id].tasks:
        assert timedelta(minutes=1) < task.execution_timeout <= timedelta(hours=24)
        assert task.retries >= 1
        assert task.retry_delay <= timedelta(minutes=1)
        assert task.doc_md


@pytest.mark.parametrize("dag_id", PIPELINE)
def test_a_stage_goes_by_one_name_and_makes_one_thing(dagbag, dag_id):
    for task in stage_tasks(dagbag.dags[dag_id]):
        assert task.stage == task.task_id
        assert len(task.outlets) == 1


def test_the_chain_goes_from_asset_to_asset(dagbag):
    chain = (dagbag.dags[dag_id] for dag_id in (*PIPELINE, *BETWEEN))
    made_by = {asset.name: dag.dag_id for dag in chain for task in dag.tasks for asset in task.outlets}
    listens = {dag_id: dagbag.dags[dag_id].timetable.asset_condition.name for dag_id in list(PIPELINE)[1:]}
    assert {dag_id: made_by[asset] for dag_id, asset in listens.items()} == {
        "data_cleaning": "sim_capture",
        "train_model": "retrain",
        "release_model": "train_model",
    }


def test_tasks_get_what_tasks_above_them_made(dagbag):
    train_model = dagbag.dags["train_model"]
    assert train_model.get_task("validate").upstream_task_ids == {"settings", "augment", "train"}
    assert train_model.get_task("train").upstream_task_ids == {"settings", "augment"}
    assert dagbag.dags["release_model"].get_task("push").upstream_task_ids == {"export"}


def test_a_stages_outlet_is_the_kind_it_produces(dagbag):
    from sim2edge.stages import get_stage

    for dag_id in (*PIPELINE, "ingest_batch"):
        for task in stage_tasks(dagbag.dags[dag_id]):
            assert task.outlets[0].name == get_stage(task.stage).produces


def test_retraining_explains_itself_and_listens_to_a_hint_and_a_clock(dagbag):
    dag = dagbag.dags["retrain"]
    for part in ("### retrain:", "**By hand**", "**When it fails**", "Owner:"):
        assert part in dag.doc_md
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == ["retrain_requested"]
    assert set(dag.params) == {"reason", "kind", "now", "preset", "overrides"}


def test_a_release_waits_for_a_person_where_the_deployment_says_so(dagbag, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("AIRFLOW__SIM2EDGE__RELEASE_APPROVAL", "true")
    bag = DagBag(str(DAGS / "release_model_dag.py"))
    assert bag.import_errors == {}
    dag = bag.dags["release_model"]
    assert [task.task_id for task in dag.topological_sort()] == ["export", "approve", "push"]
    assert dag.get_task("push").upstream_task_ids == {"export", "approve"}
    assert dag.get_task("approve").patience == timedelta(hours=24)


def test_a_batch_of_the_inbox_goes_the_way_of_a_captured_one(dagbag):
    watch, ingest = dagbag.dags["watch_inbox"], dagbag.dags["ingest_batch"]
    (register, labelled), (stage,) = watch.tasks, ingest.tasks
    assert (register.stage, labelled.stage) == ("ingest", "annotate")
    made = dagbag.dags["annotate_batch"]
    assert labelled.outlets[0].name == made.timetable.asset_condition.name == "annotations"
    assert made.get_task("annotate").outlets == dagbag.dags["data_cleaning"].get_task("clean").outlets
    assert register.outlets[0].name == ingest.timetable.asset_condition.name == "delivery"
    assert stage.outlets == dagbag.dags["sim_capture"].get_task("capture").outlets
    assert watch.max_active_runs == 1
    (woken_by,) = watch.timetable.asset_condition.objects
    assert woken_by.watchers[0].trigger.serialize()[1] == {"look": "arrivals", "poll_s": 5.0, "remind_s": 60.0}
    assert "*/5 * * * *" in str(watch.timetable.timetable)


@pytest.mark.parametrize("dag_id", INBOX)
def test_the_dags_of_the_inbox_explain_themselves_and_their_tasks_end(dagbag, dag_id):
    dag = dagbag.dags[dag_id]
    assert dag.doc_md.strip().startswith(f"### {dag_id}:")
    for part in ("**When it fails**", "Owner:", "*Trigger*"):
        assert part in dag.doc_md
    assert dag.catchup is False
    for task in dag.tasks:
        assert timedelta(minutes=1) < task.execution_timeout <= timedelta(hours=24)
        assert task.retries >= 1
        assert task.doc_md


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_is_a_table_of_contents(path):
    source = path.read_text()
    assert path.name.endswith("_dag.py")
    assert len(source.splitlines()) < 110
    logic = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Lambda)
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, logic)]


def test_parsing_reaches_no_network_and_loads_no_stage_library(monkeypatch):
    heavy = ("torch", "numpy", "mujoco", "mlflow", "cv2", "pyarrow", "docker", "kubernetes")
    code = f"""
import socket, sys
def refuse(*_): raise AssertionError("a connection while a DAG is parsed")
socket.socket.connect = refuse
sys.path += [{str(DAGS)!r}, {str(DAGS.parent / "plugins")!r}]
import sim_capture_dag, data_cleaning_dag, retrain_dag, train_model_dag, release_model_dag
import watch_inbox_dag, ingest_batch_dag
print([name for name in {heavy!r} if name in sys.modules])
"""
    monkeypatch.delenv("SIM2EDGE_BUCKET", raising=False)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout.strip().splitlines()[-1:] == ["[]"], answer.stderr


CAPTURE = """
bag = DagBag(DAGS + "/sim_capture_dag.py")
found = []
for task in bag.dags["sim_capture"].topological_sort() if bag.dags else ():
    shards = getattr(task, "expand_input", None) and task.expand_input.value["shard"]
    found.append([task.task_id, shards, list(task.upstream_task_ids), [asset.name for asset in task.outlets]])
print(json.dumps([list(bag.import_errors.values()), found]))
"""


@pytest.fixture
def read_capture_dag(dag_reader):
    """The capture DAG of a deployment with another number of shards: its import errors, and its tasks."""
    return lambda shards: dag_reader.ask(CAPTURE, AIRFLOW__SIM2EDGE__CAPTURE_SHARDS=shards)


def test_a_batch_in_shards_is_a_mapped_task_and_one_that_gathers(read_capture_dag):
    pieces = ["capture_shard", ["1/3", "2/3", "3/3"], [], []]
    assert read_capture_dag("3") == [[], [pieces, ["capture", None, ["capture_shard"], ["episodes"]]]]


@pytest.mark.parametrize("shards", ["0", "many", "-2", "2.5"])
def test_a_wrong_number_of_shards_is_named(read_capture_dag, shards):
    (error,), _ = read_capture_dag(shards)
    assert f"[sim2edge] capture_shards: '{shards}' is not a number of shards: expected 1 to 1000" in error
    assert "\n" not in error


IMPORT_ERRORS = """
bag = DagBag(FOLDER)
print(json.dumps({path.rpartition("/")[2]: error for path, error in bag.import_errors.items()}))
"""


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("cooldown_minutes", "cooldown", "train_model.yml: retrain.cooldown: Extra inputs are not permitted"),
        ("  train:", "  trian:", "train_model.yml: stages.trian: is not one of: augment, train, validate"),
    ],
)
def test_a_mistake_in_the_pipeline_file_is_one_line_in_the_ui(dag_reader, tmp_path, right, wrong, line):
    shutil.copy(DAGS / "train_model_dag.py", tmp_path)
    (tmp_path / "train_model.yml").write_text((DAGS / "train_model.yml").read_text().replace(right, wrong))
    assert dag_reader.ask(f"FOLDER = {str(tmp_path)!r}{IMPORT_ERRORS}") == {"train_model_dag.py": line}
