"""Airflow as the stack configures it, in this process, and a stand-in for the stages' interpreter."""

import atexit
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from obstore.store import MemoryStore

ROOT = Path(__file__).parents[2]
HOME = Path(tempfile.mkdtemp(prefix="airflow-test-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    AIRFLOW_HOME=str(HOME),
    AIRFLOW_CONFIG=str(ROOT / "airflow.cfg"),
    SIM2EDGE_ROOT=str(ROOT),
    AIRFLOW__SIM2EDGE__PRESET="demo",
)
pytest.importorskip("airflow")
sys.path.insert(0, str(ROOT / "plugins"))  # as Airflow does


@pytest.fixture(scope="session", autouse=True)
def watched_threads_end():
    """End the threads of the pages soon: each test has its own, and an image's tests may have 512 in all."""
    from sim2edge_airflow.pages import watched

    watched.IDLE_S = 2.0


@pytest.fixture(scope="session")
def airflow_database():
    """Airflow's tables, in a file of this session's."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(autouse=True)
def database_as_it_was(request):
    """Take back what a test writes into Airflow's database, so that no order of tests matters."""
    if "airflow_database" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("airflow_database")
    from airflow import settings

    with closing(sqlite3.connect(settings.engine.url.database)) as now, closing(sqlite3.connect(":memory:")) as before:
        now.backup(before)
        version = data_version(now)
        yield
        if data_version(now) != version:
            before.backup(now)


def data_version(connection):
    """Return another number than before, if another connection has written meanwhile."""
    return connection.execute("PRAGMA data_version").fetchone()[0]


@pytest.fixture(scope="session")
def api(airflow_database):
    """Airflow's API server, as it is deployed but for the network: pages mounted, logins real."""
    from airflow.api_fastapi.app import create_app
    from airflow.configuration import conf
    from page_visitor import API_PASSWORDS

    # Where Airflow will look for it: another conftest.py may have set its home by now.
    Path(conf.get("core", "simple_auth_manager_passwords_file")).write_text(json.dumps(API_PASSWORDS))
    conf.set("core", "simple_auth_manager_users", ",".join(f"{user}:{user}" for user in API_PASSWORDS))
    conf.set("api_auth", "jwt_secret", "x" * 64)
    conf.set("api", "secret_key", "y" * 64)
    return create_app(apps="core")


@pytest.fixture(scope="session")
def database_with_dags(airflow_database):
    """A copy of Airflow's database with the DAGs of this checkout in it."""
    from airflow import settings
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.utils.session import create_session

    with sqlite3.connect(":memory:") as before, closing(sqlite3.connect(settings.engine.url.database)) as now:
        now.backup(before)
        with create_session() as session:
            DagBundlesManager().sync_bundles_to_db(session=session)
        sync_bag_to_db(DagBag(str(ROOT / "dags")), "dags-folder", None)
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        now.backup(copy)
        before.backup(now)
    return copy


@pytest.fixture
def dags(database_as_it_was, database_with_dags):
    """The DAGs in Airflow's database, for one test: elsewhere a 404 of Airflow tells that a request has passed."""
    from airflow import settings

    with closing(sqlite3.connect(settings.engine.url.database)) as now:
        database_with_dags.backup(now)


@pytest.fixture
def browser(api, s3):
    """Somebody who is logged in as an admin; the pages know this session's bucket as it is now."""
    from page_visitor import log_in

    return log_in(api, "admin")


@pytest.fixture
def bucket():
    """A bucket in memory with 6 batches, 3 trainings and 3 devices."""
    from benchmarks.made_up import fill

    from sim2edge.bus import Bus

    bus = Bus(MemoryStore())
    fill(bus, batches=6, trainings=3, devices=3)
    return bus


@pytest.fixture
def visitor(api, bucket, monkeypatch):
    """Somebody who is logged in, on pages that show the bucket in memory."""
    from page_visitor import log_in, pages_of

    from sim2edge.bus import Bus
    from sim2edge_airflow.pages.bus_view import BusView

    client = log_in(api, "viewer")
    monkeypatch.setattr(Bus, "from_environment", lambda *_, **__: bucket)
    pages_of(api).state.view = BusView(lambda: bucket)
    return client


@pytest.fixture
def person(api, bucket, dags, monkeypatch):
    """Somebody who is logged in with a role, on pages that show the bucket in memory: `person("op")`."""
    from page_visitor import log_in, pages_of

    from sim2edge.bus import Bus
    from sim2edge_airflow.pages.bus_view import BusView

    monkeypatch.setattr(Bus, "from_environment", lambda *_, **__: bucket)

    def enter(role):
        client = log_in(api, role)
        pages_of(api).state.view = BusView(lambda: bucket)
        return client

    return enter


@pytest.fixture
def fake_stages(tmp_path, monkeypatch):
    """Run stages by `fake_stage.py`; returns a function that says how they behave: `behave(clean="bad input")`."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_stage.py")} "$@"\n')
    python.chmod(0o755)
    behaviours = tmp_path / "behaviours.json"
    monkeypatch.setenv("SIM2EDGE_STAGE_PYTHON", str(python))
    monkeypatch.setenv("SIM2EDGE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("FAKE_STAGE", str(behaviours))
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids.json"))

    def behave(**how: str) -> None:
        behaviours.write_text(json.dumps(how))

    behave()
    return behave
