"""What we use of Airflow that is no public interface: a test that fails after an upgrade says what it breaks.

`airflow_database.py` has the queries; correct it, and what it says of them, in the same change.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest
from sqlalchemy import inspect as inspect_model
from sqlalchemy.orm import configure_mappers

import sim2edge_airflow

PACKAGE = Path(sim2edge_airflow.__file__).parent
LOCAL_SETTINGS = Path(__file__).parents[2] / "plugins/airflow_local_settings.py"
ONLY_HERE = ("sqlalchemy", "airflow.models", "airflow.utils.session", "airflow.utils.state", "airflow.jobs")

# By model: its columns and relationships, each with what stops working without it.
TIMES = "when a stage began and ended, on the pages"
MODELS = {
    "airflow.models.dagrun.DagRun": {
        "id": "the newest run of a batch is found by it",
        "dag_id": "no run is found",
        "run_id": "no run is found",
        "partition_key": "the batch of a run: every page, and the pools of backfills",
        "_state": "which runs go on, on the Flywheel page",
        "run_after": "where a batch that has committed nothing yet is sorted in",
        "run_type": "the list of a batch's runs",
        "start_date": TIMES,
        "end_date": TIMES,
        "queued_at": "deadlines of late batches",
        "backfill_id": "the tasks of backfills would go to the pools of live batches",
        "consumed_asset_events": "the reasons of a training, on its page and in its note",
        "dag_run_note": "the note of a run that a training started",
        "triggering_user_name": "who started the run that has the batch",
        "conf": "whether a batch is being made with other settings",
        "note": "who started a run from the pages, and why",
    },
    "airflow.models.taskinstance.TaskInstance": {
        "dag_id": "no task is found",
        "run_id": "no task is found",
        "task_id": "which stage a task is",
        "map_index": "shards",
        "state": "what runs and what failed, on every page",
        "start_date": TIMES,
        "end_date": TIMES,
        "try_number": "how often a task was tried",
        "pool": "the pools of backfills",
        "pool_slots": "a task that wants more slots than its pool has would wait for ever",
        "priority_weight": "backfills would run before live batches",
    },
    "airflow.models.xcom.XComModel": dict.fromkeys(
        ("dag_run_id", "task_id", "map_index", "key", "value"), "which artifact a task made, on the pages"
    ),
    "airflow.models.asset.AssetEvent": {
        **dict.fromkeys(("id", "source_dag_id", "source_run_id"), "the runs that a backfill's batches start"),
        **dict.fromkeys(("extra", "asset"), "the reasons of a training"),
    },
    "airflow.models.asset.AssetPartitionDagRun": dict.fromkeys(
        ("id", "target_dag_id", "partition_key", "created_dag_run_id"), "the runs that a backfill's batches start"
    ),
    "airflow.models.asset.PartitionedAssetKeyLog": dict.fromkeys(
        ("asset_partition_dag_run_id", "asset_event_id"), "the runs that a backfill's batches start"
    ),
    "airflow.models.hitl.HITLDetail": dict.fromkeys(
        ("ti_id", "created_at", "responded_at"), "an answer to an approval right after it was asked for would be void"
    ),
    "airflow.models.variable.Variable": dict.fromkeys(("key", "val"), "whether the system is on hold, on the page"),
    "airflow.models.dag.DagModel": dict.fromkeys(
        ("dag_id", "is_paused", "is_stale"), "what waits for a paused DAG, on the page; holding the system from there"
    ),
    "airflow.models.dag.DagTag": dict.fromkeys(("dag_id", "name"), "holding the system from the page"),
    "airflow.models.log.Log": dict.fromkeys(
        ("event", "owner", "owner_display_name", "extra", "dag_id", "run_id"), "the audit log of actions of the pages"
    ),
    "airflow.models.pool.Pool": dict.fromkeys(
        ("pool", "slots", "description", "include_deferred"), "the pools that are made at the start"
    ),
}

STARTS = "no action of the pages could start a run"
# By function: the arguments that we give, with what calls it.
FUNCTIONS = {
    "airflow.utils.session.create_session": ((), "the pools that are made at the start"),
    "airflow.api_fastapi.core_api.security.get_user": (None, "no page would know who looks at it"),
    "airflow.api_fastapi.core_api.security.requires_access_asset": (("method",), "the pages would be public"),
    "airflow.api_fastapi.core_api.security.requires_access_dag": (
        ("method", "access_entity"),
        "the pages would be public",
    ),
    "airflow.api_fastapi.auth.managers.models.resource_details.DagAccessEntity": (None, "the pages would be public"),
    "airflow.api_fastapi.app.get_auth_manager": ((), "nobody could be told what they may do"),
    "airflow.models.dagbag.DBDagBag.get_latest_version_of_dag": (("dag_id", "session"), STARTS),
    "airflow.models.dagbag.DBDagBag.get_dag_for_run": (("dag_run", "session"), "what failed could not run again"),
    "airflow.serialization.definitions.dag.SerializedDAG.create_dagrun": (
        (
            *("run_id", "logical_date", "run_after", "conf", "run_type", "triggered_by", "triggering_user_name"),
            *("state", "partition_key", "partition_date", "session"),
        ),
        STARTS,
    ),
    "airflow.serialization.definitions.dag.SerializedDAG.validate_partition_key": (("partition_key",), STARTS),
    "airflow.serialization.definitions.dag.SerializedDAG.clear": (
        ("run_id", "only_failed", "session"),
        "what failed could not run again",
    ),
    "airflow.models.variable.Variable.set": (("key", "value", "session"), "the system could not be held"),
    "airflow.models.variable.Variable.delete": (("key", "session"), "a hold could not be ended"),
    "airflow.api_fastapi.common.db.common.SessionDep": (None, "the pages could not ask the database"),
}


def load(path):
    module, _, name = path.rpartition(".")
    if module.rpartition(".")[2][0].isupper():  # a method
        return getattr(load(module), name)
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    ("model", "name", "why"), [(m, n, why) for m, uses in MODELS.items() for n, why in uses.items()]
)
def test_a_column_or_relationship_that_we_ask_for_is_there(model, name, why):
    loaded = load(model)
    configure_mappers()  # some relationships come from the other side
    known = inspect_model(loaded).all_orm_descriptors.keys()
    assert name in known, f"this Airflow's {model} has no '{name}' any more; without it, broken: {why}"


@pytest.mark.parametrize(("path", "arguments", "why"), [(path, *use) for path, use in FUNCTIONS.items()])
def test_a_function_that_we_call_is_there_and_takes_what_we_give(path, arguments, why):
    try:
        found = load(path)
    except (ImportError, AttributeError):
        pytest.fail(f"this Airflow has no {path} any more; without it, broken: {why}")
    if arguments is not None:
        missing = set(arguments) - set(inspect.signature(found).parameters)
        assert not missing, f"this Airflow's {path} takes no {missing} any more; without it, broken: {why}"


def test_airflow_asks_the_policy_with_what_it_takes():
    from airflow.policies import task_instance_mutation_hook

    given = list(inspect.signature(task_instance_mutation_hook).parameters)
    assert given == ["task_instance", "dag_run"], "airflow_local_settings.py must take the same: the pools of backfills"


def test_airflow_says_when_its_parts_start_and_runs_run():
    from airflow._shared.listeners.spec import lifecycle
    from airflow.listeners.spec import dagrun

    assert list(inspect.signature(lifecycle.on_starting).parameters) == ["component"], "the pools, the warm start"
    assert list(inspect.signature(dagrun.on_dag_run_running).parameters) == ["dag_run", "msg"], "the notes of runs"


def imported(path):
    """Every module that a file imports when it runs, wherever in it; what is for type checkers alone is left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def test_one_module_alone_knows_airflows_tables():
    knowing = {
        path.name
        for path in [LOCAL_SETTINGS, *PACKAGE.rglob("*.py")]
        if any(module.startswith(ONLY_HERE) for module in imported(path))
    }
    assert knowing == {"airflow_database.py"}
