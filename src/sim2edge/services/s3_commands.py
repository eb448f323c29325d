"""Run the S3 server on its own, as in a container, or check its health.

    sim2edge s3 serve --home /data --credentials /run/credentials     until SIGTERM; exit code 75 when a part ended
    sim2edge s3 check                                                  exit code 0 when it answers: the health check

Its open ports are that of S3, and one of gRPC, which requires a client certificate; the others are on loopback. A role
file that is added, changed or removed takes effect within seconds; one of no role here, such as that of a stage that
is not installed, is left out with a warning. An invalid one, such as half-written, is an error line that names it, and
hinders no other role.
"""

import argparse
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from sim2edge.access import ADMIN
from sim2edge.command_help import add_command
from sim2edge.errors import BadInput, Unavailable
from sim2edge.progress import emit
from sim2edge.services.role_files import ACCESS_KEY, SECRET_KEY, read_variables
from sim2edge.services.seaweedfs import REGION, is_healthy
from sim2edge.services.seaweedfs_split import SplitServer

LOOK_EVERY_S = 0.3
PORT = 8333


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge s3 ...` and return the exit code."""
    arguments = parser().parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge s3", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(required=True, metavar="command")
    example = "sim2edge s3 serve --home /data --credentials /run/credentials"
    verb = add_command(verbs, "serve", "run the server until SIGTERM", example)
    verb.add_argument("--home", type=Path, required=True, help="folder of its data and settings")
    verb.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")  # noqa: S104
    verb.add_argument("--inbox-webhook", metavar="URL", help=argparse.SUPPRESS)  # until 0.2: without effect
    verb.set_defaults(run=serve)
    verb = add_command(verbs, "check", "check that the server answers and its bucket exists", "sim2edge s3 check")
    verb.set_defaults(run=check)
    for verb in verbs.choices.values():
        verb.add_argument("--port", type=int, default=PORT, help=f"port of S3 (default {PORT})")
        verb.add_argument(
            "--bucket",
            default=os.environ.get("SIM2EDGE_BUCKET") or "sim2edge",
            help="created if missing (default SIM2EDGE_BUCKET, else sim2edge)",
        )
        verb.add_argument(
            "--credentials",
            type=Path,
            default=os.environ.get("SIM2EDGE_CREDENTIALS") or None,
            metavar="FOLDER",
            help="folder of the role files (default: SIM2EDGE_CREDENTIALS)",
        )
    return top


def serve(arguments: argparse.Namespace) -> int:
    """Run `serve`: start, log when it is ready, watch, stop.

    Raises:
        BadInput: the role files are missing or invalid.
        Unavailable: a part of the server ended by itself.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    ready, warned, reported = False, list[str](), list[str]()
    where = (arguments.home, _roles(arguments), arguments.host, arguments.port, arguments.bucket)
    if arguments.inbox_webhook:  # an obsolete option does not prevent the start
        emit(
            "error", message="--inbox-webhook has no effect any more: Airflow polls the inbox itself (docs/new-data.md)"
        )
    with SplitServer(*where) as server:
        while not asked:
            time.sleep(LOOK_EVERY_S)
            server.check_alive()
            warned = _report("warning", server.left_out(), warned)
            reported = _report("error", _look_at_roles(server), reported)
            if not ready and is_healthy(_client(arguments)):
                ready = True
                emit("ready", port=arguments.port, bucket=arguments.bucket, roles=len(server.keys))
    emit("stopped")
    return 0


def _report(event: str, found: Sequence[str], before: Sequence[str]) -> list[str]:
    """Log the messages that were not found `before`; return all that are found now."""
    for message in found:
        if message not in before:
            emit(event, message=message)
    return list(found)


def _look_at_roles(server: SplitServer) -> Sequence[str]:
    """Reload changed roles in the server; return the error lines about role files."""
    try:
        if changed := server.reload_roles():
            emit("roles", changed=changed)
    except BadInput as error:  # half-written, or invalid: the server keeps its roles
        return [str(error)]
    return server.problems


def check(arguments: argparse.Namespace) -> int:
    """Run `check`: send one request, as the admin.

    Raises:
        BadInput: the admin's file is missing or invalid.
        Unavailable: the server does not answer, or its bucket does not exist.
    """
    if not is_healthy(_client(arguments)):
        raise Unavailable(f"the S3 server on port {arguments.port} does not answer for bucket '{arguments.bucket}'")
    return 0


def _roles(arguments: argparse.Namespace) -> Path:
    folder: Path | None = arguments.credentials
    if folder is None:
        raise BadInput("--credentials is missing: name the folder that `sim2edge access init` filled")
    return folder


def _client(arguments: argparse.Namespace) -> dict[str, str]:
    admin = read_variables(_roles(arguments), ADMIN)
    return {
        "SIM2EDGE_BUCKET": arguments.bucket,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{arguments.port}",
        "AWS_REGION": REGION,
        ACCESS_KEY: admin[ACCESS_KEY],
        SECRET_KEY: admin[SECRET_KEY],
    }
