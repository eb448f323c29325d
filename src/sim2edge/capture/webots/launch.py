"""Run one Webots process for one episode: start, watch and end it, and take its outcome once complete.

    result, drive = capture_in_webots(spec, config, folder)

A fresh process per episode makes episodes reproducible, which a reset does not
(https://github.com/cyberbotics/webots/issues/2658). Each has its own display, port and folders, and a process group
that ends with it, with this process, or after a timeout.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import sim2edge
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.episode import Drive, Outcome
from sim2edge.capture.specs import EpisodeSpec
from sim2edge.capture.webots.installed import Webots, find_webots, webots_command, webots_environment
from sim2edge.capture.webots.project import Failure, Project, write_project
from sim2edge.episodes.result import EpisodeResult
from sim2edge.errors import BadInput

SOURCE = Path(sim2edge.__file__).parents[1]
POLL_S = 0.05
TAIL_LINES, TAIL_CHARACTERS = 4, 600
SHORT_FOLDER = "/tmp"  # noqa: S108 - a private folder is created in it
MAX_PATH = 40
"""A socket's path has at most 107 characters; Webots adds about 50 below its temporary folder."""

LIFELINE = 'exec 3<&0 </dev/null; (read -r _ <&3; kill -KILL 0) & exec 3<&-; exec "$@"'
"""Runs a command, and kills its process group when standard input ends: when we close it, or die."""


@dataclass(frozen=True)
class Patience:
    """Timeouts for signs of life, seconds."""

    start_s: float = 180.0
    """From the start to the first tick; a first start reads a lot from disk, and renders in software."""
    tick_s: float = 60.0
    """From one tick to the next."""
    quit_s: float = 20.0
    """From the outcome to the end of Webots; after it, killing Webots loses nothing."""


def capture_in_webots(
    spec: EpisodeSpec,
    config: CaptureConfig,
    folder: Path,
    webots: Webots | None = None,
    scratch: Path | None = None,
    patience: Patience = Patience(),
) -> tuple[EpisodeResult, Drive]:
    """Capture one episode into `folder`, as `capture_episode` does.

    Args:
        spec: the episode.
        config: sensors and limits.
        folder: the episode's folder; it is created, or stays absent after an error.
        webots: the result of `find_webots`; None to call it.
        scratch: folder for world and episode in the meantime.
        patience: timeouts of the process.

    Raises:
        BadInput: no Webots of the right release is installed, or the controller reports bad input.
        RuntimeError: Webots or the controller failed; the message ends with the last lines they printed.
    """
    installed = webots or find_webots()
    with tempfile.TemporaryDirectory(prefix="webots-", dir=scratch) as own:
        project = write_project(Path(own) / "project", spec, config)
        run_project(project, installed, spec.episode_id, patience)
        outcome = read_outcome(project)
        shutil.move(project.episode, folder)
    return outcome.result, outcome.drive


def run_project(project: Project, webots: Webots, name: str, patience: Patience) -> None:
    """Run Webots on a project until its controller is done.

    Raises:
        BadInput: the controller reports bad input.
        RuntimeError: the controller left no outcome.
    """
    command = webots_command(webots, project.world, free_port())
    with own_folder() as own, running(command, webots_environment(os.environ, own, SOURCE), project) as process:
        verdict = watch(process, project, patience)
    if not project.outcome.is_file():
        raise failure_of(project, name, verdict)


@contextmanager
def own_folder() -> Iterator[Path]:
    """Provide a private folder for a Webots process, with a short path, as sockets are created below it."""
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= MAX_PATH else SHORT_FOLDER
    with tempfile.TemporaryDirectory(prefix="wb-", dir=place) as own:
        for part in ("home", "run", "tmp"):
            (Path(own) / part).mkdir(mode=0o700)
        yield Path(own)


@contextmanager
def running(
    command: list[str], environment: Mapping[str, str], project: Project
) -> Iterator["subprocess.Popen[bytes]"]:
    """Provide a process in a group of its own, which is killed at the end."""
    with project.console.open("wb") as console:
        process = subprocess.Popen(
            ["sh", "-c", LIFELINE, "webots", *command],
            stdin=subprocess.PIPE,
            stdout=console,
            stderr=subprocess.STDOUT,
            cwd=project.folder,
            env=dict(environment),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the rest of a process's group: the program, its display and its controllers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def watch(process: "subprocess.Popen[bytes]", project: Project, patience: Patience) -> str:
    """Wait for the process to end or to exceed a timeout, and return how it ended, in words."""
    last, since = (0, False), time.monotonic()
    while (code := process.poll()) is None:
        done = project.outcome.is_file() or project.failure.is_file()
        sign = _changed_ns(project.heartbeat), done
        if sign != last:
            last, since = sign, time.monotonic()
        if verdict := given_up(time.monotonic() - since, bool(sign[0]), done, patience):
            return verdict
        time.sleep(POLL_S)
    return f"exit code {code}" if code >= 0 else f"ended by signal {-code}"


def given_up(silence_s: float, ticked: bool, done: bool, patience: Patience) -> str:
    """Return why a process is given up after `silence_s` seconds without a sign of life, "" if it is not."""
    if done:
        return f"did not quit within {patience.quit_s:g} s" if silence_s > patience.quit_s else ""
    if ticked:
        return f"no tick for {patience.tick_s:g} s" if silence_s > patience.tick_s else ""
    return f"no tick within {patience.start_s:g} s of its start" if silence_s > patience.start_s else ""


def failure_of(project: Project, name: str, verdict: str) -> Exception:
    """Return the error to raise for a missing outcome."""
    if project.failure.is_file():
        failure = Failure.model_validate_json(project.failure.read_text(encoding="utf-8"))
        if failure.bad_input:
            return BadInput(failure.message)
        verdict = failure.message
    return RuntimeError(f"webots: episode {name}: {verdict}; the console's end: {console_tail(project)}")


def read_outcome(project: Project) -> Outcome:
    """Return the outcome written by the controller."""
    return Outcome.model_validate_json(project.outcome.read_text(encoding="utf-8"))


def console_lines(project: Project) -> list[str]:
    """Return the lines printed by Webots and the controller, without empty ones."""
    text = project.console.read_text(encoding="utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def console_tail(project: Project) -> str:
    """Return the last lines of the console, joined to one."""
    return " | ".join(console_lines(project)[-TAIL_LINES:])[-TAIL_CHARACTERS:] or "(nothing)"


def free_port() -> int:
    """Return a free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
