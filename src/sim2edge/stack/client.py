"""Start, stop and reach the local stack from Python.

stack = Stack(load_settings({}))
stack.start(on_event=print, attached=True)      # attached: it stops when this process ends, however it ends
environment = stack.environment()               # for Bus, MLflow and Airflow's API
stack.stop()
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sim2edge.errors import Unavailable
from sim2edge.private_files import append_private
from sim2edge.processes import end
from sim2edge.services.loopback import fetch_json
from sim2edge.services.role_files import USER, Login, unknown_roles
from sim2edge.stack.client_environment import ignored_variables, person_environment, role_environment
from sim2edge.stack.credentials import Credentials, load_credentials
from sim2edge.stack.definitions import define_services
from sim2edge.stack.guardian import EXIT_ALREADY_RUNNING
from sim2edge.stack.lifecycle import Phase
from sim2edge.stack.private_home import restrict_home
from sim2edge.stack.settings import StackSettings, check_interpreters, check_ports
from sim2edge.stack.state import ServiceState, StackPhase, StackState, is_running, owner, read_state, state_path

POLL_S = 0.1
FIRST_STATE_S = 15.0
STOP_DEADLINE_S = 25.0


@dataclass(frozen=True)
class Event:
    """A change of a service's phase."""

    service: str
    phase: Phase
    seconds: float
    """Since the start was requested."""
    detail: str = ""


def _ignore(event: Event) -> None:
    del event


class Stack:
    """The stack of one folder. If one runs there, its own settings are used, not those given."""

    def __init__(self, settings: StackSettings) -> None:
        self._given = settings
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> str:
        """The folder of data, logs and credentials."""
        return str(self._given.home)

    @property
    def settings(self) -> StackSettings:
        """The settings of the running stack, or those a start would use."""
        state = self.state()
        return state.settings if state else self._given

    def running(self) -> bool:
        """Return whether a stack runs, or is starting or stopping, in this folder."""
        return is_running(self._given.home)

    def state(self) -> StackState | None:
        """Return the state of the running stack; None when none runs, or its state file is damaged."""
        return read_state(self._given.home) if self.running() else None

    def start(self, on_event: Callable[[Event], None] = _ignore, attached: bool = False) -> bool:
        """Start everything and return once all is healthy; return False when it already ran.

        Raises:
            BadInput: a port is taken, an interpreter or a file is missing; nothing was started.
            Unavailable: a service did not become healthy (the message has the end of its log); nothing is left running.
        """
        if not self.running():
            self._launch(attached)
        try:
            self._follow(on_event)
        except BaseException:
            if self._guardian:
                self.stop()
            raise
        return self._guardian is not None

    def stop(self) -> bool:
        """Stop everything and wait until it has ended; return False when nothing ran.

        Raises:
            Unavailable: it still runs after the deadline.
        """
        if not self.running():
            return False
        deadline = time.monotonic() + STOP_DEADLINE_S
        guardian = owner(self._given.home)
        process = guardian.find() if guardian else None
        if process:
            process.terminate()
        while self.running():
            if time.monotonic() > deadline:
                if not process:
                    raise Unavailable(f"{self._given.home}: a stack runs here, but the lock names no process")
                end([*process.children(recursive=True), process], grace_s=0)
                break
            time.sleep(POLL_S)
        if self._guardian:
            self._guardian.wait()
        return True

    def services(self) -> list[ServiceState]:
        """Return the services of the running stack; empty when none runs."""
        state = self.state()
        return state.services if state else []

    def environment(self) -> dict[str, str]:
        """Return the variables for the bus, MLflow and Airflow's API (`SIM2EDGE_AIRFLOW_URL` and `..._TOKEN`)."""
        settings, credentials = self.settings, self._credentials()
        found = person_environment(settings, credentials)
        if "airflow" in settings.only:
            found["SIM2EDGE_AIRFLOW_URL"] = settings.airflow_url
            found["SIM2EDGE_AIRFLOW_TOKEN"] = self.airflow_token()
        return found

    def role(self, role: str) -> dict[str, str]:
        """Return the variables for the bus with the keys of one role, such as `device-virtual-pi-1`.

        Raises:
            BadInput: the role has no keys.
        """
        return role_environment(self.settings, role)

    def airflow_token(self) -> str:
        """Return a token for Airflow's API (`Authorization: Bearer ...`), valid for a day.

        Raises:
            Unavailable: Airflow does not answer.
        """
        login = {"username": USER, "password": self._credentials().airflow_password}
        answer = fetch_json(f"{self.settings.airflow_url}/auth/token", body=login, timeout_s=20)
        if not answer:
            raise Unavailable(f"Airflow at {self.settings.airflow_url} returns no token: see `sim2edge status`")
        return str(answer["access_token"])

    def ignored_variables(self) -> list[str]:
        """Return the names of this process's variables that point at another S3 than the stack's: it ignores them."""
        return ignored_variables(self.settings, self._credentials(), os.environ)

    def urls(self) -> dict[str, str]:
        """Return name to address of the UIs and APIs."""
        settings = self.settings
        addresses = {"s3": settings.s3_url, "mlflow": settings.mlflow_url, "airflow": settings.airflow_url}
        return {part: addresses[part] for part in settings.only}

    def logins(self) -> dict[str, Login]:
        """Return name to login, for the same names as `urls`."""
        credentials = self._credentials()
        logins = {
            "s3": (credentials.s3_access_key, credentials.s3_secret_key),
            "mlflow": (USER, credentials.mlflow_password),
            "airflow": (USER, credentials.airflow_password),
        }
        return {name: Login(url, *logins[name]) for name, url in self.urls().items()}

    def _credentials(self) -> Credentials:
        return load_credentials(self._given.home)

    def _launch(self, attached: bool) -> None:
        settings = self._given
        check_interpreters(settings)
        open_to_others = restrict_home(settings.home)
        define_services(settings, self._credentials())
        for warning in (*open_to_others, *unknown_roles(settings.roles)):
            print(f"sim2edge: {warning}", file=sys.stderr)
        check_ports(settings)
        state_path(settings.home).unlink(missing_ok=True)
        logs = settings.home / "logs"
        for log in logs.glob("*.log"):
            log.replace(log.with_suffix(".log.previous"))
        with append_private(logs / "supervisor.log") as log_file:
            self._guardian = subprocess.Popen(
                [sys.executable, "-m", "sim2edge.stack.guardian", *(["--attached"] if attached else [])],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        assert self._guardian.stdin  # noqa: S101 - stdin is a pipe
        self._guardian.stdin.write(settings.model_dump_json().encode() + b"\n")
        self._guardian.stdin.flush()
        if not attached:
            self._guardian.stdin.close()

    def _follow(self, on_event: Callable[[Event], None]) -> None:
        """Report every change until the stack is ready.

        Raises:
            Unavailable: it failed to start.
        """
        began = time.monotonic()
        known: dict[str, Phase] = {}
        while True:
            ended = self._has_ended()
            state = read_state(self._given.home)
            for event in self._changes(state, known, began):
                on_event(event)
            if state and state.phase is StackPhase.READY:
                return
            if ended or (state and state.phase is StackPhase.FAILED):
                raise Unavailable(self._why(state))
            if state is None and time.monotonic() - began > FIRST_STATE_S:
                raise Unavailable(f"{state_path(self._given.home)}: damaged: `sim2edge down`, then `sim2edge up`")
            time.sleep(POLL_S)

    def _has_ended(self) -> bool:
        if self._guardian is None:
            return not self.running()
        code = self._guardian.poll()
        if code == EXIT_ALREADY_RUNNING:  # another start was faster: follow that stack
            self._guardian = None
            return False
        return code is not None

    def _changes(self, state: StackState | None, known: dict[str, Phase], began: float) -> Iterator[Event]:
        for service in state.services if state else []:
            if known.get(service.name, Phase.PENDING) is not service.phase:
                known[service.name] = service.phase
                yield Event(service.name, service.phase, time.monotonic() - began, service.detail)

    def _why(self, state: StackState | None) -> str:
        if state and state.detail:
            return f"the stack did not start: {state.detail}"
        log = self._given.home / "logs" / "supervisor.log"
        return f"the stack did not start: {log} ends with: {log.read_text(errors='replace')[-500:]}"
