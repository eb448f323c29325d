"""MLflow as a service of the stack."""

from pathlib import Path

from sim2edge.stack.client_environment import s3_environment
from sim2edge.stack.credentials import USER, Credentials
from sim2edge.stack.files import write_private
from sim2edge.stack.http import basic, fetch_json
from sim2edge.stack.services import Service, log_path, plain_environment
from sim2edge.stack.settings import StackSettings


def define_mlflow(settings: StackSettings, credentials: Credentials) -> Service:
    """The tracking server: runs in SQLite, artifacts on the S3 server, a login on every page."""
    home = settings.home / "mlflow"
    login = basic(USER, credentials.mlflow_password)
    page = f"{settings.mlflow_url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    # What `mlflow server --app-name basic-auth --workers 1` would run: without it, half the memory and half the start.
    uvicorn = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", str(settings.mlflow_port), "--workers", "1")
    return Service(
        name="mlflow",
        command=(str(settings.stage_python), *uvicorn, "--no-access-log", "--factory", "mlflow.server.auth:create_app"),
        folder=home,
        log=log_path(settings, "mlflow"),
        environment=plain_environment()
        | s3_environment(settings, credentials)
        | {
            "MLFLOW_FLASK_SERVER_SECRET_KEY": credentials.mlflow_secret_key,
            "MLFLOW_AUTH_ADMIN_PASSWORD": credentials.mlflow_password,
            "MLFLOW_AUTH_CONFIG_PATH": str(home / "auth.ini"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{home}/mlflow.db",
            "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{home}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"s3://{settings.bucket}/mlflow",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
        },
        healthy=lambda _: fetch_json(page, login) is not None,
        after=("s3",),
        port=settings.mlflow_port,
        url=settings.mlflow_url,
        prepare=lambda: _write_mlflow_files(home, credentials),
    )


def _write_mlflow_files(home: Path, credentials: Credentials) -> None:
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
    stamp, key = home / "auth.stamp", credentials.mlflow_secret_key[:16]
    if (home / "auth.db").exists() and (not stamp.exists() or stamp.read_text() != key):
        (home / "auth.db").replace(home / "auth.db.old")
    write_private(stamp, key)
