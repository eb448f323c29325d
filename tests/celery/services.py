"""What the hosts share: PostgreSQL, Redis, S3, and Airflow's API server, scheduler and DAG processor.

All listen on one address. The workers are told how to reach the API server, the broker, the database of Celery's
results and S3; they know neither Airflow's own database nor its signing keys.
"""

import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import psutil
from hosts import END_WITH_THE_TEST, ROOT, SERVICES

from sim2edge.processes import end
from sim2edge.services import seaweedfs
from sim2edge.services.loopback import fetch_json
from sim2edge.services.seaweedfs import S3Server

AIRFLOW = ROOT / ".venvs" / "airflow" / "bin" / "python"
STAGES = ROOT / ".venvs" / "stages" / "bin" / "python"
PATIENCE_S = 180.0
"""Until a service has to be up: the machine may be busy."""
PLAIN = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Cluster:
    """How to reach a running Airflow, and what its parts are told."""

    api: str
    password: str
    s3: S3Server
    ports: Mapping[str, int]
    worker: Mapping[str, str]
    """Environment of a worker."""
    stage: Mapping[str, str]
    """What the stages there reach S3 with."""
    logs: Path


def program(name: str) -> str:
    """Where a program is, PostgreSQL's own folder included.

    Raises:
        AssertionError: says what to install.
    """
    found = shutil.which(name) or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    assert found, f"{name} is not installed: see docs/celery.md (`apt-get install redis-server postgresql iproute2`)"
    return found


def wait_for(look: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `look` is true."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"{what} did not come in {seconds:.0f} s"
        time.sleep(0.2)


def free_port() -> int:
    """A port that nobody listens on at the address of the services."""
    with socket.create_server((SERVICES, 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int) -> bool:
    """Whether something listens."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((SERVICES, port)) == 0


@contextmanager
def service(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the context ends."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*END_WITH_THE_TEST, *command],
            env=dict(environment),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        end(tree, grace_s=10)
        process.wait()


@contextmanager
def postgres(folder: Path, password: str) -> Iterator[int]:
    """A PostgreSQL server with two databases, each with a user of its name: `airflow` and `celery`."""
    user = pwd.getpwnam("postgres")
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    secret = folder / "password"
    secret.write_text(password)
    os.chown(secret, user.pw_uid, user.pw_gid)

    def as_postgres(*command: str) -> list[str]:
        return [
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            *END_WITH_THE_TEST[1:],
            *command,
        ]

    data, port = folder / "data", free_port()
    initdb = as_postgres(program("initdb"), "-D", str(data), "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
    subprocess.run(initdb, check=True, capture_output=True, env=PLAIN, cwd="/")
    with (data / "pg_hba.conf").open("a") as file:
        file.write(
            "host airflow airflow 198.18.77.0/24 scram-sha-256\nhost celery celery 198.18.77.0/24 scram-sha-256\n"
        )
        file.write(f"host all postgres {SERVICES}/32 scram-sha-256\n")
    options = ["-D", str(data), "-h", SERVICES, "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    with service(as_postgres(program("postgres"), *options), PLAIN, folder / "postgres.log"):
        wait_for(lambda: answers(port), PATIENCE_S, "PostgreSQL")
        for name in ("airflow", "celery"):
            for statement in (
                f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
                f"CREATE DATABASE {name} OWNER {name}",
            ):
                query = [program("psql"), "-h", SERVICES, "-p", str(port), "-U", "postgres", "-qc", statement]
                subprocess.run(query, check=True, env={**PLAIN, "PGPASSWORD": password}, cwd="/")
        yield port


@contextmanager
def redis(folder: Path, password: str) -> Iterator[int]:
    """A Redis server."""
    port = free_port()
    settings = folder / "redis.conf"
    settings.write_text(f"bind {SERVICES}\nport {port}\nrequirepass {password}\nsave ''\ndir {folder}\n")
    settings.chmod(0o600)
    with service([program("redis-server"), str(settings)], PLAIN, folder / "redis.log"):
        wait_for(lambda: answers(port), PATIENCE_S, "Redis")
        yield port


def healthy(api: str, *parts: str) -> bool:
    """Whether Airflow says that these parts are well."""
    state = fetch_json(f"{api}/api/v2/monitor/health")
    return all(((state or {}).get(part) or {}).get("status") == "healthy" for part in parts)


@contextmanager
def start_cluster(folder: Path) -> Iterator[Cluster]:
    """Everything but the workers, until the context ends."""
    password = secrets.token_hex(16)
    with ExitStack() as stack:
        database = stack.enter_context(postgres(folder / "postgres", password))
        broker = stack.enter_context(redis(folder, password))
        with mock.patch.object(seaweedfs, "HOST", SERVICES):
            s3 = stack.enter_context(seaweedfs.start_seaweedfs(folder / "s3"))
        port = free_port()
        api = f"http://{SERVICES}:{port}"
        common = {
            **PLAIN,
            **s3.role("airflow"),
            "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
            "SIM2EDGE_ROOT": str(ROOT),
            "SIM2EDGE_STAGE_PYTHON": str(STAGES),
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{api}/execution/",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://:{password}@{SERVICES}:{broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://celery:{password}@{SERVICES}:{database}/celery",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
            "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
            "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": f"s3://{s3.bucket}/logs",
            "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID": "aws_default",
            "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
            "AIRFLOW__SIM2EDGE__CAPTURE_SHARDS": "8",
            "AIRFLOW__SIM2EDGE__PRESET": "demo",
        }
        control = {
            **common,
            "HOME": str(folder),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://airflow:{password}@{SERVICES}:{database}/airflow",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__API__HOST": SERVICES,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": api,
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            # A host that is gone is missed sooner than by default.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        }
        worker = {
            **common,
            "SIM2EDGE_CREDENTIALS": "/tmp/credentials",
            "HOME": "/tmp",
            "AIRFLOW_HOME": "/tmp/airflow",
            "SIM2EDGE_SCRATCH": "/tmp/scratch",
        }
        (folder / "airflow").mkdir()
        (folder / "airflow" / "passwords.json").write_text(json.dumps({"admin": password}))

        def airflow(*words: str) -> list[str]:
            return [str(AIRFLOW), "-m", "airflow", *words]

        migrated = subprocess.run(airflow("db", "migrate"), env=control, capture_output=True, text=True)
        assert migrated.returncode == 0, migrated.stderr[-2000:]
        stack.enter_context(service(airflow("api-server"), control, folder / "api-server.log"))
        wait_for(lambda: healthy(api, "metadatabase"), PATIENCE_S, "the API server")
        for part in (("scheduler", "--skip-serve-logs"), ("dag-processor",)):
            stack.enter_context(service(airflow(*part), control, folder / f"{part[0]}.log"))
        wait_for(lambda: healthy(api, "scheduler", "dag_processor"), PATIENCE_S, "the scheduler")
        ports = {"api": port, "s3": s3.ports["s3.port"], "postgres": database, "redis": broker}
        yield Cluster(api, password, s3, ports, worker, s3.environment() | s3.role("capture"), folder)
