"""S3 by a connection of the database, which tasks, the triggerer and the API server all read: a real run."""

import json
import os
from collections.abc import Iterator

import pytest
from airflow_stack import RunningAirflow, running_airflow
from benchmarks.postgres_stack import wait_for

from sim2edge import inbox
from sim2edge.bus import Bus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CONNECTION = "lab_bucket"
ID, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
NOWHERE = {ID: "of-nobody", SECRET: "of-nobody"}


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    own = {"AIRFLOW__SIM2EDGE__AWS_CONN_ID": CONNECTION, **NOWHERE}
    dags = ("sim_capture", "watch_inbox")
    with running_airflow(tmp_path_factory.mktemp("connections"), own, unpaused=dags) as airflow:
        airflow.call("POST", "connections", describe(os.environ[SECRET]))
        yield airflow


def describe(secret: str) -> dict[str, object]:
    """The connection to the stack's S3 server, with the admin's key."""
    extra = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": os.environ["AWS_REGION"]}
    key = {"login": os.environ[ID], "password": secret, "extra": json.dumps(extra)}
    return {"connection_id": CONNECTION, "conn_type": "aws", **key}


def test_a_task_and_a_page_ask_with_the_connections_key(airflow):
    run = airflow.trigger("sim_capture", "b1")
    assert airflow.ended("sim_capture", run, "capture")["state"] == "success"
    reference = airflow.client.result("sim_capture", run, "capture")
    airflow.page(f"artifacts/{reference}", "b1")
    shown = airflow.log("sim_capture", run, "capture") + json.dumps(airflow.task("sim_capture", run, "capture"))
    assert os.environ[SECRET] not in shown


def test_the_triggerer_asks_with_it(airflow, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"a log")
    inbox.deliver(Bus.from_environment(), "farm-1", tmp_path, [inbox.describe(tmp_path, "a.mcap")])
    wait_for(
        lambda: [run for run in airflow.runs("watch_inbox") if run["run_type"] == "asset_triggered"],
        "a run that the triggerer started",
    )


def test_a_key_that_is_wrong_fails_the_next_task_in_one_line(airflow):
    airflow.call("PATCH", f"connections/{CONNECTION}", describe("another-secret"))
    run = airflow.trigger("sim_capture", "b2")
    assert airflow.ended("sim_capture", run, "capture")["state"] == "failed"
    assert "another-secret" not in airflow.log("sim_capture", run, "capture", "the S3 server refused the credentials")
