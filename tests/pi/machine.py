"""A virtual Pi: qemu with a hardware watchdog, a log of every write to the disk of the device's home, and a shell.

with Machine(system, folder, home_image) as pi:
    pi.until("systemctl is-active sim2edge-device")
pi.log                      # every write since it was switched on

Leaving the block cuts the power: qemu is killed.
"""

import os
import re
import socket
import subprocess
import time
from functools import partial
from pathlib import Path
from types import TracebackType

from sim2edge.prctl import die_with_parent

from .image import System

HOST = "10.0.2.2"
"""This machine, as the virtual one sees it."""

BOOT_S = 900.0
MEMORY_MB = 1024


class Machine:
    """One machine that is switched on."""

    def __init__(self, system: System, folder: Path, home: Path) -> None:
        """Switch on a machine whose home disk is the file `home`; its logs are written to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.console, self.log, self._socket = folder / "console.log", folder / "writes.log", folder / "shell"
        self.log.write_bytes(b"")
        self._socket.unlink(missing_ok=True)
        self.started = time.monotonic()
        ends_too = partial(die_with_parent, parent=os.getpid())
        self._process = subprocess.Popen(self._command(system, home), stdout=subprocess.DEVNULL, preexec_fn=ends_too)
        self._shell: socket.socket | None = None

    def _command(self, system: System, home: Path) -> list[str]:
        pipe = f"socket,path={self._socket},server=on,wait=off,id=shell"
        words = f"""
            nice qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 1 -m {MEMORY_MB} -rtc base=utc
            -display none -monitor none -serial file:{self.console} -kernel {system.kernel} -initrd {system.initramfs}
            -drive file={system.root},format=raw,if=none,id=root,snapshot=on -device virtio-blk-pci,drive=root
            -blockdev driver=file,filename={home},node-name=homefile
            -blockdev driver=file,filename={self.log},node-name=logfile
            -blockdev driver=blklogwrites,node-name=home,file=homefile,log=logfile -device virtio-blk-pci,drive=home
            -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci
            -device i6300esb -action watchdog=reset
            -device virtio-serial-pci -chardev {pipe} -device virtconsole,chardev=shell
            -append
        """
        return [*words.split(), "console=ttyAMA0 net.ifnames=0 quiet systemd.show_status=0 panic=0"]

    def __enter__(self) -> "Machine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()

    @property
    def age_s(self) -> float:
        """Seconds since it was switched on."""
        return time.monotonic() - self.started

    def cut_power(self) -> None:
        """Kill the machine."""
        if self._shell:
            self._shell.close()
            self._shell = None
        self._process.kill()
        self._process.wait()

    def run(self, command: str, patience_s: float = 60.0) -> tuple[int, str]:
        """Run a command in the machine's shell; its exit code and output.

        Raises:
            TimeoutError: no answer; the machine may not be up yet, or hang.
        """
        self._shell = self._shell or self._connect()
        mark = f"{time.monotonic_ns():x}"
        self._shell.sendall(f"{{ {command}\n}} 2>&1; echo {mark}=$?=\n".encode())
        deadline, read = time.monotonic() + patience_s, b""
        while not (found := re.search(rf"{mark}=(\d+)=".encode(), read)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{command}: no answer in {patience_s:g} s; console: {self.console}")
            try:
                read += self._shell.recv(65536)
            except TimeoutError:
                continue
        lines = read[: found.start()].decode(errors="replace").replace("\r", "")
        return int(found[1]), lines.rpartition("=$?=\n")[2].strip() if "=$?=" in lines else lines.strip()

    def tell(self, command: str) -> None:
        """Send a command without waiting for its end."""
        self._shell = self._shell or self._connect()
        self._shell.sendall(f"{command}\n".encode())

    def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(1.0)
        made.connect(str(self._socket))
        return made

    def wait_for_shell(self) -> None:
        """Wait until the machine's shell answers: it has booted.

        Raises:
            TimeoutError: it does not boot.
        """
        deadline = time.monotonic() + BOOT_S
        while True:
            try:
                self.run("true", 5.0)
                return
            except (TimeoutError, OSError):
                stuck = self.console.exists() and "emergency mode" in self.console.read_text(errors="replace")
                if stuck or time.monotonic() > deadline:
                    raise

    def until(self, command: str, patience_s: float) -> str:
        """Repeat a command until it succeeds; its output.

        Raises:
            TimeoutError: it never does; the message holds its last output.
        """
        deadline = time.monotonic() + patience_s
        while True:
            code, output = self.run(command)
            if code == 0:
                return output
            if time.monotonic() > deadline:
                raise TimeoutError(f"{command}: still fails after {patience_s:g} s: {output}")
            time.sleep(0.5)
