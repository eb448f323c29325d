"""How a stage ends decides how its task does; what it shows; what it passes on. Real processes, a real S3 server."""

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from sim2edge import inbox
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record
from sim2edge_airflow.assets import EPISODES, FRAMES
from sim2edge_airflow.operators.stage_operator import StageOperator
from sim2edge_airflow.runtimes.process_runtime import ProcessRuntime


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
            dag_run=SimpleNamespace(dag_id="dag", partition_key=partition, run_type="asset_triggered"),
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
    links = {link.name: link.get_link(operator, ti_key=None) for link in operator.operator_extra_links}
    assert links["Artifact"].endswith(f"/sim2edge/artifacts/{reference}")
    assert links["Manifest"].endswith(f"/sim2edge/manifests/{reference}")
    assert links["Report"].endswith(f"/sim2edge/reports/{reference}")
    assert links["MLflow run"] == "", "only training is tracked"


def test_the_second_time_is_a_cache_hit_and_says_what_it_saved(partition, capsys):
    task = Task(partition)
    first, _ = task.run("capture")
    assert task.xcoms["outcome"] == {"cached": False, "saved_s": 0.0, "saved_bytes": 0, "reference": first}
    second, operator = task.run("capture")
    assert second == first
    assert operator.outcome == "cached: saved 12.5 s, 0.0 MB"
    assert task.xcoms["outcome"] == {"cached": True, "saved_s": 12.5, "saved_bytes": 9, "reference": first}
    assert f"Cached: {first} saved 12.5 s, 0.0 MB" in capsys.readouterr().out


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
    new, _ = Task(partition, {"overrides": ["capture.episodes=7"], "replace": True}).run("capture")
    assert old != new
    _, operator = Task(partition, event={"reference": old, "preset": "other", "overrides": []}).run("clean")
    assert operator.inputs == {"episodes": [old]}
    _, by_hand = Task(partition).run("clean")
    assert by_hand.inputs == {"episodes": [new]}, "without an event: the batch as it is now"


def test_a_batch_with_other_settings_is_refused_and_what_began_meanwhile_is_kept_beside(partition, s3):
    old = make("capture", partition)
    other = Task(partition, {"overrides": ["capture.episodes=7"]})
    with pytest.raises(AirflowFailException, match=r"made with other settings \(episodes \d+, now 7\)"):
        other.run("capture")
    s3.delete([f"refs/batches/{partition}"])  # as it was when both began

    def begin(*_):
        s3.move_ref(f"refs/batches/{partition}", old)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageOperator, "_left_behind", begin)
        with pytest.raises(AirflowFailException, match=r"was begun with other settings|made with other settings"):
            other.run("capture")
    assert s3.read_ref(f"refs/batches/{partition}").target == old


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


def test_a_run_of_a_withdrawn_batch_fails_for_good_and_says_who_withdrew_it_and_why(s3, fake_stages, partition):
    make("capture", partition)
    event = Event(action="withdraw", reason="shifted labels", by="ana", at=datetime(2026, 5, 4, tzinfo=UTC))
    record(s3, partition, event)
    fake_stages(clean="crash")
    for stage in ("capture", "clean"):
        task = Task(partition)
        with pytest.raises(AirflowFailException, match=r"withdrawn on 2026-05-04 by ana: shifted labels$"):
            task.run(stage)
        assert not task.outlet_events, "no event, so nothing downstream starts"


def test_bad_input_found_by_the_stage_is_not_retried_and_said_in_its_words(fake_stages, partition):
    make("capture", partition)
    fake_stages(clean="bad input")
    with pytest.raises(AirflowFailException, match=r"^clean\.width: input should be greater than 0$"):
        Task(partition).run("clean")


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (
            "ahead",
            r"^capture: {planned} was planned, but .* makes \S+: version is (\d+) \(planned: (?!\1)\d+\)$",
        ),
        ("other presets", r"^capture: {planned} was planned, but .*: config field 'episodes' is 7 \(planned: \d+\)$"),
        ("commit nothing", r"^capture ended with exit code 0, but {planned} is not on the bus: it reports .* nothing$"),
        (
            "ignore what is expected",
            r"^capture ended with .* 0, but {planned} is not on the bus: it reports .* episodes/",
        ),
    ],
)
def test_a_stage_that_makes_something_else_or_nothing_is_red_and_starts_nothing(
    s3, fake_stages, partition, behaviour, says
):
    fake_stages(capture=behaviour)
    task, operator = Task(partition), StageOperator(stage="capture", execution_timeout=timedelta(minutes=5))
    operator.outlets = [EPISODES]
    with pytest.raises(AirflowFailException) as caught:
        operator.execute(task.context)
    assert re.match(says.format(planned=operator.artifact), str(caught.value)), str(caught.value)
    assert not s3.exists(operator.artifact)
    assert not task.outlet_events, "no event, so nothing downstream starts"


def test_an_input_that_is_not_there_is_told_before_anything_starts(partition, fake_stages):
    fake_stages(clean="crash")
    missing = f"episodes/{partition}/{'a' * 16}"
    with pytest.raises(AirflowFailException, match=rf"^clean: input 'episodes': {missing}: no such artifact"):
        make("clean", partition, inputs={"episodes": missing})


def test_a_champion_that_comes_after_the_plan_changes_nothing(s3, partition, fake_stages, monkeypatch):
    make("capture", partition)
    make("clean", partition)
    dataset = make("augment", partition)
    first, second = (make("train", partition, inputs={"dataset": dataset}, overrides=[f"seed={n}"]) for n in (1, 2))
    s3.delete(["refs/models/champion"])
    submit = ProcessRuntime.submit

    def crown_and_submit(self, job):
        s3.move_ref("refs/models/champion", first)
        return submit(self, job)

    monkeypatch.setattr(ProcessRuntime, "submit", crown_and_submit)
    verdict = make("validate", partition, inputs={"model": second, "dataset": dataset})
    assert s3.open(verdict).inputs["champion"] == []


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


@pytest.mark.parametrize(
    ("behaviour", "code", "said"), [("unavailable", 75, "connection refused"), ("crash", 1, "ValueError")]
)
def test_other_endings_are_retried(fake_stages, partition, behaviour, code, said):
    fake_stages(capture=behaviour)
    with pytest.raises(AirflowException, match=f"capture ended with exit code {code}: .*{said}") as caught:
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
    operator = StageOperator(stage="capture", execution_timeout=timedelta(minutes=5))
    with pytest.raises(AirflowFailException, match="is not on the bus"):
        operator.execute(Task(partition).context)
    shown = repr([getattr(operator, field) for field in operator.template_fields])
    logged = capsys.readouterr().out
    assert f"--partition={partition}" in logged
    assert s3_server.secret_key not in shown + logged


def deliver(s3, batch, tmp_path, content=b"a log"):
    (tmp_path / "a.mcap").write_bytes(content)
    return inbox.deliver(s3, batch, tmp_path, [inbox.describe(tmp_path, "a.mcap")])


def test_ingest_makes_the_episodes_of_a_batch_of_the_inbox_and_hands_them_on(s3, partition, tmp_path):
    ready = deliver(s3, partition, tmp_path)
    task = Task(partition, {"overrides": ["ingest.skip_bad=true"]})
    reference, _ = task.run("ingest", outlets=[EPISODES])
    made = s3.open(reference)
    assert (made.stage, made.config["ready"], made.config["skip_bad"]) == ("ingest", ready, True)
    assert task.outlet_events[EPISODES].extra["reference"] == reference
    assert Task(partition, {"overrides": ["ingest.skip_bad=true"]}).run("ingest")[1].outcome.startswith("cached")
    with pytest.raises(AirflowFailException, match=f"batch '{partition}' is {reference}, made by ingest"):
        make("capture", partition)


def test_ingest_of_what_was_not_delivered_is_bad_input(partition):
    with pytest.raises(AirflowFailException, match=r"READY.json: missing: nothing was delivered"):
        make("ingest", partition)


def test_a_task_marked_as_success_that_never_ran_is_one_line_downstream_and_no_retry(partition):
    says = "input 'episodes': the task upstream has left no artifact; if it was marked as success without having run"
    with pytest.raises(AirflowFailException, match=says):
        Task(partition).run("clean", inputs={"episodes": None})


@pytest.mark.parametrize(("how", "line"), [("bad input", "no such field"), ("crash", "exit code")])
def test_the_line_with_which_a_stage_failed_is_kept_for_the_pages(partition, fake_stages, how, line):
    fake_stages(capture=how)
    task = Task(partition)
    with pytest.raises(AirflowException) as raised:
        task.run("capture")
    assert task.xcoms["failed"] == {"reason": str(raised.value)}
    assert "\n" not in task.xcoms["failed"]["reason"]


def test_a_refusal_is_no_failure(s3, partition, fake_stages):
    fake_stages(capture="refuse")
    task = Task(partition)
    with pytest.raises(AirflowSkipException):
        task.run("capture")
    assert "failed" not in task.xcoms
