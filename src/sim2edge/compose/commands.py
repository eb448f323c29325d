"""Set up, check and stop the system in containers (`docker compose`) on this host, and run a batch through it.

    sim2edge compose init [--alert-webhook URL]     create the secrets, and .env with this machine's settings
    sim2edge compose check                          check that `docker compose up` has all it needs
    sim2edge compose logins                         print addresses, users and passwords
    sim2edge compose down                           stop everything, running stages included; data stay
    sim2edge compose batch --batch demo-1 --preset demo [--set augment.copies=2]... [--report FILE]

`make secrets`, `up`, `down` and `batch` call them (docs/compose.md). Exit codes: 0 success; 1 a stage failed;
2 something is missing or invalid; 3 a gate refused the model; 75 no answer.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sim2edge.command_help import add_command
from sim2edge.compose import host
from sim2edge.compose.batch import BatchRun
from sim2edge.compose.secrets import has_passwords, load_passwords, logins, make_secrets
from sim2edge.errors import BadInput
from sim2edge.manifest import check_partition

NEW_PRESET = "demo"
"""The preset of a new system, with the gate that belongs to it; never set where there is one."""


def main(argv: Sequence[str]) -> int:
    """Run `sim2edge compose ...` and return the exit code."""
    arguments = parser().parse_args(argv)
    code: int = arguments.run(arguments, Console(highlight=False))
    return code


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge compose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(required=True, metavar="command")
    verb = add_command(verbs, "init", "create missing secrets and settings in .env", "sim2edge compose init")
    verb.add_argument("--alert-webhook", metavar="URL", help="address that alerts are posted to; '' for none")
    verb.set_defaults(run=init)
    verb = add_command(verbs, "check", "check that `docker compose up` has all it needs", "sim2edge compose check")
    verb.set_defaults(run=check)
    verb = add_command(verbs, "logins", "print addresses, users and passwords", "sim2edge compose logins")
    verb.set_defaults(run=show_logins)
    verb = add_command(verbs, "down", "stop everything, running stages included; data stay", "sim2edge compose down")
    verb.set_defaults(run=down)
    example = "sim2edge compose batch --batch demo-2 --preset demo --set augment.copies=2"
    verb = add_command(verbs, "batch", "run one batch and follow it until the canary device runs the release", example)
    verb.add_argument("--batch", default="demo-1", help="the batch to capture (default demo-1)")
    verb.add_argument("--preset", help="a file of conf/, without .yaml (default: SIM2EDGE_PRESET of .env)")
    verb.add_argument("--set", action="append", default=[], metavar="STAGE.KEY=VALUE", help="override a stage's config")
    verb.add_argument("--report", type=Path, metavar="FILE", help="also write the summary as JSON")
    verb.set_defaults(run=batch)
    return top


def init(arguments: argparse.Namespace, console: Console) -> int:
    """Run `init`: create missing secrets and settings.

    Raises:
        BadInput: the webhook is no address, there is no engine's socket, or data of earlier secrets.
    """
    webhook: str | None = arguments.alert_webhook
    if webhook and not webhook.startswith(("http://", "https://")):
        raise BadInput(f"--alert-webhook '{webhook}': not an http or https address")
    settings = host.read_settings()
    folder = host.secrets_folder(settings)
    found = {
        "COMPOSE_PROJECT_NAME": settings.get("COMPOSE_PROJECT_NAME") or "sim2edge",
        "COMPOSE_PROFILES": settings.get("COMPOSE_PROFILES") or "s3,dashboards",
        "SIM2EDGE_DOCKER_GID": settings.get("SIM2EDGE_DOCKER_GID") or str(host.socket_group(settings)),
    }
    if not has_passwords(folder):
        host.check_no_data(found["COMPOSE_PROJECT_NAME"])
        found["SIM2EDGE_PRESET"] = settings.get("SIM2EDGE_PRESET") or NEW_PRESET
    made = make_secrets(folder, webhook)
    added = host.complete_env_file(host.ROOT / ".env", found)
    console.print(f"secrets {'created' if made else 'exist'}: {folder}", soft_wrap=True)
    if added:
        console.print(f".env: {', '.join(added)}", soft_wrap=True)
    return 0


def check(_: argparse.Namespace, console: Console) -> int:
    """Run `check`: report the first thing that is missing."""
    settings = host.read_settings()
    load_passwords(host.secrets_folder(settings))
    host.check_engine()
    host.check_images()
    host.check_ports(settings)
    console.print("ready to start")
    return 0


def show_logins(_: argparse.Namespace, console: Console) -> int:
    """Run `logins`: print address, user and password of each published service."""
    settings = host.read_settings()
    known = logins(host.secrets_folder(settings))
    for service in host.published(settings):
        user, password = known[service]
        line = f"{service:<13} {host.url_of(service, settings):<23} {user} / {password}"
        console.print(escape(line), soft_wrap=True)
    return 0


def down(_: argparse.Namespace, console: Console) -> int:
    """Run `down`: stop the services, so that nothing starts another stage, then the stages, and their network last.

    Raises:
        BadInput: the compose file cannot be used.
        Unavailable: the engine does not answer, or something does not stop.
    """
    host.check_engine()
    host.must(["compose", "stop"])
    stages = host.stage_containers(host.read_settings())
    if stages:
        host.must(["rm", "--force", "--volumes", *stages])
        console.print(f"stopped {len(stages)} running stages; their tasks are retried after the next start")
    host.must(["compose", "down"])
    console.print("stopped; the data stay in volumes (`docker compose down --volumes` removes them)")
    return 0


def batch(arguments: argparse.Namespace, console: Console) -> int:
    """Run `batch`: trigger, follow, wait for the canary."""
    check_partition(arguments.batch)
    settings = host.read_settings()
    run = BatchRun(host.secrets_folder(settings), settings, console)
    preset = arguments.preset or settings.get("SIM2EDGE_PRESET") or NEW_PRESET
    return run.run(arguments.batch, preset, arguments.set, arguments.report)
