"""The task of `refresh_fleet`: what it runs, and as what; when it is skipped, fails, is retried, and alerts."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Context
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from sim2edge.errors import BadInput, Unavailable
from sim2edge_airflow.operators import refresh_operator
from sim2edge_airflow.operators.refresh_operator import RefreshOperator, root_threshold
from sim2edge_airflow.runtimes.process_runtime import ProcessRuntime

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def world(monkeypatch, fake_stages, s3):
    """A bucket with an update repository, and the stand-in for `sim2edge ota refresh`."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    s3.put(refresh_operator.TIMESTAMP, b"{}")
    fake_stages(ota="renew")


@pytest.fixture
def alerts(monkeypatch):
    sent = []
    monkeypatch.setattr(refresh_operator, "deliver", sent.append)
    return sent


@pytest.fixture
def gauges(monkeypatch):
    sent = {}
    monkeypatch.setattr(refresh_operator.stats, "gauge", sent.__setitem__)
    return sent


def run(previous: datetime | None = None):
    pushed = {}
    operator = RefreshOperator(task_id="refresh", execution_timeout=timedelta(minutes=5), owner="robotics")
    instance = SimpleNamespace(
        dag_id="refresh_fleet", run_id="run", task_id="refresh", map_index=-1, try_number=1, log_url="http://log"
    )
    instance.xcom_push = lambda key, value: pushed.update({key: value})
    task = SimpleNamespace(owner="robotics", dag=SimpleNamespace(doc_md="**Once a year** the ceremony.\n"))
    return operator.execute(Context(ti=instance, task=task, prev_start_date_success=previous))


def test_what_was_renewed_and_until_when_is_its_result_and_its_metrics(alerts, gauges):
    result = run()
    assert result["renewed"] == ["timestamp"]
    assert set(result) == {"renewed", "root", "targets", "snapshot", "timestamp"}
    assert {name.removeprefix("sim2edge.ota.") for name in gauges} == {
        f"{what}.{role}" for what in ("expires", "due") for role in ("root", "targets", "snapshot", "timestamp")
    }
    assert gauges["sim2edge.ota.expires.root"] == pytest.approx(datetime.now(UTC).timestamp() + 100 * 86400, abs=60)


def test_a_root_that_expires_is_told_once_for_each_threshold(alerts):
    run()
    run(datetime.now(UTC) - timedelta(hours=1))
    run(datetime.now(UTC) - timedelta(days=90))
    assert [alert.problem[:70] for alert in alerts] == [
        "the root of the update repository expires in less than 180 days: from "
    ] * 2
    assert (alerts[0].kind, alerts[0].owner, alerts[0].what_to_do) == ("root_expires", "robotics", "the ceremony.")


def test_it_runs_with_the_rights_of_push_and_gives_the_preset(monkeypatch, tmp_path):
    jobs = []
    monkeypatch.setattr(ProcessRuntime, "submit", lambda self, job: jobs.append(job) or 1 / 0)
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "push.env").write_text("AWS_ACCESS_KEY_ID=pushs\nAWS_SECRET_ACCESS_KEY=secret-of-push\n")
    keys = tmp_path / "keys"
    (keys / "offline").mkdir(parents=True)
    for name in ("root.json", "timestamp-1.pem", "offline/root-1.pem"):
        (keys / name).write_text("x")
    monkeypatch.setenv("SIM2EDGE_CREDENTIALS", str(tmp_path / "roles"))
    monkeypatch.setenv("SIM2EDGE_KEYS", str(keys))
    with pytest.raises(ZeroDivisionError):
        run()
    (job,) = jobs
    assert job.arguments == ["ota", "--preset=demo", "refresh", "--root", "--if-any"]
    assert (job.stage, job.signs, job.secrets["AWS_ACCESS_KEY_ID"]) == ("push", True, "pushs")
    assert set(job.keys) == {"root.json", "timestamp-1.pem"}, "the root's keys stay where they are"
    assert (job.labels["dag"], job.labels["stage"], job.labels["artifact"]) == ("refresh_fleet", "push", "ota/refresh")


def test_without_an_update_repository_it_is_skipped_and_starts_nothing(s3, monkeypatch):
    s3.delete([refresh_operator.TIMESTAMP])
    monkeypatch.setattr(ProcessRuntime, "submit", lambda *_: pytest.fail("started"))
    with pytest.raises(AirflowSkipException, match="there is no update repository"):
        run()


def test_where_the_worker_may_not_tell_the_job_does(fake_stages, monkeypatch):
    fake_stages(ota="find no repository")

    class Blind:
        def size(self, key):
            raise BadInput("ota: forbidden")

    monkeypatch.setattr(refresh_operator, "connect_bus", Blind)
    with pytest.raises(AirflowSkipException, match="there is no update repository"):
        run()


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [("bad input", AirflowFailException), ("unavailable", AirflowException), ("crash", AirflowException)],
)
def test_what_a_retry_cannot_overcome_fails_and_the_rest_is_retried(fake_stages, behaviour, error):
    fake_stages(ota=behaviour)
    with pytest.raises(AirflowException) as caught:
        run()
    assert type(caught.value) is error


def test_an_s3_that_does_not_answer_is_tried_again(monkeypatch):
    class Away:
        def size(self, key):
            raise Unavailable("S3: no answer")

    monkeypatch.setattr(refresh_operator, "connect_bus", Away)
    with pytest.raises(AirflowException, match="no answer") as caught:
        run()
    assert type(caught.value) is AirflowException


@pytest.mark.parametrize(
    ("left_before", "left_now", "threshold"),
    [(None, 300, None), (None, 100, 180), (181, 180, 180), (180, 179, None), (91, 20, 30), (1, -1, 0), (-1, -2, None)],
)
def test_each_threshold_is_crossed_once_and_of_several_the_last_is_told(left_before, left_now, threshold):
    since = None if left_before is None else NOW - timedelta(days=left_before - left_now)
    assert root_threshold(NOW + timedelta(days=left_now), since, NOW) == threshold


def test_its_result_can_be_stored():
    json.dumps(run())
