"""What every DAG keeps to, those to come included: names, tags, owners, ends, retries, a runbook; light files."""

import ast
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dags").glob("*.py"))
IDS = [path.stem.removesuffix("_dag") for path in FILES]
TAGS = {"sim2edge", "data", "model", "housekeeping"}
HEAVY = {"cv2", "docker", "kubernetes", "mlflow", "mujoco", "numpy", "pandas", "pyarrow", "torch"}
ONLY_WHEN_USED = {"aiosmtplib", "smtplib", "openlineage.client", "sim2edge.capture.run", "sim2edge.train.run"}
LOOK = """
import json, sys
sys.path += [{dags!r}, {plugins!r}]
import socket
def refuse(*_): raise AssertionError("a connection while a DAG is parsed")
socket.socket.connect = refuse
before = set(sys.modules)
import {modules}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.fixture(scope="module")
def dags(request):
    """Every DAG there is, as a deployment has them whose stages run in containers."""
    request.getfixturevalue("dagbag")  # puts the plugins where Airflow does
    from airflow.dag_processing.dagbag import DagBag

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", "docker")
        bag = DagBag(str(ROOT / "dags"))
    assert bag.import_errors == {}
    return bag.dags


def test_a_file_is_named_after_its_dag_and_holds_no_other(dags):
    assert {dag_id: Path(dag.fileloc).name for dag_id, dag in dags.items()} == {each: f"{each}_dag.py" for each in IDS}


@pytest.mark.parametrize("dag_id", IDS)
def test_names_are_plain_words(dags, dag_id):
    for name in (dag_id, *dags[dag_id].task_ids):
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", name)


@pytest.mark.parametrize("dag_id", IDS)
def test_tags_are_of_the_known_ones(dags, dag_id):
    assert set(dags[dag_id].tags) <= TAGS
    assert "sim2edge" in dags[dag_id].tags
    assert len(dags[dag_id].tags) >= 2


@pytest.mark.parametrize("dag_id", IDS)
def test_the_runbook_has_its_parts(dags, dag_id):
    from sim2edge_airflow.alerts.report import owner, part, purpose

    runbook = dags[dag_id].doc_md
    assert runbook.strip().startswith(f"### {dag_id}: ")
    assert purpose(runbook)
    assert len(part(runbook, "When it fails").split()) >= 10, "what should somebody do?"
    assert "by hand" in runbook.lower() or "*Trigger*" in runbook
    assert owner(runbook)
    assert dags[dag_id].description


@pytest.mark.parametrize("dag_id", IDS)
def test_every_task_belongs_to_the_owner_whom_the_runbook_names(dags, dag_id):
    from sim2edge_airflow.alerts.report import owner

    assert {task.owner for task in dags[dag_id].tasks} == {owner(dags[dag_id].doc_md)}


@pytest.mark.parametrize("dag_id", IDS)
def test_every_task_ends_is_tried_again_less_and_less_often_and_tells_when_it_fails(dags, dag_id):
    from sim2edge_airflow.alerts.report import report_failure

    for task in dags[dag_id].tasks:
        assert timedelta(minutes=1) <= task.execution_timeout <= timedelta(hours=24)
        assert task.retries >= 1
        assert task.retry_exponential_backoff
        assert task.retry_delay <= timedelta(minutes=1)
        assert task.max_retry_delay <= timedelta(minutes=30)
        assert report_failure in task.on_failure_callback
        assert task.doc_md


@pytest.mark.parametrize("dag_id", IDS)
def test_nothing_of_the_past_is_made_up_for_and_runs_at_once_are_bounded(dags, dag_id):
    assert dags[dag_id].catchup is False
    assert dags[dag_id].max_active_runs <= 100


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_a_file_does_nothing_but_declare(path):
    tree = ast.parse(path.read_text())
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While | ast.Try | ast.With | ast.Lambda)
    ]
    forbidden = {"open", "read_text", "get_connection", "getenv", "environ", "Variable", "Connection"}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not forbidden & (names | attributes)


def test_parsing_reaches_no_network_and_loads_nothing_heavy(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "SIM2EDGE_BUCKET"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__RUNTIME", "docker")
    modules = ", ".join(path.stem for path in FILES)
    code = LOOK.format(dags=str(ROOT / "dags"), plugins=str(ROOT / "plugins"), modules=modules)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    assert {"sim2edge_airflow.assets", "sim2edge_airflow.run_settings"} <= loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY}
    assert not loaded & ONLY_WHEN_USED
