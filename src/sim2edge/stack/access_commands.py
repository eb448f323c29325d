"""Show the permissions of roles in the bucket, and create the files with their keys.

    sim2edge access roles                            print the table of roles
    sim2edge access policy train --bucket NAME       print a role's AWS IAM policy, as JSON
    sim2edge access init [--devices pi-7,pi-8]       create missing role files
    sim2edge access add device-pi-9                  create one more role
    sim2edge access rotate device-pi-9               give a role new keys; the old ones become invalid

The files are in `--credentials FOLDER`, else SIM2EDGE_CREDENTIALS, else `credentials` in the folder of the local stack.
A running S3 server of the local stack is notified of changes; one that runs as `sim2edge s3 serve` detects them.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from sim2edge.access import fixed_roles, grants_of, policy
from sim2edge.command_help import add_command
from sim2edge.errors import BadInput, Unavailable
from sim2edge.progress import print_whole
from sim2edge.secrets_file import read_secrets
from sim2edge.services.role_files import (
    SERVER_KEY,
    SERVER_PASSWORD,
    MlflowSecrets,
    add_role,
    init_roles,
    read_keys,
    rotate_role,
    unknown_roles,
)
from sim2edge.stack.settings import StackSettings

OTHER_ROLES = "device-<id>, producer-<name>"
MIN_PASSWORD = 12


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge access ...` and return the exit code."""
    arguments = parser().parse_args(argv)
    arguments.run(arguments)
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge access", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(required=True, metavar="command")
    verb = add_command(verbs, "roles", "print the table of roles", "sim2edge access roles")
    verb.set_defaults(run=show_roles)
    what = "print a role's AWS IAM policy, as JSON"
    verb = add_command(verbs, "policy", what, "sim2edge access policy train --bucket my-bucket")
    verb.add_argument("role", help=f"{', '.join(fixed_roles())}, {OTHER_ROLES}")
    verb.add_argument("--bucket", default=os.environ.get("SIM2EDGE_BUCKET"), help="default: SIM2EDGE_BUCKET")
    verb.set_defaults(run=show_policy)
    what = "create missing role files"
    verb = add_command(verbs, "init", what, "sim2edge access init --credentials FOLDER --devices pi-7,pi-8")
    verb.add_argument("--devices", default="", metavar="ID,ID", help="devices that get a role")
    verb.add_argument(
        "--mlflow-env", type=Path, metavar="FILE", help="file with the existing secrets of MLflow's server"
    )
    verb.set_defaults(run=init)
    for name, action, what in (("add", add, "create one more role"), ("rotate", rotate, "give a role new keys")):
        verb = add_command(verbs, name, what, f"sim2edge access {name} device-pi-9")
        verb.add_argument("role", help=f"such as: {OTHER_ROLES}")
        verb.set_defaults(run=action)
    for name in ("init", "add", "rotate"):
        verbs.choices[name].add_argument("--credentials", type=Path, metavar="FOLDER", help="folder of the role files")
        verbs.choices[name].add_argument("--home", help="folder of the local stack")
    return top


def show_roles(_arguments: argparse.Namespace) -> None:
    """Run `roles`: print a row for each role."""
    table = Table(box=None, pad_edge=False)
    for column in ("role", "reads, lists", "writes", "creates once", "deletes"):
        table.add_column(column, overflow="fold")
    for role in (*fixed_roles(), "device-ID", "producer-NAME"):
        grants = grants_of(role.replace("ID", "0").replace("NAME", "0"))
        columns = (grants.read, grants.write, grants.create, grants.delete)
        cells = (
            "\n".join(each).replace("fleet/0/", "fleet/ID/").replace("inbox/0.", "inbox/NAME.") for each in columns
        )
        table.add_row(role, *cells)
    print_whole(table)


def show_policy(arguments: argparse.Namespace) -> None:
    """Run `policy`: print the policy, ready to be pasted into IAM.

    Raises:
        BadInput: no such role, or no bucket is named.
    """
    if not arguments.bucket:
        raise BadInput("--bucket is missing: name the bucket, or set SIM2EDGE_BUCKET")
    print(json.dumps(policy(arguments.role, arguments.bucket), indent=2))


def init(arguments: argparse.Namespace) -> None:
    """Run `init`: create missing role files; existing ones stay.

    Raises:
        BadInput: a device's id or a file is invalid.
    """
    folder = roles_folder(arguments)
    devices = [name.strip() for name in arguments.devices.split(",") if name.strip()]
    made = init_roles(folder, devices, mlflow=_mlflow_secrets(arguments.mlflow_env))
    print(f"{folder}: {', '.join(made) if made else 'nothing was missing'}")
    for warning in unknown_roles(folder):
        print(f"sim2edge: {warning}", file=sys.stderr)
    tell_server(arguments)


def add(arguments: argparse.Namespace) -> None:
    """Run `add`: create a role's file, if it is missing."""
    folder = roles_folder(arguments)
    made = add_role(folder, arguments.role)
    print(f"{'created' if made else 'exists'}: {folder / arguments.role}.env")
    tell_server(arguments)


def rotate(arguments: argparse.Namespace) -> None:
    """Run `rotate`: give a role new keys; its process needs the new file."""
    folder = roles_folder(arguments)
    rotate_role(folder, arguments.role)
    print(f"new keys: {folder / arguments.role}.env; restart the processes that use them")
    tell_server(arguments)


def _mlflow_secrets(path: Path | None) -> MlflowSecrets | None:
    if path is None:
        return None
    found = read_secrets(path)
    if len(found.get(SERVER_PASSWORD, "")) < MIN_PASSWORD or not found.get(SERVER_KEY):
        raise BadInput(f"{path}: {SERVER_PASSWORD} ({MIN_PASSWORD} characters or more) or {SERVER_KEY} is missing")
    return MlflowSecrets(found[SERVER_PASSWORD], found[SERVER_KEY])


def roles_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the role files that the options `--credentials` and `--home`, or the variables, name."""
    named = arguments.credentials or (None if arguments.home else os.environ.get("SIM2EDGE_CREDENTIALS"))
    return Path(named) if named else _settings(arguments).roles


def _settings(arguments: argparse.Namespace) -> "StackSettings":
    from sim2edge.stack.settings import load_settings

    return load_settings({"home": arguments.home})


def tell_server(arguments: argparse.Namespace) -> None:
    """Make the S3 server of the local stack reload the roles, if it runs and these are its roles."""
    from sim2edge.services.seaweedfs import write_roles
    from sim2edge.stack.client import Stack

    stack = Stack(_settings(arguments))
    settings = stack.settings
    if roles_folder(arguments).resolve() != settings.roles.resolve() or not stack.running():
        return
    server = next((service.process for service in stack.services() if service.name == "s3"), None)
    process = server.find() if server else None
    if process is None:
        raise Unavailable(
            "the S3 server of the local stack is not running at the moment: it reads the roles when it starts"
        )
    write_roles(settings.home / "s3", read_keys(settings.roles), settings.bucket)
    process.send_signal(signal.SIGHUP)
