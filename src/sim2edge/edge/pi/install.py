"""Install a device as a service on Raspberry Pi OS or Debian, in one command; it can be repeated.

    sudo sim2edge device install --enrolment pi-7.enrolment --source libcamera:0
    sudo sim2edge device install --id pi-7 --root root.json --env-file device-pi-7.env --source libcamera:0
    sudo sim2edge device install ... --dry-run              prints each step
    sim2edge device install ... --prefix /mnt/card          into the file system of a card or an image
    sudo sim2edge device uninstall [--purge]

Nothing is written before all of the input was checked.
"""

import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import sim2edge
from sim2edge.agent_package import About, parse_about, read_about
from sim2edge.edge.pi import launcher, unit
from sim2edge.edge.pi.actions import Action, CopyTree, Link, Remove, Run, WriteFile, carry_out, within
from sim2edge.edge.pi.package import unpack
from sim2edge.enrol.enrolment_file import read_enrolment
from sim2edge.enrol.names import check_names
from sim2edge.errors import BadInput
from sim2edge.secrets_file import format_secrets, read_secrets

SYSTEMD = Path("/etc/systemd/system")
SYSUSERS = Path("/usr/lib/sysusers.d/sim2edge.conf")
WATCHDOG = Path("/etc/systemd/system.conf.d/50-sim2edge-watchdog.conf")
COMMAND = Path("/usr/local/bin/sim2edge")
ENABLED = SYSTEMD / "multi-user.target.wants" / unit.SERVICE


@dataclass(frozen=True)
class Who:
    """Who the device is."""

    device: str
    ring: str
    root: bytes
    """`root.json` to trust."""
    secrets: bytes = field(repr=False)
    """Lines `NAME=value`."""
    enrolment: bytes | None = field(default=None, repr=False)
    """What `sim2edge device enrol` wrote; None: the device is not enrolled."""


def read_who(enrolment: Path | None, device: str | None, ring: str | None, root: Path | None, env: Path | None) -> Who:
    """Return who a device is, by its enrolment, or by the files and names that are given one by one.

    Raises:
        BadInput: something is missing, given twice, or not valid.
    """
    if enrolment is None:
        if device is None or root is None or env is None:
            missing = "--id" if device is None else "--root" if root is None else "--env-file"
            raise BadInput(f"{missing} is missing: give it, or an --enrolment")
        read_secrets(env)
        who = Who(device, ring or "canary", _read(root), _read(env))
    else:
        found = read_enrolment(enrolment)
        if device not in (None, found.device) or env:
            raise BadInput(f"{enrolment}: is of {found.device}, with its credentials: leave --id and --env-file out")
        if root is None and found.root is None:
            raise BadInput(f"{enrolment}: holds no root: give --root with the root.json of `sim2edge ota init`")
        trusted = _read(root) if root else (found.root or "").encode()
        secrets = format_secrets(found.variables).encode()
        who = Who(found.device, ring or found.ring, trusted, secrets, _read(enrolment))
    check_names(who.device, who.ring)
    return who


@dataclass(frozen=True)
class Installation:
    """What is installed."""

    who: Who
    agent: Path
    """Folder of an unpacked agent."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of `sim2edge device run`, without `--`."""
    hardware_watchdog: bool = False
    start: bool = True

    def option_lines(self) -> bytes:
        """Return the options of the agent as the launcher reads them."""
        who = self.who
        words = {"id": who.device, "ring": who.ring, "home": str(unit.HOME), "root": str(unit.ROOT), **self.options}
        if who.enrolment is not None:
            words["enrolment"] = unit.ENROLMENT_CREDENTIAL
        lines = [f"--{name} {shlex.quote(text)}" for name, text in words.items()]
        return "\n".join(
            ["# Options of `sim2edge device run`, by shell rules; then `systemctl restart sim2edge`.", *lines, ""]
        ).encode()


def installation_steps(wanted: Installation) -> Sequence[Action]:
    """Return the steps of an installation, in their order."""
    launcher_file = Path(launcher.__file__)
    steps: list[Action] = [
        CopyTree(wanted.agent, unit.FACTORY),
        WriteFile(unit.LAUNCHER, launcher_file.read_bytes(), 0o755),
        WriteFile(unit.PROGRAM / "README", unit.README.encode()),
        WriteFile(COMMAND, unit.COMMAND.encode(), 0o755),
        WriteFile(SYSUSERS, unit.SYSUSERS.encode()),
        Run(("systemd-sysusers", SYSUSERS.name), offline=True, unless=(Path("/etc/passwd"), f"{unit.NAME}:")),
        WriteFile(unit.ROOT, wanted.who.root),
        WriteFile(unit.SECRETS, wanted.who.secrets, 0o600),
        *([] if wanted.who.enrolment is None else [WriteFile(unit.ENROLMENT, wanted.who.enrolment, 0o600)]),
        WriteFile(unit.OPTIONS, wanted.option_lines()),
        WriteFile(SYSTEMD / unit.SERVICE, unit.UNIT.encode()),
    ]
    if wanted.hardware_watchdog:
        steps.append(WriteFile(WATCHDOG, unit.WATCHDOG.encode()))
    steps += [Link(ENABLED, f"../{unit.SERVICE}"), Run(("systemctl", "daemon-reload"))]
    if wanted.hardware_watchdog:
        steps.append(Run(("systemctl", "daemon-reexec")))
    return [*steps, *([Run(("systemctl", "restart", unit.SERVICE))] if wanted.start else [])]


def removal_steps(purge: bool) -> Sequence[Action]:
    """Return the steps that remove a device; with `purge` its settings, its home and its identity, too."""
    files = [ENABLED, SYSTEMD / unit.SERVICE, WATCHDOG, COMMAND, SYSUSERS, unit.PROGRAM]
    return [
        Run(("systemctl", "stop", unit.SERVICE), may_fail=True),
        *map(Remove, [*files, *([unit.SETTINGS, unit.HOME] if purge else [])]),
        Run(("systemctl", "daemon-reload"), may_fail=True),
    ]


def install(wanted: "Request") -> None:
    """Check a request, then install it.

    Raises:
        BadInput: a file or a name is not valid, the agent is for another machine, or a step failed.
    """
    root = wanted.prefix.absolute()
    if not root.is_dir():
        raise BadInput(f"--prefix {wanted.prefix}: no such folder")
    with ExitStack() as stack:
        agent = wanted.agent or own_folder()
        if agent.is_file():
            check_machine(read_about(agent).arch, wanted.arch, agent)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sim2edge-"))) / "agent"
            unpack(agent, folder)
            agent = folder
        about = parse_about(_read(agent / "agent.json"), str(agent))
        check_machine(about.arch, wanted.arch, agent)
        check_python(about, agent, root)
        if problem := launcher.tree_problem(agent, None):
            raise BadInput(f"{agent}: {problem}")
        found = Installation(wanted.who, agent, wanted.options, wanted.hardware_watchdog, wanted.start)
        carry_out(installation_steps(found), root, wanted.dry_run)


@dataclass(frozen=True)
class Request:
    """An installation as asked for on the command line."""

    who: Who
    agent: Path | None
    arch: str
    """Of the machine it will run on, as `uname -m` prints it."""
    options: Mapping[str, str]
    prefix: Path = Path("/")
    hardware_watchdog: bool = False
    start: bool = True
    dry_run: bool = False


def own_folder() -> Path:
    """Return the folder of the agent that runs this program.

    Raises:
        BadInput: it does not run from an agent's folder.
    """
    folder = Path(sim2edge.__file__).parents[2]
    if not (folder / "agent.json").is_file():
        raise BadInput("--agent: give the package that `sim2edge device pack` wrote")
    return folder


def check_machine(arch: str, machine: str, agent: Path) -> None:
    """Check that an agent fits a machine.

    Raises:
        BadInput: it was packed for another architecture.
    """
    if arch != machine:
        raise BadInput(f"{agent}: is for {arch}; this machine is {machine}")


def check_python(about: About, agent: Path, root: Path) -> None:
    """Check that the file system that an agent is installed into has the Python that it needs.

    A folder without any Python is none that a device starts from yet: it is not judged.

    Raises:
        BadInput: it has another version only.
    """
    folders = [within(root, folder) for folder in (Path("/usr/bin"), Path("/usr/local/bin"))]
    present = any(os.path.lexists(folder / "python3") for folder in folders)
    fits = any(os.path.lexists(folder / f"python{about.python}") for folder in folders)
    if present and not fits and not (agent / "bin" / "python3").is_file():
        raise BadInput(f"{agent}: needs Python {about.python}, which {root} lacks: Debian 12 (bookworm) has 3.11")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
