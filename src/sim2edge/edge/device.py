"""`sim2edge device`: run a device, real or virtual, and print its status.

    sim2edge device run --id pi-7 --ring canary --home /data --root root.json --source 0
    sim2edge device status --home /data

`run` needs read access to `ota/` and write access to `fleet/<id>/` of the bucket (SIM2EDGE_BUCKET, AWS_*). SIGHUP makes
it check for an update at once, SIGTERM ends it and its detector.
"""

import argparse
import fcntl
import json
import os
import re
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sim2edge.bus import Bus
from sim2edge.edge.agent import Agent, Identity
from sim2edge.edge.durable import write_durably
from sim2edge.edge.events import log
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.pi.commands import add_commands
from sim2edge.edge.slots import Slots
from sim2edge.edge.supervisor import ServiceSettings, probe, read_token
from sim2edge.edge.trial import Rules
from sim2edge.errors import BadInput
from sim2edge.private_files import make_private_folder

SIGNAL_POLL_S = 0.1
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge device ...` and return the exit code."""
    arguments = parser().parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="sim2edge device", description="Run a device, or print its status.")
    verbs = top.add_subparsers(required=True, metavar="command")
    defaults = Rules()
    verb = verbs.add_parser("run", help="run the detector and keep its release up to date")
    verb.add_argument("--id", required=True, help="name of the device")
    verb.add_argument("--ring", default="canary", help="ring of the fleet it belongs to")
    verb.add_argument("--home", type=Path, required=True, help="its folder: slots, state, metadata, token")
    verb.add_argument("--root", type=Path, help="root.json to trust, copied into the home on the first start")
    verb.add_argument("--source", help="folder of JPEGs, camera index, device file or URL")
    verb.add_argument("--host", default="127.0.0.1", help="address the detector's service listens on (loopback)")
    verb.add_argument("--metrics-token-file", type=Path, help="file with a token that grants /metrics only")
    verb.add_argument("--port", type=int, default=0, help="port of the detector's service; 0: any free one")
    verb.add_argument("--rate", type=float, default=10.0, help="frames a second")
    verb.add_argument("--threads", type=int, default=1, help="threads of the runtime")
    verb.add_argument("--interval", type=float, default=30.0, help="seconds between checks for an update")
    verb.add_argument("--trial-inferences", type=int, default=defaults.inferences, help="frames to infer in a trial")
    verb.add_argument("--trial-seconds", type=float, default=defaults.deadline_s, help="seconds a trial may take")
    verb.set_defaults(run=run)
    verb = verbs.add_parser("status", help="the state of the device in a home folder, as JSON")
    verb.add_argument("--home", type=Path, required=True)
    verb.set_defaults(run=status)
    add_commands(verbs)
    return top


def run(arguments: argparse.Namespace) -> int:
    """Run a device until SIGTERM or SIGINT.

    Raises:
        BadInput: a bad name or number, no trusted root, no bucket, or an agent already runs on that home.
    """
    for option, name in (("--id", arguments.id), ("--ring", arguments.ring)):
        if not NAME.fullmatch(name):
            raise BadInput(f"{option} '{name}': expected 1 to 63 of a-z, 0-9, '-'")
    for option in ("rate", "interval", "trial_inferences", "trial_seconds"):
        if not getattr(arguments, option) > 0:
            raise BadInput(f"--{option.replace('_', '-')}: has to be above 0")
    home: Path = arguments.home.absolute()
    bus = Bus.from_environment()
    lock = lock_home(home)
    slots = Slots(home)
    updater = OtaUpdater(bus, arguments.ring, slots, provision(home, arguments.root))
    settings = ServiceSettings(
        home,
        arguments.source,
        arguments.port,
        arguments.rate,
        arguments.threads,
        arguments.host,
        arguments.metrics_token_file,
    )
    read_token(settings.token_file)
    rules = Rules(inferences=arguments.trial_inferences, deadline_s=arguments.trial_seconds)
    identity = Identity(arguments.id, arguments.ring, arguments.interval)
    agent = Agent(identity, bus, updater, slots, settings, rules)
    stop = threading.Event()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.append(number))
    threading.Thread(target=heed_signals, args=(asked, stop, agent.wake), daemon=True, name="signals").start()
    log("device", **vars(identity), home=str(home))
    agent.run(stop)
    os.close(lock)
    return 0


def heed_signals(asked: list[int], stop: threading.Event, wake: threading.Event) -> None:
    """Act on the signals in `asked`: SIGHUP wakes the agent, the others stop it.

    Signal handlers only append: a handler may run while its thread holds the lock of the very event it would set.
    """
    while not stop.wait(SIGNAL_POLL_S):
        while asked:
            (wake if asked.pop() == signal.SIGHUP else stop).set()


def provision(home: Path, root: Path | None) -> bytes:
    """Return the TUF root this device trusts: the one in its home or, on the first start, the given one.

    Raises:
        BadInput: neither exists.
    """
    trusted = home / "root.json"
    if not trusted.is_file():
        if root is None or not root.is_file():
            raise BadInput(f"{trusted}: missing: give --root with the root.json that `sim2edge ota init` wrote")
        write_durably(trusted, root.read_bytes())
    return trusted.read_bytes()


def lock_home(home: Path) -> int:
    """Lock the home folder, which only its owner may access, for this process; return the lock's file descriptor.

    Raises:
        BadInput: another agent holds it.
    """
    make_private_folder(home)
    with suppress(PermissionError):  # it belongs to another user, as a mounted folder may
        home.chmod(0o700)
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BadInput(f"{home}: a device is running there already") from error
    return descriptor


def status(arguments: argparse.Namespace) -> int:
    """Print the last written status, with live counters if the device runs.

    Raises:
        BadInput: no device has ever run there.
    """
    print(json.dumps(read_status(arguments.home), indent=1))
    return 0


def read_status(home: Path) -> dict[str, Any]:
    """Return the status of the device in `home`; `state` is `stopped` when no agent runs.

    Raises:
        BadInput: no device has ever run there.
    """
    try:
        content: dict[str, Any] = json.loads((home / "status.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(f"{home}: no status.json: no device has run here") from error
    try:
        os.close(lock_home(home))
    except BadInput:
        live = probe(content["port"], read_token(home / "token")) if content["port"] else None
        return content | {name: live[name] for name in ("inferences", "errors", "latency_ms_p50") if live}
    return content | {"state": "stopped"}
