"""How suites are run: within limits, a second time, side by side."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .conftest import CHECKOUT, SUITES, Repository


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["gentle", "by force"])
def test_a_limit_ends_a_command_with_all_that_it_started(
    tmp_path: Path, trap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import suite_runner

    monkeypatch.setattr(suite_runner, "GRACE_S", 1.5 if trap else 45)
    command = f"{trap}sleep 60 & echo $! >child; wait"
    started = time.monotonic()
    assert suite_runner.execute(command, 0.5, os.environ, tmp_path) == suite_runner.TIMED_OUT
    assert not is_running(int((tmp_path / "child").read_text()))
    assert time.monotonic() - started < 30


def test_whoever_ends_the_run_ends_what_it_runs(repository: Repository) -> None:
    repository.describe(SUITES.replace("echo clean >>ran.log", "echo $$ >>ran.log; exec sleep 60"))
    code = (
        f"import sys, suites, pathlib; sys.exit(suites.main(['run', 'clean'], pathlib.Path({str(repository.root)!r})))"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "ci")}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not (said := repository.ran()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(20) == 143
    assert not is_running(int(said[0]))


def test_what_failed_is_run_once_more_by_itself(repository: Repository) -> None:
    flaky = 'echo clean $PYTEST_ADDOPTS >>ran.log; [ -n "$PYTEST_ADDOPTS" ]'
    described = SUITES.replace("echo clean >>ran.log", flaky.replace('"', '\\"'))
    repository.describe(described)
    assert repository.call("run", "clean") == 1
    assert repository.ran() == ["clean"]
    repository.describe(described.replace("[suite.clean]", "[suite.clean]\nretry = true"))
    assert repository.call("run", "clean") == 0
    assert repository.ran() == ["clean", "clean --last-failed"]


def test_the_callers_variables_do_not_narrow_a_suite(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.describe(SUITES.replace("echo clean", "echo clean $PYTEST_ADDOPTS $IMAGES $MAKEFLAGS $KEPT"))
    for name, value in {"PYTEST_ADDOPTS": "-k x", "IMAGES": "train", "MAKEFLAGS": "-k", "KEPT": "kept"}.items():
        monkeypatch.setenv(name, value)
    assert repository.call("run", "clean") == 0
    assert repository.ran() == ["clean kept"]


def test_what_might_not_end_in_time_does_not_begin(repository: Repository, capfd: pytest.CaptureFixture[str]) -> None:
    repository.describe(SUITES.replace('echo train with $ENGINE >>ran.log"\nminutes = 1', 'true"\nminutes = 9'))
    assert repository.call("run", "--until", "5") == 0
    assert repository.ran() == ["test", "clean", "engine", "images", "drill with up"]
    assert "train            NOT RUN, for time" in capfd.readouterr().out
    assert "train" not in (repository.root / "ci/passed.json").read_text()


def test_one_in_the_background_runs_beside_those_it_may(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each waits for the other's sign: one after the other they would not end."""
    wait_for = "until [ -e build/%s ]; do sleep 0.02; done"
    one = SUITES.replace("echo clean >>ran.log", f"echo spoken; touch build/a; {wait_for % 'b'}")
    both = one.replace("echo train with $ENGINE >>ran.log", f"touch build/b; {wait_for % 'a'}")
    repository.describe(both.replace("[suite.clean]", '[suite.clean]\nbeside = ["train"]'))
    assert repository.call("run") == 0
    said = capfd.readouterr().out
    assert said.index("== train") < said.index("clean, from the background") < said.index("spoken")
    assert said.index("spoken") < said.index("== drill")
