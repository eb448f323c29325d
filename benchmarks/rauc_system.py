"""Run RAUC on this machine for a comparison: two raw slots in files, a custom boot backend, a bundle of given files.

with RaucSystem(folder, files) as rauc:
    seconds, megabytes = rauc.install()
    rauc.kill(0.1)          # kills an installation after 0.1 s, and tries again
"""

import hashlib
import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

TOOLS = ("rauc", "mksquashfs", "dbus-daemon", "openssl")
SLOT_BYTES = 64 * 2**20
PATIENCE_S = 60.0
SYSTEM = """[system]
compatible=sim2edge
bootloader=custom
bundle-formats=plain
mountprefix={folder}/mount
[handlers]
bootloader-custom-backend={folder}/backend
[keyring]
path={folder}/cert.pem
[slot.release.0]
device={folder}/a.img
type=raw
bootname=A
[slot.release.1]
device={folder}/b.img
type=raw
bootname=B
"""
MANIFEST = "[update]\ncompatible=sim2edge\nversion=1\n[image.release]\nfilename=release.img\n"
BACKEND = """#!/bin/sh
# The boot loader's memory, in files: which slot is the primary one, and which are good.
cd {folder} || exit 1
case "$1" in
  get-primary) cat primary ;;
  set-primary) echo "$2" >primary.part && sync primary.part && mv primary.part primary && sync . ;;
  get-state) cat "state-$2" 2>/dev/null || echo good ;;
  set-state) echo "$3" >"state-$2.part" && sync "state-$2.part" && mv "state-$2.part" "state-$2" && sync . ;;
  get-current) echo A ;;
esac
"""


class RaucSystem:
    """RAUC with its bus and its slots in a folder."""

    def __init__(self, folder: Path, files: Path) -> None:
        """Make the keys, the slots and the bundle with everything in `files`."""
        self._folder = folder
        (folder / "mount").mkdir()
        (folder / "content").mkdir()
        (folder / "system.conf").write_text(SYSTEM.format(folder=folder))
        (folder / "backend").write_text(BACKEND.format(folder=folder))
        (folder / "backend").chmod(0o755)
        for slot in "ab":
            with (folder / f"{slot}.img").open("wb") as file:
                file.truncate(SLOT_BYTES)
        (folder / "primary").write_text("A\n")
        key = ("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=bench", "-days", "2", "-nodes")
        self._call("openssl", "req", "-x509", "-newkey", "rsa:2048", *key)
        self._call("mksquashfs", files, "content/release.img", "-comp", "xz", "-quiet", "-no-progress")
        (folder / "content/manifest.raucm").write_text(MANIFEST)
        self._call("rauc", "--cert", "cert.pem", "--key", "key.pem", "bundle", "content", "release.raucb")
        self._image = (folder / "content/release.img").read_bytes()
        address = f"unix:path={folder}/bus"
        self._environment = os.environ | {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": address}
        words = ("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}")
        self._bus = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._service = self._start()

    def __enter__(self) -> "RaucSystem":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._service, self._bus):
            process.kill()
            process.wait()
        self._unmount()

    def install(self) -> tuple[float, float]:
        """Install the bundle; the seconds, and the most megabytes that the service and its client had resident.

        Raises:
            RuntimeError: it failed.
        """
        self._reset()
        start = time.perf_counter()
        client = self._install()
        if client.wait(PATIENCE_S) or not self._whole():
            raise RuntimeError(f"rauc did not install: {(self._folder / 'service.log').read_text()[-500:]}")
        seconds = time.perf_counter() - start
        status = Path(f"/proc/{self._service.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        self._restart()
        return seconds, int(peak.split()[1]) / 1024

    def kill(self, after_s: float) -> str:
        """Kill service and client during an installation, then install again; `harmed`, `stuck` or empty."""
        self._reset()
        client = self._install()
        time.sleep(after_s)
        for process in (self._service, client):
            process.kill()
            process.wait()
        harmed = (self._folder / "primary").read_text() == "B\n" and not self._whole()
        self._service = self._start()
        stuck = self._install().wait(PATIENCE_S) != 0 or not self._whole()
        if stuck:
            self._unmount()
        return "harmed" if harmed else "stuck" if stuck else ""

    def _reset(self) -> None:
        """Make slot A the active one again, and slot B empty."""
        (self._folder / "primary").write_text("A\n")
        with (self._folder / "b.img").open("r+b") as file:
            file.write(bytes(len(self._image)))

    def _whole(self) -> bool:
        with (self._folder / "b.img").open("rb") as file:
            return hashlib.sha256(file.read(len(self._image))).digest() == hashlib.sha256(self._image).digest()

    def _install(self) -> subprocess.Popen[bytes]:
        with (self._folder / "client.log").open("ab") as log:
            words = ("rauc", "install", self._folder / "release.raucb")
            return subprocess.Popen(words, env=self._environment, stdout=log, stderr=log)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the service and wait until it answers."""
        words = ("rauc", "--conf", self._folder / "system.conf", "--override-boot-slot=A", "service")
        with (self._folder / "service.log").open("ab") as log:
            service = subprocess.Popen(words, env=self._environment, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while subprocess.run(("rauc", "status"), env=self._environment, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"rauc does not start: {(self._folder / 'service.log').read_text()[-500:]}")
            time.sleep(0.05)
        return service

    def _restart(self) -> None:
        self._service.kill()
        self._service.wait()
        self._service = self._start()

    def _unmount(self) -> None:
        for line in Path("/proc/mounts").read_text().splitlines():
            if (place := line.split()[1]).startswith(str(self._folder)):
                with suppress(subprocess.SubprocessError):
                    subprocess.run(("umount", place), check=True, capture_output=True)
        shutil.rmtree(self._folder / "mount", ignore_errors=True)
        (self._folder / "mount").mkdir()

    def _call(self, *words: object) -> None:
        done = subprocess.run([str(word) for word in words], cwd=self._folder, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{words[0]}: {done.stderr.decode(errors='replace')[-500:]}")
