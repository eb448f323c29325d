"""Define the services of the local stack: SeaweedFS, MLflow, and the four processes of Airflow.

SeaweedFS and the migration of Airflow's database start at once; MLflow and Airflow's API server follow, in parallel;
the rest of Airflow waits for the API server, because a task that is due before it answers would fail.
"""

from sim2edge.access import ADMIN, Keys
from sim2edge.services import seaweedfs
from sim2edge.services.loopback import basic, fetch_json
from sim2edge.services.mlflow import server_command, server_environment, write_login_settings
from sim2edge.services.role_files import USER, MlflowSecrets, init_roles, read_keys
from sim2edge.stack.airflow_services import define_airflow
from sim2edge.stack.client_environment import role_environment
from sim2edge.stack.credentials import Credentials
from sim2edge.stack.services import Service, log_path, plain_environment
from sim2edge.stack.settings import StackSettings

DEVICES = ("virtual-pi-1",)
"""The devices that have a role from the start; `sim2edge access add device-<id>` adds others."""


def define_services(settings: StackSettings, credentials: Credentials) -> list[Service]:
    """Return the services of the parts in `settings.only`, each after its dependencies; create missing role files.

    Raises:
        BadInput: a role file is invalid.
    """
    init_roles(
        settings.roles,
        DEVICES,
        admin=Keys(credentials.s3_access_key, credentials.s3_secret_key),
        mlflow=MlflowSecrets(credentials.mlflow_password, credentials.mlflow_secret_key),
    )
    read_keys(settings.roles)
    services = [_define_s3(settings)]
    if "mlflow" in settings.only:
        services.append(define_mlflow(settings, credentials))
    if "airflow" in settings.only:
        services.extend(define_airflow(settings, credentials))
    return services


def _define_s3(settings: StackSettings) -> Service:
    home = settings.home / "s3"
    client = role_environment(settings, ADMIN)
    return Service(
        name="s3",
        command=tuple(seaweedfs.command(home, settings.s3_ports, settings.bucket)),
        folder=home,
        log=log_path(settings, "s3"),
        environment=plain_environment() | seaweedfs.MEMORY_BOUND,
        healthy=lambda _: seaweedfs.is_healthy(client),
        port=settings.s3_port,
        url=settings.s3_url,
        deadline_s=60,
        prepare=lambda: seaweedfs.write_settings(home, read_keys(settings.roles), settings.bucket),
    )


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
