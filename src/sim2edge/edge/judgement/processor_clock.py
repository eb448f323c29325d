"""Read how fast the processors run: less than they can when it is hot, the power is weak, or the system saves it.

clock_share()       # 0.33: the fastest one runs at a third of its full speed; 1.0 also where nothing is known

https://docs.kernel.org/admin-guide/pm/cpufreq.html
"""

from collections.abc import Sequence
from pathlib import Path

PROCESSORS = Path("/sys/devices/system/cpu")


def clock_share(processors: Path = PROCESSORS) -> float:
    """Return the speed of the fastest processor now, as a share of what it can do at most."""
    shares = [share_of(folder) for folder in processors.glob("cpu[0-9]*/cpufreq")]
    return max(shares, default=1.0)


def share_of(folder: Path) -> float:
    """Return the speed of one processor as a share; 1.0 if it is not known."""
    try:
        now, most = (int((folder / name).read_text()) for name in ("scaling_cur_freq", "cpuinfo_max_freq"))
    except (OSError, ValueError):
        return 1.0
    return min(now / most, 1.0) if now > 0 and most > 0 else 1.0


def median(shares: Sequence[float]) -> float:
    """Return the middle one of some shares; 1.0 if there is none."""
    return sorted(shares)[len(shares) // 2] if shares else 1.0
