"""The log of a running task is read from the disk, and no log server is asked for it."""

import logging.config
import socket
from types import SimpleNamespace

import pytest
from airflow.utils.state import TaskInstanceState

from sim2edge_airflow.shared_disk_logs import LOGGING_CONFIG, SharedDiskHandler


def handlers():
    return {each.name: each for each in logging.getLogger("airflow.task").handlers}


@pytest.fixture
def handler(tmp_path, monkeypatch):
    """What Airflow configures from the setting, on a folder of this test; without a network."""
    before = handlers()
    logging.config.dictConfig(LOGGING_CONFIG | {"incremental": False, "disable_existing_loggers": False})
    made = handlers()["task"]
    made.local_base = str(tmp_path)
    made._render_filename = lambda ti, attempt: f"{ti.task_id}/attempt={attempt}.log"
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a server was asked"))
    yield made
    logging.getLogger("airflow.task").handlers[:] = before.values()


def test_a_running_or_deferred_tasks_log_is_what_is_on_the_disk(handler, tmp_path):
    assert isinstance(handler, SharedDiskHandler)
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "attempt=1.log").write_text('{"timestamp": "2026-01-01T00:00:00Z", "event": "epoch 1"}\n')
    for state in (TaskInstanceState.RUNNING, TaskInstanceState.DEFERRED):
        job = SimpleNamespace(hostname="nowhere.invalid", id=1)
        task = SimpleNamespace(
            task_id="train", state=state, try_number=1, hostname=job.hostname, triggerer_job=job, executor=None
        )
        stream, position = handler._read(task, 1, None)
        said = [entry.event for entry in stream]
        assert said[1:-2] == [str(folder / "attempt=1.log")], said  # the sources, in a group
        assert said[-1] == "epoch 1"
        assert not position["end_of_log"]
