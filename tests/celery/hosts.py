"""Machines of their own, as far as a test can have them: network, disk, processes and name of a worker are its alone.

    with Host("worker-1", 1, environment, credentials, log) as host:
        host.start("airflow", "celery", "worker")
        host.run("true")            # another command over there
        host.power_off()            # everything there is gone, as when the plug is pulled

A host reaches `SERVICES` and nothing else: no other host, no way out. Its /tmp is a disk in memory that nobody else
sees; the checkout is readable there, as an image would be, and not writable. Takes root, `ip` and `unshare`.
"""

import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

ROOT = Path(__file__).parents[2]
SERVICES = "198.18.77.1"
"""The address that API server, S3, PostgreSQL and Redis listen on: of a range that is meant for tests."""

END_WITH_THE_TEST = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it is killed when the process that started it is."""

BOOT = """
set -e
hostname "$HOST_NAME"
credentials=$(cat "$CREDENTIALS")
ip link set lo up
mount -t tmpfs -o size=3g,mode=1777 tmpfs /tmp
mount --bind "$CHECKOUT" "$CHECKOUT" && mount -o remount,bind,ro "$CHECKOUT"
cd /tmp && mkdir --mode=0700 airflow scratch credentials
echo "$credentials" > "credentials/$(basename "$CREDENTIALS")"
unset credentials CREDENTIALS
exec "$@"
"""


def ip(*words: str, check: bool = True) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=check, capture_output=not check)


class ServiceAddress:
    """`SERVICES` on this machine, while the context lasts."""

    def __enter__(self) -> str:
        ip("address", "replace", f"{SERVICES}/32", "dev", "lo")
        return SERVICES

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ip("address", "del", f"{SERVICES}/32", "dev", "lo", check=False)


class Host:
    """A machine that runs one command, and ends with it; it keeps a copy of `credentials` in /tmp/credentials."""

    def __init__(self, name: str, number: int, environment: Mapping[str, str], credentials: Path, log: Path) -> None:
        self.name = name
        self.address = f"198.18.77.{4 * number + 2}"
        self._gateway = f"198.18.77.{4 * number + 1}"
        self._space = f"s2e-celery-{number}"
        self._link = f"s2e-celery-{number}"
        self._environment = {
            **environment,
            "HOST_NAME": name,
            "CHECKOUT": str(ROOT),
            "CREDENTIALS": str(credentials),
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Host":
        self._unplug()  # a test that was killed may have left it
        ip("netns", "add", self._space)
        ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        ip("address", "add", f"{self._gateway}/30", "dev", self._link)
        ip("link", "set", self._link, "up")
        ip("-n", self._space, "address", "add", f"{self.address}/30", "dev", "eth0")
        ip("-n", self._space, "link", "set", "eth0", "up")
        ip("-n", self._space, "route", "add", SERVICES, "via", self._gateway)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.power_off()
        self._unplug()

    def start(self, *command: str) -> None:
        """Boot, and run `command`; what it prints goes into the log."""
        alone = ("unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*END_WITH_THE_TEST, "ip", "netns", "exec", self._space, *alone, "bash", "-c", BOOT, "boot", *command],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the booted host."""
        assert self._process
        (first,) = psutil.Process(self._process.pid).children()
        inside = ("nsenter", f"--target={first.pid}", "--mount", "--net", "--uts", "--pid")
        return subprocess.run([*inside, *command], capture_output=True, text=True, timeout=60, env=self._environment)

    @property
    def is_up(self) -> bool:
        """Whether its command runs."""
        return self._process is not None and self._process.poll() is None

    def power_off(self) -> None:
        """Pull the plug: no process there gets to do anything any more, and its disk is gone."""
        if self._process and self._process.poll() is None:
            for process in psutil.Process(self._process.pid).children():  # with the first, the kernel ends all
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            self._process.kill()
            self._process.wait()

    def _unplug(self) -> None:
        ip("link", "del", self._link, check=False)
        ip("netns", "del", self._space, check=False)
