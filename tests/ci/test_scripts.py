"""What `make` looks for before it begins, and the limit of `make test`."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import CHECKOUT

NEEDED = ("bash", "git", "flock", "sha256sum", "timeout")


def script(name: str, *words: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path)} if path else None
    command = ["/bin/sh", str(CHECKOUT / "scripts" / name)] if path else [str(CHECKOUT / "scripts" / name)]
    return subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The programs of a machine that has all that is needed, as a folder."""
    for name in NEEDED:
        (tmp_path / name).symlink_to("/bin/true")
    (tmp_path / "python3.11").symlink_to("/bin/true")
    (tmp_path / "uname").write_text('#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo x86_64\n')
    (tmp_path / "uname").chmod(0o755)
    return tmp_path


def replace(machine: Path, name: str, text: str) -> None:
    (machine / name).unlink()
    (machine / name).write_text(f"#!/bin/sh\n{text}\n")
    (machine / name).chmod(0o755)


def test_a_machine_with_all_that_is_needed_hears_nothing(machine: Path) -> None:
    ended = script("needs.sh", path=machine)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_program_is_told_in_one_line(machine: Path, name: str) -> None:
    (machine / name).unlink()
    ended = script("needs.sh", path=machine)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"make: this machine lacks: {name}")
    assert ended.stderr.count("\n") == 1


def test_all_that_is_missing_is_told_at_once(machine: Path) -> None:
    for name in ("bash", "git", "python3.11"):
        (machine / name).unlink()
    assert script("needs.sh", path=machine).stderr == "make: this machine lacks: bash, git, Python 3.11\n"


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        ("python3.11", 'case "$*" in *version_info*) exit 1 ;; esac', "Python 3.11"),
        ("python3.11", 'case "$*" in *ensurepip*) exit 1 ;; esac', "venv of Python 3.11 (Debian: python3.11-venv)"),
        ("uname", '[ "$1" = -s ] && echo Linux || echo aarch64', "Linux on x86-64 (this is Linux on aarch64)"),
    ],
    ids=["another Python", "no venv", "another machine"],
)
def test_the_wrong_kind_is_told_as_well(machine: Path, name: str, text: str, missing: str) -> None:
    replace(machine, name, text)
    ended = script("needs.sh", path=machine)
    assert (ended.returncode, ended.stderr) == (2, f"make: this machine lacks: {missing}\n")


def test_a_limit_strikes_and_says_so_last() -> None:
    started = time.monotonic()
    ended = script("limit.sh", "0.01", "sleep", "50")
    assert ended.returncode == 124
    assert ended.stderr == "NOT FINISHED: stopped at the limit of 0.01 minutes (LIMIT=0.01)\n"
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("code", [0, 3])
def test_within_its_limit_a_command_ends_as_without(code: int) -> None:
    ended = script("limit.sh", "1", "sh", "-c", f"exit {code}")
    assert (ended.returncode, ended.stderr) == (code, "")


def test_tests_that_are_left_out_exist() -> None:
    """pytest says nothing of a name to leave out that fits no test."""
    listed = (CHECKOUT / "scripts/test_images.sh").read_text() + (CHECKOUT / "ci/suites.toml").read_text()
    names = re.findall(r"--(?:deselect|ignore)[ =](tests/[\w/.:]+)", listed)
    assert len(names) >= 8
    for path, _, test in (name.partition("::") for name in names):
        assert (CHECKOUT / path).is_file(), path
        assert not test or f"def {test}(" in (CHECKOUT / path).read_text(), test
