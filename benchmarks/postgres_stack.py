"""Run the local stack with Airflow on PostgreSQL, service by service: each can be killed and restarted.

    with open_stack(settings, {"AIRFLOW__CORE__PARALLELISM": "8"}) as stack:
        stack.client.trigger("sim_capture", "b1", {})
        stack.kill("s3")
        stack.start("s3")

The same services as `sim2edge up` starts, without its supervisor. It needs Debian's package `postgresql`; the server
has a socket in a folder of its own and listens on no port.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import psutil

from sim2edge.errors import Unavailable
from sim2edge.follow.airflow_client import AirflowClient
from sim2edge.processes import end, spawn
from sim2edge.services.role_files import USER
from sim2edge.stack.client_environment import person_environment
from sim2edge.stack.credentials import load_credentials
from sim2edge.stack.definitions import define_services
from sim2edge.stack.services import Service, plain_environment
from sim2edge.stack.settings import StackSettings

DATABASE = "postgres"
START_S = 300.0
PATIENCE_S = 300.0
MIN_PAUSE_S, MAX_PAUSE_S = 0.2, 1.0
"""Seconds between two checks: they grow, because each check costs time, too."""
T = TypeVar("T")


def postgres_program(name: str) -> str | None:
    """Return the path of a PostgreSQL program; None if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


class PostgresStack:
    """The processes of a stack, by service name, with `postgres`."""

    def __init__(self, settings: StackSettings, airflow: Mapping[str, str]) -> None:
        self.settings = settings
        self._credentials = load_credentials(settings.home)
        self._sockets = Path(tempfile.mkdtemp(prefix="s2e-pg-"))
        connection = f"postgresql+psycopg2://airflow@/airflow?host={self._sockets}"
        more = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": connection, **airflow}
        services = [self._define_postgres(), *define_services(settings, self._credentials)]
        self.services = {
            each.name: replace(each, environment={**each.environment, **more}) if "airflow" in each.name else each
            for each in services
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @cached_property
    def client(self) -> AirflowClient:
        """A client of Airflow's API, logged in as admin."""
        return AirflowClient(self.settings.airflow_url, USER, self._credentials.airflow_password)

    def environment(self) -> dict[str, str]:
        """Return the variables that a user's shell needs for the bus and MLflow."""
        return person_environment(self.settings, self._credentials)

    def airflow(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Airflow's command line as the stack's own processes would."""
        environment = self.services["airflow-scheduler"].environment
        command = [str(self.settings.airflow_python), "-m", "airflow", *words]
        return subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=120, check=False)

    def start(self, *names: str) -> None:
        """Start services in parallel, and wait until they are healthy.

        Raises:
            TimeoutError: one is not healthy in time.
            RuntimeError: one has ended.
        """
        began = time.time()
        for name in names:
            service = self.services[name]
            service.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if service.prepare:
                service.prepare()
            self.processes[name] = spawn(service.command, service.environment, service.folder, service.log)
        for name in names:
            self._wait_for(name, began)

    def _wait_for(self, name: str, began: float) -> None:
        service = self.services[name]
        if service.healthy is None:
            self.processes[name].wait(START_S)
            return
        healthy, process = service.healthy, self.processes[name]

        def look() -> bool:
            if (code := process.poll()) is not None:
                raise RuntimeError(f"{name} ended with code {code}; its log ends with:\n{tail(service.log)}")
            return healthy(began)

        try:
            wait_for(look, name, START_S)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log ends with:\n{tail(service.log)}") from error

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill a service and all its descendants at once."""
        process = self.processes.pop(name)
        if name == DATABASE:  # it has to end its own children, or shared memory is left
            process.send_signal(signal.SIGQUIT if how is signal.SIGKILL else how)
        else:
            end([*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)], grace_s=0)
        process.wait()

    def restart_ended(self) -> list[str]:
        """Restart services that have ended by themselves, as the stack's supervisor does, and return their names."""
        ended = [
            name
            for name, process in self.processes.items()
            if self.services[name].healthy and process.poll() is not None
        ]
        for name in ended:
            end_session(self.processes.pop(name))
            self.start(name)
        return ended

    def close(self) -> None:
        """End everything, the database last, and remove its socket."""
        database = self.processes.pop(DATABASE, None)
        for processes in (self.processes.values(), [database] if database else []):
            running = [psutil.Process(process.pid) for process in processes if process.poll() is None]
            end([each for process in running for each in (process, *process.children(recursive=True))], grace_s=10)
            for process in processes:
                process.wait()
                end_session(process)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _define_postgres(self) -> Service:
        folder = self._sockets / "data"
        # Without fsync, data survives a killed process, though not a power failure.
        options = ("-h", "", "-k", str(self._sockets), "-c", "fsync=off", "-c", "max_connections=300")
        return Service(
            name=DATABASE,
            command=(*as_postgres(), str(postgres_program("postgres")), "-D", str(folder), *options),
            folder=Path("/"),
            log=self.settings.home / "logs" / "postgres.log",
            environment=plain_environment(),
            healthy=lambda _: self._answers(),
            prepare=self._make_cluster,
        )

    def _make_cluster(self) -> None:
        folder = self._sockets / "data"
        if folder.exists():
            return
        if os.geteuid() == 0:
            shutil.chown(self._sockets, "postgres")
        initdb = [str(postgres_program("initdb")), "-D", str(folder), "-U", "airflow", "-A", "trust", "--no-sync"]
        subprocess.run([*as_postgres(), *initdb], check=True, capture_output=True, cwd="/")

    def _answers(self) -> bool:
        psql = [str(postgres_program("psql")), "-h", str(self._sockets), "-U", "airflow", "-d", "postgres", "-qtc"]
        made = subprocess.run([*psql, "SELECT 1 FROM pg_database WHERE datname = 'airflow'"], capture_output=True)
        if made.returncode == 0 and not made.stdout.strip():
            made = subprocess.run([*psql, "CREATE DATABASE airflow"], capture_output=True)
        return made.returncode == 0


def as_postgres() -> tuple[str, ...]:
    """Return the prefix of a command that must not run as root: PostgreSQL refuses to."""
    if os.geteuid() != 0:
        return ()
    user = pwd.getpwnam("postgres")
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=QUIT")


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Kill the session of an ended process: a scheduler that exits leaves its idle workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def wait_for(look: Callable[[], T], what: str, seconds: float = PATIENCE_S) -> T:
    """Call `look` until its result is true, and return it; `Unavailable` counts as not yet.

    Raises:
        TimeoutError: it is not true in time.
    """
    deadline = time.monotonic() + seconds
    pause = MIN_PAUSE_S
    last: object = "nothing"
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
            last = found
        except Unavailable as error:
            last = error
        time.sleep(pause)
        pause = min(1.2 * pause, MAX_PAUSE_S)
    raise TimeoutError(f"{what}: not reached after {seconds:.0f} s; last: {last}")


@contextmanager
def open_stack(settings: StackSettings, airflow: Mapping[str, str]) -> Iterator[PostgresStack]:
    """Provide a running stack, ended with the context; `airflow` are variables for all of Airflow's processes."""
    (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    stack = PostgresStack(settings, airflow)
    try:
        last = [name for name, service in stack.services.items() if "airflow-api" in service.after]
        for name in stack.services:
            if name not in last:
                stack.start(name)
        stack.start(*last)
        yield stack
    finally:
        stack.close()
