"""Build the environment variables of clients of the stack: addresses of its servers, and keys."""

from collections.abc import Mapping

from sim2edge.services import seaweedfs
from sim2edge.services.role_files import USER, read_variables
from sim2edge.stack.credentials import Credentials
from sim2edge.stack.settings import StackSettings


def s3_environment(settings: StackSettings) -> dict[str, str]:
    """Return the address of the bucket, without keys."""
    return {
        "SIM2EDGE_BUCKET": settings.bucket,
        "AWS_ENDPOINT_URL": settings.s3_url,
        "AWS_REGION": seaweedfs.REGION,
        "AWS_DEFAULT_REGION": seaweedfs.REGION,
    }


def role_environment(settings: StackSettings, role: str) -> dict[str, str]:
    """Return an S3 client's variables (`Bus.from_environment()`) with the keys of a role, and its other variables.

    Raises:
        BadInput: the role has no keys.
    """
    return s3_environment(settings) | read_variables(settings.roles, role)


def person_environment(settings: StackSettings, credentials: Credentials) -> dict[str, str]:
    """Return the variables of a person's shell: the admin's keys, MLflow's login, and a stage's variables."""
    admin = {"AWS_ACCESS_KEY_ID": credentials.s3_access_key, "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key}
    login = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": credentials.mlflow_password}
    return s3_environment(settings) | admin | login | stage_environment(settings)


def ignored_variables(settings: StackSettings, credentials: Credentials, environment: Mapping[str, str]) -> list[str]:
    """Return the names of variables that point this shell at another S3; empty unless it names a bucket, too.

    The stack's Airflow, stages and devices use the stack's own S3 server, whatever these variables say.
    """
    ours = person_environment(settings, credentials)
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return [
        name for name in names if environment.get(name, ours[name]) != ours[name] and "SIM2EDGE_BUCKET" in environment
    ]


def airflow_environment(settings: StackSettings) -> Mapping[str, str]:
    """Return the variables of tasks: their own keys, and the folder with those of each stage."""
    found = role_environment(settings, "airflow") | stage_environment(settings)
    return found | {"SIM2EDGE_CREDENTIALS": str(settings.roles)}


def stage_environment(settings: StackSettings) -> dict[str, str]:
    """Return a stage's variables besides its keys: MLflow's address, update keys, interpreter and preset."""
    return {
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "SIM2EDGE_HOME": str(settings.home),
        "SIM2EDGE_KEYS": str(settings.home / "keys"),
        "SIM2EDGE_STAGE_PYTHON": str(settings.stage_python),
        "SIM2EDGE_PRESET": settings.preset,
    }
