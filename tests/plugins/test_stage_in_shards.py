"""A stage in shards, task by task: what each makes, which are hits, who moves the ref. Real processes and S3 server."""

from collections import defaultdict
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from sim2edge_airflow.assets import EPISODES
from sim2edge_airflow.operators.stage_operator import StageOperator

WHOLE = "cached: saved 12.5 s, 0.0 MB"
SHARE = "cached: saved 6.2 s, 0.0 MB"


@pytest.fixture(autouse=True)
def outside_of_a_task_runner(monkeypatch, tmp_path, fake_stages, s3):
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    (tmp_path / "demo.yaml").write_text("{capture: {episodes: 4}}")


@pytest.fixture
def run(partition):
    """Run one task of the capture DAG; its operator afterwards, and the events of its outlets."""

    def execute(**arguments):
        events = defaultdict(SimpleNamespace)
        instance = SimpleNamespace(
            dag_id="dag", run_id="run", task_id="task", map_index=-1, try_number=1, xcom_push=lambda **_: None
        )
        context = Context(
            ti=instance,
            dag_run=SimpleNamespace(dag_id="dag", partition_key=partition, run_type="asset_triggered"),
            params={},
            triggering_asset_events={},
            outlet_events=events,
            task_state_store=None,
        )
        operator = StageOperator(stage="capture", execution_timeout=timedelta(minutes=5), **arguments)
        assert operator.execute(context) == operator.artifact
        return operator, events

    return execute


def shard(run, number):
    return run(task_id="capture_shard", shard=f"{number}/2")[0]


def gather(run):
    return run(gather=2, outlets=[EPISODES])


def test_shards_then_the_batch_then_only_hits(run, s3, partition):
    shards = [shard(run, number) for number in (1, 2)]
    assert [operator.outcome for operator in shards] == ["made", "made"]
    assert [operator.task_id for operator in shards] == ["capture_shard", "capture_shard"]
    assert s3.read_ref(f"refs/batches/{partition}") is None
    whole, events = gather(run)
    assert s3.open(whole.artifact).parts == [operator.artifact for operator in shards]
    assert s3.read_ref(f"refs/batches/{partition}").target == whole.artifact
    assert events[EPISODES].extra["reference"] == whole.artifact
    s3.delete([f"refs/batches/{partition}"])
    again = [shard(run, 1), shard(run, 2), run()[0]]
    assert [operator.outcome for operator in again] == [SHARE, SHARE, WHOLE]
    assert {operator.artifact for operator in again} == {whole.artifact}
    assert s3.read_ref(f"refs/batches/{partition}").target == whole.artifact


def test_of_a_batch_that_is_there_whole_every_task_is_cached(run, s3, partition):
    whole = run()[0]
    s3.delete([f"refs/batches/{partition}"])
    assert [shard(run, number).outcome for number in (1, 2)] == [SHARE, SHARE]
    assert s3.read_ref(f"refs/batches/{partition}") is None, "a shard moves no ref, not even that of the whole"
    assert gather(run)[0].outcome == WHOLE
    assert s3.read_ref(f"refs/batches/{partition}").target == whole.artifact
    assert list(s3.artifacts("episodes", partition)) == [whole.artifact]


def test_a_shard_that_crashed_is_made_by_its_retry(run, fake_stages):
    shard(run, 1)
    fake_stages(capture="crash")
    with pytest.raises(AirflowException):
        shard(run, 2)
    fake_stages()
    assert [shard(run, 1).outcome, shard(run, 2).outcome] == [WHOLE, "made"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gather": 2}, r"2 of 2 shards are missing \(1/2, 2/2\)"),
        ({"shard": "1/5"}, "capture: 5 shards, but episodes=4: at most 4"),
    ],
)
def test_what_cannot_be_cut_or_gathered_fails_for_good(run, arguments, message):
    with pytest.raises(AirflowFailException, match=message):
        run(**arguments)
