"""The secrets of the system in containers: random, made once, each in the file that one service is given.

    <folder>/                   0700: nobody but its owner, and root, comes in
        passwords.json          the logins of people and the passwords between services: all else is made from it
        <secret>                what a service gets mounted at /run/secrets/<secret>
        credentials/<role>.env  keys of each role: S3, MLflow
        worker/<stage>.env      those of the stages again, which Airflow hands on to them

A file is mounted alone, so the folder's own mode does not shut out the service, whatever user that runs as; on the host
it shuts out everybody else. That works for any user who runs this, root or not, and for an engine without root.
"""

import base64
import json
import secrets
import warnings
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge.errors import BadInput
from sim2edge.services.files import write_private
from sim2edge.services.logins import USER, without_retired
from sim2edge.services.role_files import init_roles, read_variables
from sim2edge.stages import stage_names

"""Who logs in to Airflow, MLflow, Grafana, Prometheus and Alertmanager."""

BCRYPT_COST = 10
PASSWORDS = "passwords.json"
CREDENTIALS, WORKER = "credentials", "worker"
DEVICES = ("device-1", "device-2", "device-3")
"""Ids of the virtual devices."""


def _password() -> str:
    return secrets.token_urlsafe(18)


def _key() -> str:
    return secrets.token_hex(48)


def _salt() -> str:
    return secrets.token_hex(10) + "aO"  # 22 letters, the last of which stands for two bits


def _fernet() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


class Passwords(BaseModel):
    """Every secret that is made here; `repr` shows none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    airflow_password: str = Field(default_factory=_password, min_length=12, repr=False)
    airflow_jwt_secret: str = Field(default_factory=_key, min_length=64, repr=False)
    airflow_secret_key: str = Field(default_factory=_key, min_length=32, repr=False)
    airflow_fernet_key: str = Field(default_factory=_fernet, min_length=44, repr=False)
    database_password: str = Field(default_factory=_password, min_length=12, repr=False)
    broker_password: str = Field(default_factory=_password, min_length=12, repr=False)
    monitoring_password: str = Field(default_factory=_password, min_length=12, repr=False)
    monitoring_salt: str = Field(default_factory=_salt, pattern=r"^[./A-Za-z0-9]{22}$", repr=False)
    grafana_password: str = Field(default_factory=_password, min_length=12, repr=False)
    device_metrics_token: str = Field(default_factory=_password, min_length=12, repr=False)
    alert_webhook: str = Field(default="", repr=False)
    """Address that Alertmanager and failed tasks post to; empty: alerts are shown by Alertmanager and go nowhere."""


def load_passwords(folder: Path) -> Passwords:
    """Return the passwords of a folder.

    Raises:
        BadInput: there are none, or the file is not what was written: data depend on them, so nothing is mended here.
    """
    path = folder / PASSWORDS
    try:
        return Passwords.model_validate(without_retired(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: missing: `make secrets` (sim2edge compose init) makes the secrets") from error
    except PermissionError as error:
        raise BadInput(f"{path}: may not be read by this user: run the command as its owner") from error
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(f"{path}: field '{field}' is wrong: restore the file") from error
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: restore the file") from error


def has_passwords(folder: Path) -> bool:
    """Return whether the folder has its passwords, right or wrong."""
    return (folder / PASSWORDS).exists()


def make_secrets(folder: Path, alert_webhook: str | None = None) -> bool:
    """Make what is missing, and write every file that is made from the passwords anew.

    Args:
        folder: made if missing.
        alert_webhook: where alerts are posted; None: as before.

    Returns:
        whether passwords were made, too; False: they were there.

    Raises:
        BadInput: the folder holds something else, or may not be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        new = not has_passwords(folder)
        passwords = Passwords() if new else load_passwords(folder)
        if alert_webhook is not None:
            passwords = passwords.model_copy(update={"alert_webhook": alert_webhook})
        write_private(folder / PASSWORDS, passwords.model_dump_json(indent=1))
        for name, content in service_files(passwords).items():
            write_mounted(folder / name, content)
        make_credentials(folder / CREDENTIALS)
    except OSError as error:
        raise BadInput(f"{folder}: cannot write the secrets there: {error.strerror}") from error
    return new


def make_credentials(folder: Path) -> None:
    """The role files (S3, MLflow) that are missing, to be read by whoever has them mounted."""
    init_roles(folder, DEVICES)
    folder.chmod(0o755)
    for path in folder.glob("*.env"):
        path.chmod(0o444)
    # What Airflow hands on to stages, apart from the admin's and the devices' files.
    worker = folder.with_name(WORKER)
    worker.mkdir(exist_ok=True)
    for stage in stage_names():
        write_mounted(worker / f"{stage}.env", (folder / f"{stage}.env").read_text(encoding="utf-8"))


def logins(folder: Path) -> dict[str, tuple[str, str]]:
    """User and password of each service that people log in to; for S3 the admin's keys.

    Raises:
        BadInput: there are no secrets.
    """
    passwords = load_passwords(folder)
    mlflow = read_variables(folder / CREDENTIALS, "mlflow")["MLFLOW_AUTH_ADMIN_PASSWORD"]
    admin = read_variables(folder / CREDENTIALS, "admin")
    return {
        "airflow": (USER, passwords.airflow_password),
        "mlflow": (USER, mlflow),
        "s3": (admin["AWS_ACCESS_KEY_ID"], admin["AWS_SECRET_ACCESS_KEY"]),
        "prometheus": (USER, passwords.monitoring_password),
        "alertmanager": (USER, passwords.monitoring_password),
        "grafana": (USER, passwords.grafana_password),
    }


def write_mounted(path: Path, content: str) -> None:
    """Write a file that a container is given; left as it is when nothing changed, for a running one has it mounted."""
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return
    write_private(path, content)
    path.chmod(0o444)


def service_files(passwords: Passwords) -> dict[str, str]:
    """Name of a secret to its content."""
    database = f"airflow:{quote(passwords.database_password)}@postgres:5432/airflow"
    return {
        "database_password": passwords.database_password,
        "database_url": f"postgresql+psycopg2://{database}",
        "airflow_jwt_secret": passwords.airflow_jwt_secret,
        "airflow_secret_key": passwords.airflow_secret_key,
        "airflow_fernet_key": passwords.airflow_fernet_key,
        "airflow_passwords": json.dumps({USER: passwords.airflow_password}),
        "airflow_alert_webhook": passwords.alert_webhook,
        "broker_url": f"redis://:{quote(passwords.broker_password)}@redis:6379/0",
        "result_backend": f"db+postgresql+psycopg2://{database}",
        "broker_password": passwords.broker_password,
        "redis_conf": redis_settings(passwords.broker_password),
        "monitoring_password": passwords.monitoring_password,
        "monitoring_web": monitoring_login(passwords.monitoring_password, passwords.monitoring_salt),
        "grafana_password": passwords.grafana_password,
        "device_metrics_token": passwords.device_metrics_token,
        "alertmanager_config": alertmanager_settings(passwords.alert_webhook),
    }


def redis_settings(password: str) -> str:
    """`redis.conf`: a password, and what is queued survives a restart."""
    return f"requirepass {password}\nappendonly yes\ndir /data\nmaxmemory-policy noeviction\n"


def monitoring_login(password: str, salt: str) -> str:
    """Return the web settings of Prometheus and Alertmanager: one user, every page behind the login.

    Raises:
        BadInput: this system's C library has no bcrypt.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import crypt
    hashed = crypt.crypt(password, f"$2b${BCRYPT_COST}${salt}")
    if not hashed or not hashed.startswith("$2b$"):
        raise BadInput("this system's C library cannot hash passwords with bcrypt: make the secrets on Linux")
    return f'basic_auth_users:\n  {USER}: "{hashed}"\n'


def alertmanager_settings(webhook: str) -> str:
    """`alertmanager.yml`: one receiver; it holds the webhook's address, which often is a secret itself."""
    receiver: dict[str, object] = {"name": "operators"}
    if webhook:
        receiver["webhook_configs"] = [{"url": webhook, "send_resolved": True}]
    route = {
        "receiver": "operators",
        "group_by": ["alertname"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "12h",
    }
    return json.dumps({"route": route, "receivers": [receiver]}, indent=1) + "\n"
