"""`sim2edge device`: run a device, real or virtual, print its status, lift its bans.

    sim2edge device run --id pi-7 --ring canary --home /data --root root.json --source 0
    sim2edge device run --home /data --enrolment pi-7.enrolment --source 0
    sim2edge device status --home /data
    sim2edge device unban --home /data 5f1e0c

`run` needs read access to `ota/` and write access to `fleet/<id>/` of the bucket (SIM2EDGE_BUCKET, AWS_*). SIGHUP makes
it check for an update at once, SIGTERM ends it and its detector.
"""

import argparse
import errno
import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sim2edge.edge.agent import Agent, Identity
from sim2edge.edge.events import Repeated, log
from sim2edge.edge.judgement.preflight import check
from sim2edge.edge.judgement.trial import Rules
from sim2edge.edge.ota_updater import OtaUpdater
from sim2edge.edge.pi.commands import add_commands
from sim2edge.edge.pi.self_update import SelfUpdate
from sim2edge.edge.server.identity import identify
from sim2edge.edge.server.mirror import open_origins
from sim2edge.edge.storage.durable import is_shortage
from sim2edge.edge.storage.home import RuntimeFolder, keep_token, lock_home
from sim2edge.edge.storage.slots import Slots
from sim2edge.edge.storage.staging import download
from sim2edge.edge.supervision.detectors import Detectors
from sim2edge.edge.supervision.local_status import read_status
from sim2edge.edge.supervision.supervisor import ServiceSettings
from sim2edge.edge.supervision.switch_hook import DEADLINE_S, SwitchHook
from sim2edge.edge.unban import take_requests, unban
from sim2edge.enrol.names import check_names
from sim2edge.errors import BadInput, Unavailable

SIGNAL_POLL_S = 0.1
DAY_S = 86_400
MOST: dict[str, float] = {
    "rate": 1000,
    "interval": 7 * DAY_S,
    "trial_inferences": 1_000_000,
    "trial_seconds": 7 * DAY_S,
    "switch_deadline": 365 * DAY_S,
}
"""What the options of `run` may be at most, in their units; threads: the processors of this machine."""


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge device ...` and return the exit code.

    Raises:
        Unavailable: memory, descriptors or locks are short.
    """
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except OSError as error:
        if is_shortage(error) or error.errno == errno.ENOLCK:  # the launcher blames the agent for other ends
            raise Unavailable(f"{error.filename or 'device'}: {error.strerror}") from error
        raise
    except MemoryError as error:
        raise Unavailable("device: not enough memory") from error
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge device",
        description="Run a device, or print its status.",
        epilog="More commands: keygen, on the device; enrol, move, revoke and list, on the admin's side.",
    )
    verbs = top.add_subparsers(required=True, metavar="command")
    defaults = Rules()
    verb = verbs.add_parser("run", help="run the detector and keep its release up to date")
    verb.add_argument("--id", help="name of the device; an enrolled one knows it")
    verb.add_argument("--ring", help="its ring until the update repository assigns one (default canary)")
    verb.add_argument("--enrolment", type=Path, help="file of `sim2edge device enrol`, taken over into the home")
    verb.add_argument("--home", type=folder, required=True, help="its folder: slots, state, metadata, token")
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
    verb.add_argument("--ready-to-switch", type=Path, help="executable or flag file that says whether to switch now")
    waits = "seconds to wait for --ready-to-switch before switching in any case"
    verb.add_argument("--switch-deadline", type=float, default=DEADLINE_S, help=waits)
    verb.add_argument("--mirror", help="address of a web server that has ota/, to read it without an S3 key")
    verb.add_argument("--mirror-ca", type=Path, help="certificates to trust for --mirror")
    verb.add_argument("--check", action="store_true", help="check these options, as before an update of the agent")
    verb.set_defaults(run=run)
    verb = verbs.add_parser("status", help="the state of the device in a home folder, as JSON")
    verb.add_argument("--home", type=folder, required=True)
    verb.set_defaults(run=status)
    verb = verbs.add_parser("unban", help="try releases and agents again that failed on this device, or rest")
    verb.add_argument("release", nargs="?", help="release id, agent's version, or first digits of its SHA-256")
    verb.add_argument("--all", action="store_true", help="all of them")
    verb.add_argument("--home", type=folder, required=True)
    verb.set_defaults(run=lift_bans)
    add_commands(verbs)
    return top


def check_numbers(arguments: argparse.Namespace) -> None:
    """Check the numbers among the options of `run`.

    Raises:
        BadInput: one is out of range.
    """
    for option, most in (MOST | {"threads": os.cpu_count() or 1}).items():
        value = getattr(arguments, option)
        if not 0 < value <= most:
            raise BadInput(f"--{option.replace('_', '-')} {value:g}: has to be above 0, and at most {most:g}")
    if not 0 <= arguments.port < 2**16:
        raise BadInput(f"--port {arguments.port}: has to be 0 to 65535")


def folder(text: str) -> Path:
    """Return a path that is not empty: that of an unset variable of the shell would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("empty")
    return Path(text)


def run(arguments: argparse.Namespace) -> int:
    """Run a device until SIGTERM or SIGINT; with `--check` look at the options alone.

    Raises:
        BadInput: a bad name or number, no trusted root, no bucket, or an agent already runs on that home.
    """
    check_numbers(arguments)
    if arguments.check:
        return 0
    arguments.id, arguments.ring = identify(
        arguments.home.absolute(), arguments.enrolment, arguments.id, arguments.ring
    )
    check_names(arguments.id, arguments.ring)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.append(number))
    home: Path = arguments.home.absolute()
    bus, origin = open_origins(arguments.mirror, arguments.mirror_ca)
    lock = lock_home(home)
    runtime = RuntimeFolder(home)
    slots = Slots(home, runtime.make)
    slots.roots.provision(arguments.root)
    slots.keep(partial(keep_token, home, runtime))
    settings = ServiceSettings(
        keep_token(home, runtime),
        arguments.source,
        arguments.port,
        arguments.rate,
        arguments.threads,
        arguments.host,
        arguments.metrics_token_file,
    )
    rules = Rules(
        inferences=arguments.trial_inferences,
        deadline_s=arguments.trial_seconds,
        rate_hz=arguments.rate if arguments.source else None,
    )
    identity = Identity(arguments.id, arguments.ring, arguments.interval)
    try_out = partial(check, rate_hz=arguments.rate, threads=arguments.threads)
    updater = OtaUpdater(origin, arguments.ring, slots, try_out, arguments.id)
    hook = SwitchHook(arguments.ready_to_switch, arguments.switch_deadline)
    agents = SelfUpdate.from_environment(partial(download, origin))
    agent = Agent(identity, bus, updater, slots, Detectors(settings), rules, hook, agents)
    stop = threading.Event()
    requests = partial(take_requests, slots, runtime, agents.unban if agents else lambda _: None)
    threading.Thread(target=heed, args=(asked, requests, stop, agent.hurry), daemon=True, name="signals").start()
    log("device", **vars(identity), home=str(home))
    agent.run(stop)
    os.close(lock)
    return 0


def heed(asked: list[int], take: Callable[[], bool], stop: threading.Event, hurry: Callable[[], None]) -> None:
    """Act on the signals in `asked`, SIGHUP hurries the agent, the others stop it, and on requests left in the home.

    Signal handlers only append: a handler may run while its thread holds the lock of the very event it would set.
    """
    repeated = Repeated()
    while not stop.wait(SIGNAL_POLL_S):
        while asked:
            (hurry if asked.pop() == signal.SIGHUP else stop.set)()
        try:
            if take():
                hurry()
        except Exception as error:  # whatever a request holds: the signals have to be heeded on
            repeated.log("requests cannot be read", error=repr(error))


def status(arguments: argparse.Namespace) -> int:
    """Print the last written status, with live counters if the device runs.

    Raises:
        BadInput: no device has ever run there.
    """
    print(json.dumps(read_status(arguments.home), indent=1))
    return 0


def lift_bans(arguments: argparse.Namespace) -> int:
    """Have the device try releases again that it banned or lets rest, and print the SHA-256 of each.

    Raises:
        BadInput: neither a release nor --all is given, or no such release is held back.
        Unavailable: the agent does not take the request.
    """
    if (arguments.release is None) == (not arguments.all):
        raise BadInput("sim2edge device unban: give a release (its id or SHA-256) or --all")
    for sha256 in unban(arguments.home.absolute(), arguments.release):
        print(f"may be tried again: {sha256}")
    return 0
