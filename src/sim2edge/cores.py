"""How many processor cores this process may use: by its affinity and by the CPU quota of its control groups.

A container with `--cpus 2` on a machine of 64 cores sees 64 of them; whoever starts a process or thread for each is
slowed down by the quota and runs out of memory. Control groups of version 1 and 2 are understood.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Cores this process may keep busy, at least 1."""
    return count_cores(len(os.sched_getaffinity(0)), min(read_quotas(CGROUPS, MEMBERSHIP), default=None))


def count_cores(affinity: int, quota: float | None) -> int:
    """Cores, from those that may be run on and the CPU seconds a second may take (None: no limit).

    Half a core is rounded up: a worker more uses all of it, a worker less would not.
    """
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def read_quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of the control groups that this process is in, outer ones included.

    Args:
        cgroups: where control groups are mounted.
        membership: a file like `/proc/self/cgroup`.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = _mount(cgroups, controllers)
        for folder in [mounted / path.lstrip("/"), *(mounted / path.lstrip("/")).parents]:
            # Inside a container its own group is the mount's root, and the path may be the one outside.
            quota = read_v1(folder) if controllers else read_v2(folder)
            if quota is not None:
                yield quota
            if folder == mounted:
                break


def _mount(cgroups: Path, controllers: str) -> Path:
    if not controllers:
        return cgroups
    return next((folder for folder in (cgroups / "cpu", cgroups / controllers) if folder.is_dir()), cgroups / "cpu")


def read_v2(folder: Path) -> float | None:
    """Return the quota in `cpu.max` (`<microseconds> <period>` or `max <period>`), in cores.

    None when there is none.
    """
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def read_v1(folder: Path) -> float | None:
    """Return the quota in `cpu.cfs_quota_us` (-1: none) over `cpu.cfs_period_us`, in cores; None when there is none."""
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
