"""Start, stop and inspect the local stack: S3, MLflow and Airflow on this machine.

sim2edge up [--foreground] [--s3-port N] [--mlflow-port N] [--airflow-port N] [--home FOLDER] [--only s3,mlflow]
sim2edge status [--logins]      exit code 0 when everything is healthy, 1 otherwise
sim2edge down
eval "$(sim2edge env)"          use the stack in this shell
"""

import argparse
import shlex
import sys
import time
from collections.abc import Mapping

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sim2edge.errors import BadInput, Unavailable
from sim2edge.stack.client import Event, Stack
from sim2edge.stack.lifecycle import Phase
from sim2edge.stack.settings import StackSettings, load_settings
from sim2edge.stack.state import ServiceState, StackPhase
from sim2edge.stack.update_repository import init_updates

COLOURS = {Phase.HEALTHY: "green", Phase.DONE: "green", Phase.FAILED: "red", Phase.UNRESPONSIVE: "red"}
TABLE_WIDTH = 120
PORTS = ("s3_port", "mlflow_port", "airflow_port")
HELP = {
    "up": ("Start the local stack: S3, MLflow and Airflow on this machine.", "sim2edge up --only s3,mlflow"),
    "down": ("Stop the local stack; its data stay.", "sim2edge down"),
    "status": ("Print the state of each service; exit code 1 unless all are healthy.", "sim2edge status --logins"),
    "env": ("Print the variables that make a shell use the local stack.", 'eval "$(sim2edge env)"'),
}
"""What each command does, and an example."""


def main(argv: list[str]) -> int:
    """Run the command `argv[0]` and return its exit code.

    Raises:
        BadInput: invalid settings, or a port is taken.
        Unavailable: the stack does not start, or does not stop.
    """
    verb, *rest = argv
    arguments = vars(_parser(verb).parse_args(rest))
    options = {name: arguments.pop(name, False) for name in ("foreground", "logins")}
    if arguments.get("only"):
        arguments["only"] = tuple(arguments["only"].split(","))
    stack = Stack(load_settings(arguments))
    console = Console(highlight=False)
    console.width = max(console.width, TABLE_WIDTH)
    if verb == "up":
        return _up(stack, console, options["foreground"])
    if verb == "status":
        return _status(stack, console, options["logins"])
    return _down(stack, console) if verb == "down" else _env(stack)


def _parser(verb: str) -> argparse.ArgumentParser:
    what, example = HELP[verb]
    parser = argparse.ArgumentParser(
        prog=f"sim2edge {verb}", description=what, epilog=f"example:\n  {example}", formatter_class=_formatter()
    )
    parser.add_argument("--home", help=_describe("home"))
    if verb == "up":
        for name in PORTS:
            parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=_describe(name))
        parser.add_argument("--preset", help=_describe("preset"))
        parser.add_argument("--only", metavar="PART,PART", help="parts to start: s3, mlflow, airflow (all)")
        parser.add_argument("--foreground", action="store_true", help="run until Ctrl-C, then stop everything")
    if verb == "status":
        parser.add_argument("--logins", action="store_true", help="print the passwords, too")
    return parser


def _formatter() -> type[argparse.HelpFormatter]:
    return argparse.RawDescriptionHelpFormatter


def _describe(name: str) -> str:
    field = StackSettings.model_fields[name]
    return f"{field.description} (default {field.default})"


def _up(stack: Stack, console: Console, foreground: bool) -> int:
    if not stack.start(lambda event: _print_event(console, event), attached=foreground):
        console.print("already running")
    _warn_of_ignored(stack)
    _init_updates(stack, console)
    _print_logins(stack, console)
    if foreground:
        _stay(stack, console)
    else:
        console.print('stop: sim2edge down    state: sim2edge status    use in this shell: eval "$(sim2edge env)"')
    return 0


def _warn_of_ignored(stack: Stack) -> None:
    if names := stack.ignored_variables():
        message = "the local stack has an S3 server of its own; for another S3 see docs/compose.md"
        print(f"sim2edge: {', '.join(names)} ignored: {message}", file=sys.stderr)


def _init_updates(stack: Stack, console: Console) -> None:
    """Create the update repository if it is missing; the stack is of use without it, so an error is a warning."""
    try:
        console.print(f"updates   {init_updates(stack)}", soft_wrap=True, markup=False)
    except BadInput as error:
        print(f"sim2edge: {error}", file=sys.stderr)


def _print_event(console: Console, event: Event) -> None:
    if event.phase is not Phase.PENDING:
        colour = COLOURS.get(event.phase, "default")
        detail = event.detail.partition("\n")[0]
        text = f"{event.seconds:6.1f} s  {event.service:<22} [{colour}]{event.phase}[/]  {escape(detail)}"
        console.print(text.rstrip(), soft_wrap=True)


def _print_logins(stack: Stack, console: Console) -> None:
    for name, login in stack.logins().items():
        console.print(f"{name:<9} {login.url}   {escape(login.user)} / {escape(login.password)}", soft_wrap=True)


def _stay(stack: Stack, console: Console) -> None:
    """Print changes of services until Ctrl-C or the end of the stack, then stop it."""
    console.print("Ctrl-C stops everything")
    began = time.monotonic()
    known = {service.name: service.phase for service in stack.services()}
    try:
        while stack.running():
            for service in stack.services():
                if known.get(service.name) is not service.phase:
                    known[service.name] = service.phase
                    _print_event(console, Event(service.name, service.phase, time.monotonic() - began, service.detail))
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("stopping")
    finally:
        stack.stop()


def _down(stack: Stack, console: Console) -> int:
    began = time.monotonic()
    stopped = stack.stop()
    console.print(f"stopped in {time.monotonic() - began:.1f} s" if stopped else "nothing was running")
    return 0


def _env(stack: Stack) -> int:
    if not stack.running():
        raise Unavailable("the stack does not run: start it with `sim2edge up`")
    _warn_of_ignored(stack)
    for name, value in stack.environment().items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def _status(stack: Stack, console: Console, logins: bool) -> int:
    if not stack.running():
        console.print("not running: start it with `sim2edge up`")
        return 1
    state = stack.state()
    if state is None:
        console.print("running, but its state file is damaged: `sim2edge down` stops it, `sim2edge up` starts it again")
        return 1
    console.print(_table(state.services))
    for service in state.services:
        if service.detail:
            console.print(f"{service.name}: {escape(service.detail)}", soft_wrap=True)
    if logins:
        _print_logins(stack, console)
    healthy = all(service.phase in (Phase.HEALTHY, Phase.DONE) for service in state.services)
    return 0 if healthy and state.phase is StackPhase.READY else 1


def _table(services: list[ServiceState]) -> Table:
    table = Table(box=None)
    for column in ("service", "state", "pid", "port", "memory", "uptime", "restarts", "address"):
        table.add_column(
            column, justify="right" if column in ("pid", "port", "memory", "uptime", "restarts") else "left"
        )
    for service in services:
        table.add_row(*_row(service))
    return table


def _row(service: ServiceState) -> tuple[str, ...]:
    process = service.process.find() if service.process else None
    colour = COLOURS.get(service.phase, "yellow")
    facts: Mapping[str, str] = {
        "pid": str(process.pid) if process else "",
        "memory": f"{memory_mib(process):.0f} MiB" if process else "",
        "uptime": _duration(time.time() - process.create_time()) if process else "",
    }
    port = str(service.port or "")
    restarts = str(service.restarts or "")
    state = f"[{colour}]{service.phase}[/]"
    return service.name, state, facts["pid"], port, facts["memory"], facts["uptime"], restarts, service.url


def memory_mib(process: psutil.Process) -> float:
    """Return the memory (MiB) of a process and its descendants; shared memory is counted once (PSS)."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        try:
            total += each.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
