"""The environment variables through which stages and other clients find the stack's servers and their keys."""

from sim2edge.stack import seaweedfs
from sim2edge.stack.credentials import USER, Credentials
from sim2edge.stack.settings import StackSettings


def s3_environment(settings: StackSettings, credentials: Credentials) -> dict[str, str]:
    """What an S3 client needs; `Bus.from_environment()` reads it."""
    return {
        "SIM2EDGE_BUCKET": settings.bucket,
        "AWS_ENDPOINT_URL": settings.s3_url,
        "AWS_ACCESS_KEY_ID": credentials.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key,
        "AWS_REGION": seaweedfs.REGION,
        "AWS_DEFAULT_REGION": seaweedfs.REGION,
    }


def stage_environment(settings: StackSettings, credentials: Credentials) -> dict[str, str]:
    """What a stage needs: S3, MLflow, the update keys, the interpreter and the preset."""
    return s3_environment(settings, credentials) | {
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": credentials.mlflow_password,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "SIM2EDGE_HOME": str(settings.home),
        "SIM2EDGE_KEYS": str(settings.home / "keys"),
        "SIM2EDGE_STAGE_PYTHON": str(settings.stage_python),
        "SIM2EDGE_PRESET": settings.preset,
    }
