"""Create the secrets of the system in containers: random, once, each in the file that one service gets.

    <folder>/                   0700: accessible only to its owner, and root
        passwords.json          logins of people and passwords between services: the source of all other files
        <secret>                mounted into a service at /run/secrets/<secret>
        credentials/<role>.env  keys of each role: S3, MLflow
        worker/<stage>.env      copies for the stages, which Airflow passes on to them

A file is mounted alone, so the folder's mode does not restrict the service, whatever user it runs as; on the host it
restricts all others. That works for any user who runs this, root or not, and for a rootless engine.
"""

import base64
import json
import secrets
import warnings
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sim2edge.access import OF_DAGS
from sim2edge.errors import BadInput
from sim2edge.private_files import make_private_folder, write_private
from sim2edge.services.role_files import USER, init_roles, read_variables, without_retired
from sim2edge.stages import stage_names

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
    """Every secret created here; `repr` hides them."""

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
    """Address that Alertmanager and failed tasks post to; empty: alerts are only shown by Alertmanager."""


def load_passwords(folder: Path) -> Passwords:
    """Read the passwords of a folder.

    Raises:
        BadInput: there are none, or the file is invalid: data depend on them, so nothing is repaired here.
    """
    path = folder / PASSWORDS
    try:
        return Passwords.model_validate(without_retired(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: missing: `make secrets` (sim2edge compose init) creates the secrets") from error
    except PermissionError as error:
        raise BadInput(f"{path}: may not be read by this user: run the command as its owner") from error
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(f"{path}: field '{field}' is invalid: restore the file") from error
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: restore the file") from error


def has_passwords(folder: Path) -> bool:
    """Return whether the folder has passwords, valid or not."""
    return (folder / PASSWORDS).exists()


def make_secrets(folder: Path, alert_webhook: str | None = None) -> bool:
    """Create missing secrets, and rewrite every file that is derived from the passwords.

    Args:
        folder: created if missing.
        alert_webhook: where alerts are posted; None: unchanged.

    Returns:
        whether passwords were created, too; False: they existed.

    Raises:
        BadInput: the folder's content is invalid, or it may not be written.
    """
    try:
        make_private_folder(folder)
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
    """Create missing role files (S3, MLflow), readable by the services that mount them."""
    init_roles(folder, DEVICES)
    folder.chmod(0o755)
    for path in folder.glob("*.env"):
        path.chmod(0o444)
    # Files that Airflow passes on to stages, without the admin's and the devices' files.
    worker = folder.with_name(WORKER)
    worker.mkdir(exist_ok=True)
    for role in (*stage_names(), *OF_DAGS):
        write_mounted(worker / f"{role}.env", (folder / f"{role}.env").read_text(encoding="utf-8"))


def logins(folder: Path) -> dict[str, tuple[str, str]]:
    """Return user and password of each service with a login; for S3 the admin's keys.

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
    """Write a file that a container mounts; an unchanged one is not replaced, as running containers mount it."""
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return
    write_private(path, content)
    path.chmod(0o444)


def service_files(passwords: Passwords) -> dict[str, str]:
    """Return name of a secret to its content."""
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
    """Return `redis.conf`: a password, and a queue that survives a restart."""
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
        raise BadInput("this system's C library cannot hash passwords with bcrypt: create the secrets on Linux")
    return f'basic_auth_users:\n  {USER}: "{hashed}"\n'


def alertmanager_settings(webhook: str) -> str:
    """Return `alertmanager.yml`: one receiver, with the webhook's address, which often is a secret itself."""
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
