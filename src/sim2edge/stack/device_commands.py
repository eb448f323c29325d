"""Enrol devices, move them between rings, revoke them, list them: the admin's side of `sim2edge device`.

    sim2edge device enrol --id pi-7 --ring canary              writes pi-7.enrolment, to be carried to the device
    sim2edge device enrol --id pi-7 --public-key ed25519:...   the same for a key that the device made (`keygen`)
    sim2edge device move pi-7 --ring stable
    sim2edge device revoke pi-7 --reason "lost in the field"
    sim2edge device list [--json]

These need the admin's keys of the bucket (SIM2EDGE_BUCKET, AWS_*). The role files are in `--credentials FOLDER`, else
SIM2EDGE_CREDENTIALS, else those of the local stack; with `--secrets FILE` the device's S3 keys come from elsewhere,
such as IAM. With SIM2EDGE_KEYS the rings are signed at once, otherwise by the next `sim2edge ota refresh`.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from sim2edge import config
from sim2edge.access import ADMIN, DEVICE
from sim2edge.bucket import check_endpoint, read_bucket, read_endpoint
from sim2edge.bus import Bus
from sim2edge.command_help import add_command
from sim2edge.enrol import register
from sim2edge.enrol.enrolment_file import Enrolment, reserve_enrolment
from sim2edge.enrol.register import Records
from sim2edge.enrol.signed_status import key_id, parse_public_key
from sim2edge.errors import BadInput
from sim2edge.fleet import list_devices, read_fleet
from sim2edge.progress import print_whole
from sim2edge.push.config import PushConfig
from sim2edge.secrets_file import read_secrets
from sim2edge.services.role_files import ACCESS_KEY, SECRET_KEY, add_role, read_variables, rotate_role
from sim2edge.stack.access_commands import roles_folder, tell_server

PAIR = (ACCESS_KEY, SECRET_KEY)
MAX_KEY_BYTES = 4096
LOOPBACK = ("://127.", "://localhost", "://[::1]")


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge device enrol | move | revoke | list` and return the exit code."""
    arguments = parser().parse_args(argv)
    if arguments.id is not None and not DEVICE.fullmatch(f"device-{arguments.id}"):
        raise BadInput(f"device '{arguments.id[:80]}': expected 1 to 63 of a-z, 0-9, '-'")
    arguments.run(Bus.from_environment(), arguments)
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge device", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(required=True, metavar="command")
    what = "make a device's record, credentials and enrolment file"
    verb = add_command(verbs, "enrol", what, "sim2edge device enrol --id pi-7 --ring canary")
    verb.add_argument("--id", required=True, help="name of the device: a-z, 0-9, '-'")
    verb.add_argument("--ring", default="canary", help="the ring it belongs to (default canary)")
    verb.add_argument("--public-key", metavar="KEY|FILE", help="what `keygen` printed on the device; else a new pair")
    verb.add_argument("--file", type=Path, help="the enrolment file (default: <id>.enrolment)")
    verb.add_argument("--replace", action="store_true", help="if it is enrolled, or was revoked: anew, with new keys")
    verb.add_argument("--secrets", type=Path, metavar="FILE", help="file with AWS_ACCESS_KEY_ID and its secret")
    verb.add_argument("--endpoint", help="address of the S3 server as the device sees it (default: AWS_ENDPOINT_URL)")
    verb.set_defaults(run=enrol)
    verb = add_command(verbs, "move", "give a device another ring", "sim2edge device move pi-7 --ring stable")
    verb.add_argument("id")
    verb.add_argument("--ring", required=True)
    verb.set_defaults(run=move)
    example = 'sim2edge device revoke pi-7 --reason "lost in the field"'
    verb = add_command(verbs, "revoke", "end a device's credentials; its status counts no more", example)
    verb.add_argument("id")
    verb.add_argument("--reason", required=True, help="one sentence")
    verb.set_defaults(run=revoke)
    for name in ("enrol", "revoke"):
        verbs.choices[name].add_argument("--credentials", type=Path, metavar="FOLDER", help="folder of the role files")
        verbs.choices[name].add_argument("--home", help="folder of the local stack")
    verb = add_command(verbs, "list", "list the devices with what their identity is worth", "sim2edge device list")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=show, id=None)
    return top


def enrol(bus: Bus, arguments: argparse.Namespace) -> None:
    """Run `enrol`: write the record, make the credentials, write the enrolment file.

    Raises:
        BadInput: the device is enrolled already, or an argument is invalid.
    """
    from sim2edge.edge.server.identity import new_key

    device, ring = arguments.id, check_ring(arguments.ring)
    file = arguments.file or Path(f"{device}.enrolment")
    if file.exists() and not arguments.replace:
        raise BadInput(f"{file}: exists: carry it to the device, or name another --file")
    private, public = new_key() if arguments.public_key is None else (None, given_key(arguments.public_key))
    register.enrol(register.read_register(bus), device, public, ring, replace=arguments.replace)  # refuse at once
    address = bucket_variables(arguments)
    with reserve_enrolment(file) as write:  # before the keys of a device that runs are replaced
        variables = address | make_credentials(arguments)
        records = register.change(
            bus, lambda before: register.enrol(before, device, public, ring, replace=arguments.replace)
        )
        root = find_root(bus)
        write(
            Enrolment(device=device, ring=ring, public_key=public, private_key=private, variables=variables, root=root)
        )
    print(f"{device}: enrolled in ring {ring}, key {key_id(public)}")
    if any(each in variables.get("AWS_ENDPOINT_URL", "") for each in LOOPBACK):
        print(
            f"{variables['AWS_ENDPOINT_URL']}: only devices on this machine reach it: --endpoint names another address"
        )
    print(f"carry {file} to the device, then delete it here: it is the device's secret")
    print(f"on the device: sim2edge device run --home /data --enrolment {file.name} --source 0")
    print(sign_rings(bus, records))


def given_key(text: str) -> str:
    """Return the public key that `--public-key` gives, as text or in a file."""
    if not text.strip():
        raise BadInput("--public-key: empty: the line that `sim2edge device keygen` printed on the device, or its file")
    if text.startswith("ed25519:"):
        return parse_public_key(text, "--public-key")
    path = Path(text)
    if path.exists() and not path.is_file():  # a pipe without a writer would wait for ever
        raise BadInput(f"{text}: cannot read the public key: not a regular file")
    try:
        with path.open("rb") as file:
            return parse_public_key(file.read(MAX_KEY_BYTES).decode(), text)
    except OSError as error:
        raise BadInput(f"{text}: cannot read the public key: {str(error.strerror).lower()}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{text}: cannot read the public key: not text") from None


def check_ring(ring: str) -> str:
    """Return a ring's name, if it is one."""
    return config.load(PushConfig, "push", None, [f"ring={ring}"]).ring


def bucket_variables(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the address of the bucket as the device sees it."""
    endpoint = check_endpoint(arguments.endpoint or "", "--endpoint") or read_endpoint()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    found = {"SIM2EDGE_BUCKET": read_bucket(), "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": region}
    return {name: value for name, value in found.items() if value}


def make_credentials(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the S3 keys of the device: those of `--secrets`, or new ones in the role files.

    Raises:
        BadInput: there are neither.
    """
    role, folder = f"device-{arguments.id}", roles_folder(arguments)
    if arguments.secrets:
        found = read_secrets(arguments.secrets)
        if any(not found.get(name) for name in PAIR):
            raise BadInput(f"{arguments.secrets}: {' or '.join(PAIR)} is missing")
        return {name: found[name] for name in PAIR}
    if not has_roles(folder):
        raise BadInput(
            f"{folder}: no role files: name those of the S3 server with --credentials; on AWS make an IAM user with "
            f"the policy of `sim2edge access policy {role}`, and give its keys with --secrets FILE"
        )
    if not add_role(folder, role) and arguments.replace:
        rotate_role(folder, role)  # whoever has the old keys is out
    tell_server(arguments)
    return {name: read_variables(folder, role)[name] for name in PAIR}


def has_roles(folder: Path) -> bool:
    """Return whether a folder holds the role files of an S3 server."""
    return (folder / f"{ADMIN}.env").is_file()


def find_root(bus: Bus) -> str | None:
    """Return the update repository's root for a new device: that of SIM2EDGE_KEYS, else the first one of the bucket."""
    named = os.environ.get("SIM2EDGE_KEYS")
    if named and (Path(named) / "root.json").is_file():
        return (Path(named) / "root.json").read_text(encoding="utf-8")
    found = bus.get_tagged("ota/metadata/1.root.json")
    return found[0].decode() if found else None


def sign_rings(bus: Bus, records: Records) -> str:
    """Sign the rings of all devices into the update repository, if its keys are here; return a line for the user."""
    later = "the rings of the devices are signed by the next `sim2edge ota refresh`"
    if not os.environ.get("SIM2EDGE_KEYS"):
        return later
    from sim2edge.push.keys import KeyFolder, keys_folder
    from sim2edge.push.repository import Repository

    settings = config.load(PushConfig, "push", os.environ.get("SIM2EDGE_PRESET"))
    try:
        Repository(bus, KeyFolder(keys_folder()), settings).assign(register.assignments(records))
    except BadInput as error:
        return f"{later}: {error}"
    return "the rings of the devices are signed into the update repository"


def move(bus: Bus, arguments: argparse.Namespace) -> None:
    """Run `move`: write the ring into the record, and sign it."""
    ring = check_ring(arguments.ring)
    records = register.change(bus, lambda before: register.move(before, arguments.id, ring))
    print(f"{arguments.id}: in ring {ring}")
    print(sign_rings(bus, records))


def revoke(bus: Bus, arguments: argparse.Namespace) -> None:
    """Run `revoke`: mark the record, and remove the device's S3 keys where they are made here.

    Raises:
        BadInput: no reason is given, or the device is not enrolled.
    """
    if not arguments.reason.strip():
        raise BadInput("--reason: missing: one sentence")
    device, role = arguments.id, f"device-{arguments.id}"
    records = register.change(bus, lambda before: register.revoke(before, device, arguments.reason.strip()[:300]))
    print(f"{device}: revoked: its status counts no more")
    folder = roles_folder(arguments)
    if has_roles(folder):
        (folder / f"{role}.env").unlink(missing_ok=True)
        tell_server(arguments)
        print(f"{folder / role}.env: removed: the S3 server refuses its keys")
    else:
        print(f"its S3 keys are not made here: delete those of {role} where they are, on AWS the IAM user's:")
        print(f"  aws iam delete-access-key --user-name {role} --access-key-id ...")
    print(f"{device}: out of its ring: {sign_rings(bus, records)}")


def show(bus: Bus, arguments: argparse.Namespace) -> None:
    """Run `list`: a row for each device that is enrolled or ever reported."""
    records = register.read_register(bus)
    devices = {device.device: device for device in read_fleet(bus, list_devices(bus))}
    rows = []
    for name in sorted({*records, *devices}):
        device, record = devices.get(name), records.get(name)
        rows.append(
            {
                "device": name,
                "identity": device.identity if device else "revoked" if record and record.revoked else "never reported",
                "state": device.state if device else "",
                "ring": record.ring if record else (device.ring or "") if device else "",
                "key": key_id(record.public_key) if record else "",
                "release": (device.release or "") if device else "",
                "silent_s": device.silent_s if device else None,
            }
        )
    if arguments.json or not sys.stdout.isatty():
        print(json.dumps(rows))
        return
    table = Table(box=None, pad_edge=False)
    for column in rows[0] if rows else ("device",):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else str(value)[:80] for value in row.values()))
    print_whole(table)
