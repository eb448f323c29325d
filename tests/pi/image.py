"""Build the system of a virtual Pi: Debian for arm64 with systemd and the device, without running any foreign program.

    system = build(folder)          # System(kernel, initramfs, root): the files that qemu starts

The packages are downloaded once and kept in the folder; the code and the units are put in anew each time. Needs root
(owners of files), mmdebstrap, depmod, cpio and mke2fs: `ci/pi.sh` installs them.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sim2edge.agent_package import About
from sim2edge.edge.pi.package import PROGRAM

CHECKOUT = Path(__file__).parents[2]
UV = CHECKOUT / ".venvs/uv/bin/uv"
PACKAGES = """
    systemd systemd-sysv udev kmod python3 libpython3-stdlib busybox-static linux-image-arm64 libstdc++6 libgomp1 zlib1g
    libexpat1 libsqlite3-0 iproute2 ca-certificates bash coreutils util-linux mount login passwd base-passwd base-files
    e2fsprogs procps sed grep findutils dash
""".split()  # noqa: SIM905
EARLY = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
"""Modules that the initramfs loads; udev loads the others."""

LATER = ("virtio_net", "virtio_console", "virtio_rng", "i6300esb")
UNUSED_UNITS = """
    systemd-random-seed systemd-update-utmp systemd-update-utmp-runlevel systemd-sysctl systemd-pstore
    systemd-user-sessions getty-static serial-getty@ttyAMA0
""".split()  # noqa: SIM905
FORMAT = 2
"""Raise it when the functions below make another tree."""

ROOT_MB, HOME_MB = 1600, 192
HOME_OPTIONS = "noauto_da_alloc,data=writeback,noatime"
"""ext4 flushes a file that replaces another by itself, unless told otherwise: then a missing flush shows."""

FSTAB = f"""\
/dev/vda / ext4 noatime 0 0
/dev/vdb /mnt/home ext4 {HOME_OPTIONS} 0 2
/mnt/home/device /var/lib/sim2edge none bind 0 0
"""
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
while read -r module; do /bin/busybox insmod "/modules/$module"; done </modules/order
while [ ! -e /dev/vda ]; do /bin/busybox sleep 0.2; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox umount /sys
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True)
class System:
    """The files that a virtual Pi starts from."""

    kernel: Path
    initramfs: Path
    root: Path
    """The root file system, which no machine changes: qemu forgets what is written to it."""

    home: Path
    """An empty file system for the device's home."""


def build(folder: Path, files: Mapping[str, bytes], install: Sequence[object], options: str) -> System:
    """Build the system in `folder`, with the device installed by its installer.

    Args:
        folder: keeps the downloaded packages from one run to the next.
        files: path in the root to content; a path under `usr/local/bin` is made executable, a unit is enabled.
        install: options of `sim2edge device install`.
        options: further options of the agent, as lines.
    """
    base = _base(folder)
    system = System(base / "vmlinuz", base / "initramfs", folder / "root.img", folder / "home.img")
    tree = base / "tree"
    words = ("device", "install", "--prefix", tree, "--agent", _make_agent(base), "--arch", "aarch64", *install)
    _run(sys.executable, "-m", "sim2edge", *words)
    with (tree / "etc/sim2edge/options").open("a") as file:
        file.write(options)
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if "/bin/" in name else 0o644)
        if b"WantedBy=multi-user.target" in content:
            link = path.parent / "multi-user.target.wants" / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(f"../{path.name}")
    _make_disk(system.root, ROOT_MB, "-d", tree)
    _make_disk(system.home, HOME_MB, "-d", base / "home")
    return system


def _make_agent(base: Path) -> Path:
    """Return a folder as `sim2edge device pack` packs it and the installer unpacks it; packing takes minutes."""
    code = base / "lib/sim2edge"
    shutil.rmtree(code, ignore_errors=True)
    shutil.copytree(CHECKOUT / "src/sim2edge", code, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(code)
    agent = base / "agent"
    shutil.rmtree(agent, ignore_errors=True)
    agent.mkdir()
    _run("cp", "-al", base / "lib", agent / "lib")
    (agent / "agent.json").write_text(json.dumps(asdict(About("0.0.0", "aarch64"))))
    (agent / "sim2edge").write_text(PROGRAM.format(python="3.11"))
    (agent / "sim2edge").chmod(0o755)
    files = sorted(path for path in agent.rglob("*") if path.is_file())
    listing = {str(path.relative_to(agent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (agent / "files.json").write_text(json.dumps(listing))
    return agent


def _base(folder: Path) -> Path:
    """Return the folder with kernel, initramfs and root tree, built if the packages are others."""
    locks = [(CHECKOUT / name).read_bytes() for name in ("pyproject.toml", "requirements-stages.txt")]
    kept = repr((PACKAGES, EARLY, LATER, UNUSED_UNITS, FSTAB, INIT, FORMAT))
    key = hashlib.sha256(b"".join([kept.encode(), *locks])).hexdigest()[:16]
    base = folder / f"base-{key}"
    if (base / "done").exists():
        return base
    for old in folder.glob("base-*"):
        shutil.rmtree(old)
    tree = base / "tree"
    tree.mkdir(parents=True)
    tar = base / "root.tar"
    _run("mmdebstrap", "--variant=extract", "--arch=arm64", f"--include={','.join(PACKAGES)}", "bookworm", tar)
    _run("tar", "-xf", tar, "-C", tree)
    tar.unlink()
    _merge_usr(tree)
    _install_python(tree, base / "lib")
    (base / "home/device").mkdir(parents=True)
    _finish(tree)
    modules = next((tree / "usr/lib/modules").iterdir())
    _keep_modules(tree, modules)
    shutil.copyfile(next((tree / "boot").glob("vmlinuz-*")), base / "vmlinuz")
    _make_initramfs(tree, modules, base)
    (base / "done").touch()
    return base


def _merge_usr(tree: Path) -> None:
    """Make /bin, /sbin and /lib links into /usr, as Debian's installer does."""
    for name in ("bin", "sbin", "lib"):
        old = tree / name
        if not old.is_symlink():
            _run("cp", "-a", f"{old}/.", tree / "usr" / name)
            shutil.rmtree(old)
            old.symlink_to(f"usr/{name}")
    if not (tree / "usr/bin/sh").exists():
        (tree / "usr/bin/sh").symlink_to("dash")


def _install_python(tree: Path, library: Path) -> None:
    """Install the wheels of the device for arm64, and compile all of Python once, here."""
    words = f"pip install --quiet --target {library} --python-version 3.11 --only-binary :all: --extra edge".split()
    words += ["--python-platform", "aarch64-manylinux_2_34"]
    pins = ("--constraint", CHECKOUT / "requirements-stages.txt", "--requirements", CHECKOUT / "pyproject.toml")
    environment = os.environ | {"UV_SYSTEM_CERTS": "1", "UV_LINK_MODE": "copy"}
    _run(UV, *words, *pins, environment=environment)
    for path in (tree / "usr/lib/python3.11", library):
        _compile(path)


def _compile(folder: Path) -> None:
    words = ("-q", "-x", r"/(test|tests|idlelib|lib2to3|tkinter)/", "--invalidation-mode", "unchecked-hash")
    _run(sys.executable, "-m", "compileall", *words, folder, check=False)


def _finish(tree: Path) -> None:
    """Write what Debian's installer would: accounts, file systems, network, a console on the virtio port."""
    for name in ("passwd", "group"):
        shutil.copyfile(tree / f"usr/share/base-passwd/{name}.master", tree / f"etc/{name}")
    (tree / "etc/shadow").write_text("root:*:19000:0:99999:7:::\n")
    (tree / "etc/machine-id").write_text("5" * 32 + "\n")
    (tree / "etc/hostname").write_text("pi\n")
    (tree / "etc/fstab").write_text(FSTAB)
    for name in ("mnt/home", "var/lib/sim2edge"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    units = tree / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True, exist_ok=True)
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    for unit in UNUSED_UNITS:
        (units / f"{unit}.service").symlink_to("/dev/null")
    authorities = sorted((tree / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (tree / "etc/ssl/certs/ca-certificates.crt").write_bytes(b"".join(path.read_bytes() for path in authorities))


def _keep_modules(tree: Path, modules: Path) -> None:
    """Keep the kernel's modules that a virtual machine needs."""
    _run("depmod", "-b", tree, modules.name)
    kept = {modules / path for name in (*EARLY, *LATER) for path in _needed(modules, name)}
    for path in modules.rglob("*.ko"):
        if path not in kept:
            path.unlink()
    _run("depmod", "-b", tree, modules.name)


def _needed(modules: Path, name: str) -> list[str]:
    """Return the files of a module and of those that it depends on, these first."""
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        if Path(path).stem.replace("-", "_") == name:
            return [*reversed(others.split()), path]
    builtin = (modules / "modules.builtin").read_text()
    if f"/{name}.ko" in builtin.replace("-", "_"):
        return []
    raise FileNotFoundError(f"{modules}: no module {name}")


def _make_initramfs(tree: Path, modules: Path, base: Path) -> None:
    early = base / "early"
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        (early / name).mkdir(parents=True)
    shutil.copy(tree / "usr/bin/busybox", early / "bin/busybox")
    files = list(dict.fromkeys(path for name in EARLY for path in _needed(modules, name)))
    for path in files:
        shutil.copyfile(modules / path, early / "modules" / Path(path).name)
    (early / "modules/order").write_text("".join(f"{Path(path).name}\n" for path in files))
    (early / "init").write_text(INIT)
    (early / "init").chmod(0o755)
    _run("sh", "-c", f"cd {early} && find . | cpio --quiet -o -H newc >{base / 'initramfs'}")


def _make_disk(path: Path, size_mb: int, *how: object) -> None:
    path.unlink(missing_ok=True)
    _run("mke2fs", "-q", "-t", "ext4", *how, path, f"{size_mb}M")


def _run(*words: object, check: bool = True, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(word) for word in words], env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if check and done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stdout.decode(errors='replace')[-2000:]}")
