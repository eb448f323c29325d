"""Start an MLflow server with a login on every page: its command, its environment, its login settings."""

from collections.abc import Mapping
from pathlib import Path

from sim2edge.private_files import write_private
from sim2edge.services.role_files import USER


def server_command(python: str, host: str, port: int) -> tuple[str, ...]:
    """Return the command behind `mlflow server --app-name basic-auth --workers 1`: half its memory and start time."""
    uvicorn = ("-m", "uvicorn", "--host", host, "--port", str(port), "--workers", "1")
    return (python, *uvicorn, "--no-access-log", "--factory", "mlflow.server.auth:create_app")


def server_environment(home: Path, bucket: str) -> Mapping[str, str]:
    """Return the server's storage settings: runs and logins in SQLite below `home`, artifacts on S3; no secrets."""
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


def write_login_settings(home: Path, secret_key: str) -> None:
    """Write the login settings; set logins of another admin password aside, as they would lock the admin out."""
    lines = (
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = sqlite:///{home}/auth.db".replace("%", "%%"),
        f"admin_username = {USER}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        # A password check takes 0.3 s; without this every request does one.
        "auth_cache_ttl_seconds = 60",
    )
    write_private(home / "auth.ini", "\n".join(lines) + "\n")
    stamp, key = home / "auth.stamp", secret_key[:16]
    if (home / "auth.db").exists() and (not stamp.exists() or stamp.read_text() != key):
        (home / "auth.db").replace(home / "auth.db.old")
    write_private(stamp, key)
