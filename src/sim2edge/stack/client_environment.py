"""The environment variables through which stages and other clients find the stack's servers and their keys."""

from collections.abc import Mapping

from sim2edge.services import seaweedfs
from sim2edge.services.logins import USER
from sim2edge.services.role_files import read_variables
from sim2edge.stack.credentials import Credentials
from sim2edge.stack.settings import StackSettings


def s3_environment(settings: StackSettings) -> dict[str, str]:
    """Return where the bucket is, without keys."""
    return {
        "SIM2EDGE_BUCKET": settings.bucket,
        "AWS_ENDPOINT_URL": settings.s3_url,
        "AWS_REGION": seaweedfs.REGION,
        "AWS_DEFAULT_REGION": seaweedfs.REGION,
    }


def role_environment(settings: StackSettings, role: str) -> dict[str, str]:
    """What an S3 client needs (`Bus.from_environment()` reads it), with the keys of a role, and whatever else it has.

    Raises:
        BadInput: the role has no keys.
    """
    return s3_environment(settings) | read_variables(settings.roles, role)


def person_environment(settings: StackSettings, credentials: Credentials) -> dict[str, str]:
    """Return what a person's shell needs to run any command.

    The admin's keys, MLflow's login, and what a stage needs.
    """
    admin = {"AWS_ACCESS_KEY_ID": credentials.s3_access_key, "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key}
    login = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": credentials.mlflow_password}
    return s3_environment(settings) | admin | login | stage_environment(settings)


def airflow_environment(settings: StackSettings) -> Mapping[str, str]:
    """Return what tasks need: keys of their own, and where those of each stage lie."""
    found = role_environment(settings, "airflow") | stage_environment(settings)
    return found | {"SIM2EDGE_CREDENTIALS": str(settings.roles)}


def stage_environment(settings: StackSettings) -> dict[str, str]:
    """Return what a stage needs besides its keys: MLflow's address, the update keys, the interpreter and the preset."""
    return {
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "SIM2EDGE_HOME": str(settings.home),
        "SIM2EDGE_KEYS": str(settings.home / "keys"),
        "SIM2EDGE_STAGE_PYTHON": str(settings.stage_python),
        "SIM2EDGE_PRESET": settings.preset,
    }
