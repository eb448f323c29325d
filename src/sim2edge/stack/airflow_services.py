"""Define Airflow as services of the stack: the database migration, the API server, and what depends on the API server.

`airflow.cfg` of the checkout has the other settings; its first comment lists the variables that are set here. Settings
of one deployment, secrets and users included, are in `<home>/airflow-settings.env`: `AIRFLOW__SECTION__KEY=value`.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sim2edge.private_files import write_private
from sim2edge.secrets_file import read_secrets
from sim2edge.services.loopback import fetch_json
from sim2edge.services.role_files import USER
from sim2edge.stack import client_environment
from sim2edge.stack.credentials import Credentials
from sim2edge.stack.services import Service, log_path, plain_environment
from sim2edge.stack.settings import StackSettings

# Without --skip-serve-logs they would serve log files on all interfaces; the API server reads them from disk (LOGS).
LOGS = {"AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "sim2edge_airflow.shared_disk_logs.LOGGING_CONFIG"}
AFTER_API = {
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def define_airflow(settings: StackSettings, credentials: Credentials) -> list[Service]:
    """Return the processes of Airflow; the migration is left out when this version of Airflow has done it."""
    stamp = MigrationStamp(settings)

    def define(name: str, *arguments: str, variables: Mapping[str, str] = {}, **more: Any) -> Service:
        return Service(
            name=name,
            command=(str(settings.airflow_python), "-m", "airflow", *arguments),
            folder=settings.home / "airflow",
            log=log_path(settings, name),
            environment=dict(variables) | airflow_environment(settings, credentials),
            **more,
        )

    migration = [] if stamp.is_current() else [define("airflow-db", "db", "migrate")]

    def prepare_api() -> None:
        write_passwords(settings, credentials)
        stamp.write()

    api = define(
        "airflow-api",
        "api-server",
        variables=LOGS,
        after=("s3", *(service.name for service in migration)),
        healthy=lambda _: _health(settings) is not None,
        port=settings.airflow_port,
        url=settings.airflow_url,
        prepare=prepare_api,
    )
    rest = [
        define(f"airflow-{part}", *arguments, after=(api.name,), healthy=_beats(settings, part))
        for part, arguments in AFTER_API.items()
    ]
    return [*migration, api, *rest]


class MigrationStamp:
    """Records that the database was migrated by the Airflow of the current lock; saves 5 s of each start."""

    def __init__(self, settings: StackSettings) -> None:
        self._path = settings.home / "airflow" / "migrated"
        self._database = settings.home / "airflow" / "airflow.db"
        self._lock = settings.root / "requirements.txt"

    def is_current(self) -> bool:
        """Return whether a migration would have nothing to do."""
        return self._database.exists() and self._path.exists() and self._path.read_text() == self._fingerprint()

    def write(self) -> None:
        """Record that the migration is done."""
        write_private(self._path, self._fingerprint())

    def _fingerprint(self) -> str:
        return hashlib.sha256(self._lock.read_bytes()).hexdigest()


def write_passwords(settings: StackSettings, credentials: Credentials) -> None:
    """Give each user of Airflow a password: the stack's own to its admin, to others their old one or a new one."""
    path = settings.home / "airflow" / "passwords.json"
    named = own_settings(settings).get("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "")
    others = [user.partition(":")[0].strip() for user in named.split(",") if ":" in user]
    known = _read_passwords(path)
    made = {user: known.get(user) or secrets.token_urlsafe(15) for user in others}
    write_private(path, json.dumps(made | {USER: credentials.airflow_password}))


def _read_passwords(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def own_settings(settings: StackSettings) -> Mapping[str, str]:
    """Return the variables in `<home>/airflow-settings.env`; empty without that file.

    Raises:
        BadInput: a line is invalid.
    """
    path = settings.home / "airflow-settings.env"
    return read_secrets(path) if path.exists() else {}


def airflow_environment(settings: StackSettings, credentials: Credentials) -> dict[str, str]:
    """Return the environment of every Airflow process, besides `airflow.cfg`; tasks inherit it."""
    return {
        **plain_environment(),
        **client_environment.airflow_environment(settings),
        **own_settings(settings),
        "AIRFLOW_HOME": str(settings.home / "airflow"),
        "AIRFLOW_CONFIG": str(settings.root / "airflow.cfg"),
        "SIM2EDGE_ROOT": str(settings.root),
        "AIRFLOW__API_AUTH__JWT_SECRET": credentials.airflow_jwt_secret,
        "AIRFLOW__API__SECRET_KEY": credentials.airflow_secret_key,
        "AIRFLOW__CORE__FERNET_KEY": credentials.airflow_fernet_key,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__SIM2EDGE__PRESET": settings.preset,
        "AIRFLOW__SIM2EDGE__MLFLOW_URL": settings.mlflow_url if "mlflow" in settings.only else "",
    }


def _health(settings: StackSettings) -> dict[str, Any] | None:
    return fetch_json(f"{settings.airflow_url}/api/v2/monitor/health")


def _beats(settings: StackSettings, part: str) -> Callable[[float], bool]:
    """Return the health check of `part`: a heartbeat since the given start, not of an earlier process."""
    name = part.replace("-", "_")

    def healthy(started: float) -> bool:
        state = (_health(settings) or {}).get(name) or {}
        return state.get("status") == "healthy" and _time(state[f"latest_{name}_heartbeat"]) >= started

    return healthy


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
