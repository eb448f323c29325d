"""Count the processor cores that this process may use: by its affinity and the CPU quota of its control groups.

A container with `--cpus 2` on a machine of 64 cores sees 64 of them; a process or thread for each would be throttled by
the quota and run out of memory. Control groups of version 1 and 2 are supported.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return the number of cores that this process may keep busy, at least 1."""
    return count_cores(len(os.sched_getaffinity(0)), min(read_quotas(CGROUPS, MEMBERSHIP), default=None))


def count_cores(affinity: int, quota: float | None) -> int:
    """Return a number of cores, from those allowed and the quota in CPU seconds a second (None: no limit).

    Half a core is rounded up: one worker more uses all of it, one less would not.
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
            # In a container its own group is the mount's root, but the path may be that of the host.
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
    """Return the quota in `cpu.max` (`<microseconds> <period>` or `max <period>`), in cores; None when unlimited."""
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
