"""Run the S3 server for a network: storage on loopback, and a gateway that listens for S3 on another address.

`weed mini` has one address for all of its ports, so the two are two processes. The data have the same form as those of
`weed mini` with S3: a folder can move between the local stack and a container.
"""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from sim2edge.access import Keys
from sim2edge.errors import Unavailable
from sim2edge.processes import end, spawn
from sim2edge.services import seaweedfs
from sim2edge.services.loopback import HOST
from sim2edge.services.role_files import read_valid_keys, unknown_roles

STORAGE_MEMORY = {"GOMEMLIMIT": "450MiB", "GOGC": "50"}
GATEWAY_MEMORY = {"GOMEMLIMIT": "250MiB", "GOGC": "50"}
GATEWAY_GRACE_S, STORAGE_GRACE_S = 3.0, 6.0
"""Together less than the ten seconds that a container gets to stop; the gateway stores nothing."""


class SplitServer:
    """Both processes, for as long as the context is open; they end with this process, however it ends."""

    def __init__(self, home: Path, roles: Path, host: str, port: int, bucket: str) -> None:
        """Read the roles.

        Args:
            home: folder of data and settings; created if missing.
            roles: folder of the role files.
            host: address for S3; it always listens on loopback, too.
            port: of S3; the nine after it are used internally.
            bucket: created if missing.

        Raises:
            BadInput: the admin's role file is missing or invalid.
        """
        self._home = home.resolve()
        self._roles = roles
        self._host = host
        self._bucket = bucket
        self._ports = {flag: port + offset for offset, flag in enumerate(("s3.port", *seaweedfs.INTERNAL_PORTS))}
        self.problems: Sequence[str]
        """An error line for each role file that is invalid: its role has the keys it had before, if any."""
        self.keys: Mapping[str, Keys]
        self.keys, self.problems = read_valid_keys(roles)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        seaweedfs.write_settings(self._home, self.keys, self._bucket)
        self._start("storage", self._storage_command(), STORAGE_MEMORY)
        self._start("gateway", self._gateway_command(), GATEWAY_MEMORY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, grace_s in (("gateway", GATEWAY_GRACE_S), ("storage", STORAGE_GRACE_S)):
            process = self._processes.get(name)
            if process and process.poll() is None:
                end([psutil.Process(process.pid)], grace_s)
                process.wait()

    def check_alive(self) -> None:
        """Check that both processes run.

        Raises:
            Unavailable: one has ended; the supervisor should restart this process.
        """
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                raise Unavailable(f"the S3 server's {name} ended with code {code}")

    def reload_roles(self) -> list[str]:
        """Reload the role files in the server; return the roles whose keys were added, removed or changed.

        Raises:
            BadInput: the admin's role file is invalid, or two roles share a key; the server keeps the roles it has.
        """
        found, self.problems = read_valid_keys(self._roles)
        found = {role: keys for role, keys in self.keys.items() if (self._roles / f"{role}.env").exists()} | found
        changed = [role for role in sorted({*found, *self.keys}) if found.get(role) != self.keys.get(role)]
        if changed:
            seaweedfs.write_roles(self._home, found, self._bucket)
            self._processes["gateway"].send_signal(signal.SIGHUP)
            self.keys = found
        return changed

    def left_out(self) -> list[str]:
        """Return a warning for each role file that the server leaves out, as there is no such role here."""
        return unknown_roles(self._roles)

    def _start(self, name: str, command: list[str], memory: Mapping[str, str]) -> None:
        environment = seaweedfs.plain_environment() | dict(memory)
        self._processes[name] = spawn(command, environment, self._home, None)

    def _storage_command(self) -> list[str]:
        return [*seaweedfs.command(self._home, self._ports, self._bucket), "-s3=false"]

    def _gateway_command(self) -> list[str]:
        filer = f"{HOST}:{self._ports['filer.port']}.{self._ports['filer.port.grpc']}"
        return [
            *seaweedfs.program(self._home, "gateway"),
            "s3",
            f"-ip.bind={self._host}",
            f"-port={self._ports['s3.port']}",
            f"-port.grpc={self._ports['s3.port.grpc']}",
            f"-filer={filer}",
            f"-config={self._home / 's3.json'}",
            "-autoCreateBucket=false",
            "-iam=false",
            "-port.iceberg=0",
            "-port.lance=0",
            "-readerCacheSizeMB=128",
            "-concurrentUploadLimitMB=256",
        ]
