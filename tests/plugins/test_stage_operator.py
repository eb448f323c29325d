"""How a stage ends decides how its task does; what it shows; what it passes on. Real processes, a real S3 server."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from assets import FRAMES
from stage_operator import StageOperator


@pytest.fixture(autouse=True)
def outside_of_a_task_runner(monkeypatch, tmp_path, fake_stages, s3):
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    monkeypatch.setenv("SIM2EDGE_CONF", str(tmp_path))
    (tmp_path / "demo.yaml").write_text("{}")
    (tmp_path / "other.yaml").write_text("{}")


class Task:
    """A task instance as its operator sees it."""

    def __init__(
        self, partition: str | None, params: dict[str, Any] | None = None, event: dict[str, Any] | None = None
    ):
        self.xcoms: dict[str, Any] = {}
        self.outlet_events: dict[Any, Any] = defaultdict(SimpleNamespace)
        events = {"asset": [SimpleNamespace(extra=event, timestamp=datetime.now(UTC))]} if event else {}
        instance = SimpleNamespace(
            dag_id="dag", run_id="run", task_id="task", map_index=-1, try_number=1, xcom_push=self._push
        )
        self.context = Context(
            ti=instance,
            dag_run=SimpleNamespace(partition_key=partition, run_type="manual"),
            params=params or {},
            triggering_asset_events=events,
            outlet_events=self.outlet_events,
        )

    def _push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def run(self, stage: str, **arguments: Any) -> tuple[str, StageOperator]:
        operator = StageOperator(stage=stage, execution_timeout=timedelta(minutes=5), **arguments)
        return operator.execute(self.context), operator


def make(stage: str, partition: str, **more: Any) -> str:
    return Task(partition).run(stage, **more)[0]


def test_a_stage_that_commits_gives_its_reference_and_nothing_else(s3, partition):
    reference, operator = Task(partition).run("capture")
    assert s3.open(reference).kind == "episodes"
    assert (operator.artifact, operator.outcome) == (reference, "made")
    (link,) = operator.operator_extra_links
    assert link.get_link(operator, ti_key=None).endswith(f"/sim2edge/artifacts/{reference}")


def test_the_second_time_is_a_cache_hit_and_says_what_it_saved(partition, capsys):
    first = make("capture", partition)
    second, operator = Task(partition).run("capture")
    assert second == first
    assert operator.outcome == "cache hit"
    assert f"Cache hit: {first} saves 12.5 s" in capsys.readouterr().out


def test_settings_travel_with_the_event(partition):
    make("capture", partition)
    task = Task(partition, {"preset": "other", "overrides": ["clean.width=64", "train.epochs=3"]})
    reference, operator = task.run("clean", outlets=[FRAMES])
    assert operator.overrides == ["width=64"]
    assert task.outlet_events[FRAMES].extra == {
        "reference": reference,
        "preset": "other",
        "overrides": ["clean.width=64", "train.epochs=3"],
        "backfill": False,
    }


def test_the_artifact_that_started_the_run_is_its_input(partition):
    old = make("capture", partition)
    new, _ = Task(partition, {"overrides": ["capture.episodes=7"]}).run("capture")
    assert old != new
    _, operator = Task(partition, event={"reference": old, "preset": "other", "overrides": []}).run("clean")
    assert operator.inputs == {"episodes": [old]}
    _, by_hand = Task(partition).run("clean")
    assert by_hand.inputs == {"episodes": [new]}, "without an event: the batch as it is now"


def test_a_release_finds_what_its_verdict_judged_by_event_and_by_hand(s3, partition):
    s3.delete(s3.list("refs"))  # a dataset takes all batches there are, and is filed under the last of them
    make("capture", partition)
    make("clean", partition)
    dataset = make("augment", partition)
    model = make("train", partition, inputs={"dataset": dataset})
    verdict = make("validate", partition, inputs={"model": model, "dataset": dataset})
    named = {"verdict": "verdict/{partition}/latest", "model": "verdict.model", "dataset": "verdict.dataset"}
    for task in (Task("of-another-batch", event={"reference": verdict}), Task(partition)):
        _, operator = task.run("export", inputs=named)
        assert operator.inputs == {"dataset": [dataset], "model": [model], "verdict": [verdict]}


def test_a_batch_without_an_accepted_verdict_cannot_be_released(partition):
    with pytest.raises(AirflowFailException, match=f"no accepted verdict is filed under batch {partition}"):
        Task(partition).run("export", inputs={"verdict": "verdict/{partition}/latest", "model": "verdict.model"})


def test_bad_input_found_by_the_stage_is_not_retried_and_said_in_its_words(fake_stages, partition):
    make("capture", partition)
    fake_stages(clean="bad input")
    with pytest.raises(AirflowFailException, match=r"^clean\.width: input should be greater than 0$"):
        Task(partition).run("clean")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"overrides": ["clean.nonsense=1"]}, r"^clean\.nonsense: unknown key$"),
        ({"overrides": ["cleaning.width=1"]}, r"^override 'cleaning\.width=1': expected stage\.key=value"),
        ({"overrides": ["clean.--input=refs/x"]}, r"^clean\.--input: unknown key$"),
        ({"preset": "../secrets"}, r"^preset '\.\./secrets' is not one of"),
    ],
)
def test_bad_settings_are_found_before_anything_starts(partition, params, message):
    make("capture", partition)
    with pytest.raises(AirflowFailException, match=message):
        Task(partition, params).run("clean")


def test_a_run_without_a_batch_is_told_how_to_name_one():
    with pytest.raises(AirflowFailException, match="trigger the DAG with the batch id as its partition key"):
        Task(None).run("capture")


@pytest.mark.parametrize(("behaviour", "said"), [("unavailable", "connection refused"), ("crash", "ValueError")])
def test_other_endings_are_retried(fake_stages, partition, behaviour, said):
    fake_stages(capture=behaviour)
    with pytest.raises(AirflowException, match=f"capture ended with exit code 1: .*{said}") as caught:
        Task(partition).run("capture")
    assert not isinstance(caught.value, AirflowFailException)


def test_a_refusal_is_skipped_with_its_reason_the_first_time_and_from_the_cache(s3, fake_stages, partition):
    fake_stages(capture="refuse")
    for _ in range(2):
        task = Task(partition)
        with pytest.raises(AirflowSkipException, match=r"refused: floor_accuracy 0\.61 is below 0\.95"):
            task.run("capture")
        assert s3.open(task.xcoms["refused"]["artifact"]).refused
        fake_stages()
    assert not task.outlet_events, "a refusal is no event"


def test_nothing_the_task_shows_and_no_command_line_holds_a_secret(s3_server, fake_stages, partition, capsys):
    fake_stages(capture="print arguments")
    _, operator = Task(partition).run("capture")
    shown = repr([getattr(operator, field) for field in operator.template_fields])
    logged = capsys.readouterr().out
    assert f"--partition={partition}" in logged
    assert s3_server.secret_key not in shown + logged
