"""MLflow as a service: what its server is started with, and its definition in the local stack."""

from collections.abc import Mapping
from pathlib import Path

from sim2edge.stack.client_environment import role_environment
from sim2edge.stack.credentials import USER, Credentials
from sim2edge.stack.files import write_private
from sim2edge.stack.http import basic, fetch_json
from sim2edge.stack.services import Service, log_path, plain_environment
from sim2edge.stack.settings import StackSettings


def server_command(python: str, host: str, port: int) -> tuple[str, ...]:
    """What `mlflow server --app-name basic-auth --workers 1` would run, for half its memory and half its start."""
    uvicorn = ("-m", "uvicorn", "--host", host, "--port", str(port), "--workers", "1")
    return (python, *uvicorn, "--no-access-log", "--factory", "mlflow.server.auth:create_app")


def server_environment(home: Path, bucket: str) -> Mapping[str, str]:
    """Where the server keeps what: runs and logins in SQLite below `home`, artifacts on S3. Nothing secret."""
    database = f"sqlite:///{home}/mlflow.db"
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(home / "auth.ini"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"s3://{bucket}/mlflow",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
    }


def define_mlflow(settings: StackSettings, credentials: Credentials) -> Service:
    """The tracking server: runs in SQLite, artifacts on the S3 server, a login on every page."""
    home = settings.home / "mlflow"
    login = basic(USER, credentials.mlflow_password)
    page = f"{settings.mlflow_url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    return Service(
        name="mlflow",
        command=server_command(str(settings.stage_python), "127.0.0.1", settings.mlflow_port),
        folder=home,
        log=log_path(settings, "mlflow"),
        environment=plain_environment()
        | role_environment(settings, "mlflow")  # the server's own secrets included
        | dict(server_environment(home, settings.bucket)),
        healthy=lambda _: fetch_json(page, login) is not None,
        after=("s3",),
        port=settings.mlflow_port,
        url=settings.mlflow_url,
        prepare=lambda: write_login_settings(home, credentials.mlflow_secret_key),
    )


def write_login_settings(home: Path, secret_key: str) -> None:
    """Write the login settings; logins made under another admin password are set aside, for they would shut us out."""
    lines = (
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = sqlite:///{home}/auth.db".replace("%", "%%"),
        f"admin_username = {USER}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        # A password check costs 0.3 s, and without this every request makes one.
        "auth_cache_ttl_seconds = 60",
    )
    write_private(home / "auth.ini", "\n".join(lines) + "\n")
    stamp, key = home / "auth.stamp", secret_key[:16]
    if (home / "auth.db").exists() and (not stamp.exists() or stamp.read_text() != key):
        (home / "auth.db").replace(home / "auth.db.old")
    write_private(stamp, key)
