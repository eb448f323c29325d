"""Run the MLflow server of the system in containers: a login on every page, runs in SQLite, artifacts on S3.

    python -m sim2edge.secrets_file -- python -m sim2edge.compose.mlflow_server --home /data

Needs MLFLOW_AUTH_ADMIN_PASSWORD and MLFLOW_FLASK_SERVER_SECRET_KEY, SIM2EDGE_BUCKET and AWS_*.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sim2edge.cli import guard
from sim2edge.errors import BadInput
from sim2edge.services.mlflow import server_command, server_environment, write_login_settings

SECRETS = ("MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY")


def main(argv: Sequence[str] | None = None) -> int:
    """Exec the server; return only if it cannot be started."""
    parser = argparse.ArgumentParser(prog="sim2edge.compose.mlflow_server", description=__doc__.partition("\n")[0])
    parser.add_argument("--home", type=Path, default=Path("/data"), help="folder of its databases (default /data)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")  # noqa: S104
    parser.add_argument("--port", type=int, default=5000)
    arguments = parser.parse_args(argv)
    return guard(lambda: become_server(arguments.home, arguments.host, arguments.port))


def become_server(home: Path, host: str, port: int) -> int:
    """Write the settings and replace this process by the server.

    Raises:
        BadInput: a secret or the bucket is not set.
    """
    for name in (*SECRETS, "SIM2EDGE_BUCKET"):
        if not os.environ.get(name):
            raise BadInput(f"{name} is not set: the file that SIM2EDGE_SECRETS_FILE names should hold the secrets")
    write_login_settings(home, os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"])
    environment = {**os.environ, **server_environment(home, os.environ["SIM2EDGE_BUCKET"])}
    os.chdir(home)
    os.execve(sys.executable, server_command(sys.executable, host, port), environment)  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
