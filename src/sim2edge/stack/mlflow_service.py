"""Define MLflow as a service of the embedded stack."""

from sim2edge.services.http import basic, fetch_json
from sim2edge.services.logins import USER
from sim2edge.services.mlflow import server_command, server_environment, write_login_settings
from sim2edge.stack.client_environment import role_environment
from sim2edge.stack.credentials import Credentials
from sim2edge.stack.services import Service, log_path, plain_environment
from sim2edge.stack.settings import StackSettings


def define_mlflow(settings: StackSettings, credentials: Credentials) -> Service:
    """Return the tracking server: runs in SQLite, artifacts on the S3 server, a login on every page."""
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
