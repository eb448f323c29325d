"""What converters print, from Python and from C, stays out of the stage's log until something fails."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from sim2edge.export.quiet import quietly


def chatter() -> None:
    print("from Python")
    os.write(2, b"from C\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    warnings.warn("from a library", stacklevel=1)


def test_nothing_comes_through(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with quietly(tmp_path / "log"):
        chatter()
    print("after")
    assert capfd.readouterr() == ("before\nafter\n", "")
    assert {"from Python", "from C", "from a child"} <= set((tmp_path / "log").read_text().splitlines())


def test_an_error_takes_the_end_of_the_log_along(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with quietly(tmp_path / "log"):
            os.write(2, b"the reason\n")
            raise RuntimeError("conversion failed")

    with pytest.raises(RuntimeError) as caught:
        fail()
    assert caught.value.__notes__ == ["the reason"]
    assert capfd.readouterr() == ("", "")
