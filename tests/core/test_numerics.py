"""Numeric libraries take one set of code paths whatever the processor offers, or the stage is refused."""

import json
import os
import subprocess
import sys

import pytest

from sim2edge.errors import BadInput
from sim2edge.numerics import NEEDED, PINS, check_processor, read_flags

TAKEN = """
import json
from sim2edge.numerics import pin_code_paths
pin_code_paths()
import cv2, numpy, pyarrow, torch
from numpy._core._multiarray_umath import __cpu_features__ as numpy_has
from threadpoolctl import threadpool_info
blas = [pool for pool in threadpool_info() if pool["internal_api"] == "openblas"]
print(json.dumps({
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numpy": [name for name in ("X86_V4", "AVX512_ICL", "AVX512_SPR") if numpy_has.get(name)],
    "openblas": sorted({(pool["architecture"], pool["num_threads"]) for pool in blas}),
    "opencv": [word for word in cv2.getCPUFeaturesLine().split() if word == "*AVX512-SKX"],
    "ipp": cv2.ipp.getIppVersion().split("(")[0].strip(),
    "arrow": pyarrow.runtime_info().simd_level,
}))
torch.set_num_threads(1)
torch.nn.Conv2d(8, 8, 3)(torch.randn(4, 8, 16, 16))
torch.nn.Linear(80, 4)(torch.randn(32, 80))
"""


@pytest.fixture(scope="module")
def taken() -> tuple[dict, str]:
    """What the libraries of a fresh process say of the code paths they take; and what oneDNN and MKL log."""
    before = {name: value for name, value in os.environ.items() if name not in PINS}
    environment = before | {"ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1", "OPENBLAS_CORETYPE": "Prescott"}
    command = [sys.executable, "-c", TAKEN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    said, _, log = done.stdout.partition("\n")
    return json.loads(said), log


@pytest.mark.skipif("avx2" not in read_flags(), reason="not an x86-64 processor with AVX2")
def test_every_library_is_held_to_avx2(taken):
    said, log = taken
    assert said == {
        "torch": "AVX2",
        "numpy": [],
        "openblas": [["Haswell", 1]],
        "opencv": [],
        "ipp": "ippIP AVX2",
        "arrow": "avx2",
    }
    assert "cpu,isa:Intel AVX2" in log
    assert "CNR:COMPATIBLE" in log


def test_a_processor_that_lacks_instructions_is_refused():
    check_processor({*NEEDED, "sse2"})
    with pytest.raises(BadInput, match="this processor has no avx2, fma: its results would differ"):
        check_processor(set(NEEDED) - {"avx2", "fma"})


def test_flags_are_read_from_the_first_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert read_flags(tmp_path / "cpuinfo") == {"fpu", "avx2"}


def test_a_library_that_is_loaded_already_is_an_error():
    code = "import numpy; from sim2edge.numerics import pin_code_paths; pin_code_paths()"
    before = {name: value for name, value in os.environ.items() if name not in PINS}
    done = subprocess.run([sys.executable, "-c", code], env=before, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "numpy: loaded before" in done.stderr
