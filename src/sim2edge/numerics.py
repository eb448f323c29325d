"""Pin the code paths of numeric libraries, so that a stage's results do not depend on the processor.

    pin_code_paths()        # before anything imports numpy, torch or OpenCV; processes started later inherit it

Each library checks the processor when it is loaded and uses its widest instructions; sums are then computed in another
order, and give other bytes. On x86-64 all are limited to AVX2 and FMA, by environment variables that they read when
they are loaded. Not covered: ONNX Runtime and LiteRT, which have no such variable.
"""

import os
import platform
import sys
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

from sim2edge.errors import BadInput

NEEDED = ("avx2", "fma", "f16c", "bmi2", "movbe")
"""Flags of `/proc/cpuinfo`; with AVX2 they are the x86-64-v3 that NumPy's kernels are compiled for."""

PINS: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # The only branch of MKL with the same result on all vendors' processors; torch uses it for matrices.
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_CPU_DISABLE": "AVX512-SKX",
    "OPENCV_IPP": "avx2",
    "ARROW_USER_SIMD_LEVEL": "AVX2",
    "MPLBACKEND": "agg",
    "OMP_DYNAMIC": "FALSE",
}
"""Variables that the libraries read when they are loaded; they override the environment."""

LIBRARIES = ("numpy", "torch", "cv2", "pyarrow")
CPUINFO = Path("/proc/cpuinfo")


def pin_code_paths(environment: MutableMapping[str, str] = os.environ) -> None:
    """Limit the numeric libraries of this process, and of its children, to one set of code paths.

    Raises:
        BadInput: the processor lacks the instructions.
        RuntimeError: a library is already loaded without the limit.
    """
    if platform.machine() != "x86_64":
        return
    check_processor(read_flags())
    if all(environment.get(name) == value for name, value in PINS.items()):
        return
    loaded = [name for name in LIBRARIES if name in sys.modules]
    if loaded:
        raise RuntimeError(f"{', '.join(loaded)}: loaded before the code paths of numeric libraries were pinned")
    environment.update(PINS)


def check_processor(flags: Collection[str]) -> None:
    """Check that a processor with these flags computes the same as every other one.

    Raises:
        BadInput: it does not; the message names the missing flags.
    """
    missing = [flag for flag in NEEDED if flag not in flags]
    if missing:
        raise BadInput(
            f"this processor has no {', '.join(missing)}: its results would differ from those of other machines"
        )


def read_flags(cpuinfo: Path = CPUINFO) -> Collection[str]:
    """Return the flags of the first processor in a file like `/proc/cpuinfo`."""
    lines = (line.partition(":") for line in cpuinfo.read_text(encoding="ascii", errors="replace").splitlines())
    return next((set(value.split()) for name, _, value in lines if name.strip() == "flags"), set())
