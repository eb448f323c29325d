"""The commands `sim2edge device install`, `uninstall` and `pack`."""

import argparse
import platform
from pathlib import Path

from sim2edge.agent_package import ARCHITECTURES, About
from sim2edge.edge.pi.actions import carry_out
from sim2edge.edge.pi.install import Request, install, read_who, removal_steps
from sim2edge.edge.pi.package import pack

AGENT_OPTIONS = {
    "source": "camera: libcamera:0, /dev/video0, a number, an URL, or a folder of JPEGs",
    "rate": "frames a second",
    "interval": "seconds between checks for an update",
    "threads": "threads of the runtime",
    "host": "address the detector's service listens on",
    "port": "port of the detector's service",
}


def add_commands(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to those of `sim2edge device`."""
    verb = verbs.add_parser("install", help="install this device as a service of Debian or Raspberry Pi OS")
    verb.add_argument("--enrolment", type=Path, help="file of `sim2edge device enrol`, instead of the next four")
    verb.add_argument("--id", help="name of the device")
    verb.add_argument("--ring", help="ring of the fleet it belongs to (default canary, or the enrolment's)")
    verb.add_argument("--root", type=Path, help="root.json that `sim2edge ota init` wrote")
    verb.add_argument("--env-file", type=Path, help="credentials of the device (`sim2edge access add`)")
    for name, text in AGENT_OPTIONS.items():
        verb.add_argument(f"--{name}", help=text)
    verb.add_argument("--agent", type=Path, help="package or folder of the agent; default: the one that runs this")
    verb.add_argument("--arch", default=platform.machine(), choices=ARCHITECTURES, help="machine it will run on")
    verb.add_argument("--hardware-watchdog", action="store_true", help="have the hardware reset a machine that hangs")
    verb.add_argument("--no-start", action="store_true", help="start it at the next boot only")
    verb.add_argument("--prefix", type=Path, default=Path("/"), help="file system to install into")
    verb.add_argument("--dry-run", action="store_true", help="print the steps")
    verb.set_defaults(run=run_install)
    verb = verbs.add_parser("uninstall", help="remove the service; its settings and home stay")
    verb.add_argument("--purge", action="store_true", help="remove settings, home and identity, too")
    verb.add_argument("--prefix", type=Path, default=Path("/"), help="file system to remove it from")
    verb.add_argument("--dry-run", action="store_true", help="print the steps")
    verb.set_defaults(run=run_uninstall)
    verb = verbs.add_parser("pack", help="pack an agent from a folder that `pip install --target` filled")
    verb.add_argument("library", type=Path, help="the folder")
    verb.add_argument("--version", required=True, help="version of the agent")
    verb.add_argument("--arch", required=True, choices=ARCHITECTURES, help="machine it is for")
    verb.add_argument("--python", default="3.11", help="version of Python it is for")
    verb.add_argument("--out", type=Path, required=True, help="file to write")
    verb.set_defaults(run=run_pack)


def run_install(arguments: argparse.Namespace) -> int:
    """Install a device."""
    options = {name: getattr(arguments, name) for name in AGENT_OPTIONS if getattr(arguments, name) is not None}
    request = Request(
        read_who(arguments.enrolment, arguments.id, arguments.ring, arguments.root, arguments.env_file),
        arguments.agent,
        arguments.arch,
        options,
        arguments.prefix,
        arguments.hardware_watchdog,
        not arguments.no_start,
        arguments.dry_run,
    )
    install(request)
    return 0


def run_uninstall(arguments: argparse.Namespace) -> int:
    """Remove a device."""
    carry_out(removal_steps(arguments.purge), arguments.prefix.absolute(), arguments.dry_run)
    return 0


def run_pack(arguments: argparse.Namespace) -> int:
    """Pack an agent."""
    files = pack(arguments.library, About(arguments.version, arguments.arch, arguments.python), arguments.out)
    print(f"{arguments.out}: agent {arguments.version} for {arguments.arch}, {len(files)} files")
    return 0
