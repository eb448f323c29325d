"""How suites are run: within limits, a second time, side by side."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from .conftest import CHECKOUT, SUITES, Repository


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "], ids=["gentle", "by force"])
def test_a_limit_ends_a_command_with_all_that_it_started(
    repository: Repository, trap: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import suite_runner

    monkeypatch.setattr(suite_runner, "GRACE_S", 1.5 if trap else 45)
    stubborn = f"{trap}echo said; sleep 60 & echo $! >>ran.log; wait"
    repository.describe(SUITES.replace("echo clean >>ran.log", stubborn))
    started = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(suite_runner, "MINUTE_S", 0.5)
        assert repository.call("run", "clean") == 1
    assert not is_running(int(repository.ran()[0]))
    assert time.monotonic() - started < 30
    assert "said" in capfd.readouterr().out


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


def test_what_failed_runs_once_more_and_whole(repository: Repository) -> None:
    described = SUITES.replace("echo clean >>ran.log", "echo clean >>ran.log; [ $(wc -l <ran.log) = 2 ]")
    repository.describe(described)
    assert repository.call("run", "clean") == 1
    assert repository.ran() == ["clean"]
    repository.describe(described.replace("[suite.clean]", "[suite.clean]\nretry = true"))
    assert repository.call("run", "clean") == 0
    assert repository.ran() == ["clean", "clean"]


def test_the_callers_variables_do_not_narrow_a_suite(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.describe(SUITES.replace("echo clean", "echo clean $PYTEST_ADDOPTS $IMAGES $MAKEFLAGS $KEPT"))
    for name, value in {"PYTEST_ADDOPTS": "-k x", "IMAGES": "train", "MAKEFLAGS": "-k", "KEPT": "kept"}.items():
        monkeypatch.setenv(name, value)
    assert repository.call("run", "clean") == 0
    assert repository.ran() == ["clean kept"]


def test_what_might_not_end_in_time_does_not_begin_and_the_run_has_failed(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.describe(SUITES.replace('echo train with $ENGINE >>ran.log"\nminutes = 1', 'true"\nminutes = 9'))
    assert repository.call("run", "--until", "5") == 1
    assert repository.ran() == ["test", "clean", "engine", "images", "drill with up"]
    assert "train            NOT RUN, for time" in capfd.readouterr().out
    assert "train" not in repository.recorded()


def test_a_command_ends_at_its_first_failure(repository: Repository) -> None:
    repository.describe(SUITES.replace("echo clean >>ran.log", "false | cat; echo went on"))
    assert repository.call("run", "clean") == 1


def beside(cores: str) -> str:
    """Two suites of which each waits for the other's sign: one after the other they would not end."""
    wait_for = "for i in $(seq 100); do [ ! -e build/%s ] || exit 0; sleep 0.05; done; exit 1"
    one = SUITES.replace("echo clean >>ran.log", f"echo spoken; touch build/a; {wait_for % 'b'}")
    both = one.replace("echo train with $ENGINE >>ran.log", f"touch build/b; {wait_for % 'a'}")
    return both.replace("minutes = 1\n", f"minutes = 1\n{cores}")


def test_suites_run_side_by_side_as_far_as_the_cores_go(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.describe(beside("cores = 0.25\n"))
    assert repository.call("run") == 0
    said = capfd.readouterr().out
    assert said.index("begins: train") < said.index("clean: passed; its output") < said.index("spoken")


def test_one_that_says_nothing_of_cores_has_the_machine_for_itself(repository: Repository) -> None:
    repository.describe(beside(""))
    assert repository.call("run") == 1


def test_the_failure_of_a_first_suite_ends_what_runs_beside_it(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = SUITES.replace("echo test >>ran.log", "until [ -e build/a ]; do sleep 0.05; done; exit 1")
    slow = failing.replace("echo clean >>ran.log", "echo $$ >>ran.log; touch build/a; exec sleep 60")
    repository.describe(slow.replace("minutes = 1\n", "minutes = 1\ncores = 0.25\n"))
    started = time.monotonic()
    assert repository.call("run") == 1
    assert time.monotonic() - started < 30
    said = capfd.readouterr().out
    assert "clean            NOT RUN to its end, after a failure" in said
    assert [line for line in said.splitlines() if line.startswith("FAILED")] == ["FAILED: test"]
    (pid,) = [line for line in repository.ran() if line.isdigit()]
    assert not is_running(int(pid))


def test_a_need_that_fails_fails_what_needs_it_and_nothing_else(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.describe(SUITES.replace("echo images >>ran.log", "exit 3"))
    assert repository.call("run") == 1
    said = capfd.readouterr().out
    assert "train            not run: images failed" in said
    assert "clean            passed" in said


def test_a_need_that_does_not_write_what_it_exports_has_failed(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    repository.describe(SUITES.replace(" && echo ENGINE=up >engine.env", ""))
    assert repository.call("run") == 1
    assert "train            not run: engine failed" in capfd.readouterr().out


def test_a_first_suite_without_its_need_ends_the_run(repository: Repository) -> None:
    needed = SUITES.replace("always = true\nfirst = true", 'always = true\nfirst = true\nneeds = ["engine"]')
    repository.describe(needed.replace("echo engine >>ran.log", "false"))
    assert repository.call("run") == 1
    assert repository.ran() == []


def test_first_suites_and_what_they_need_come_before_the_others_and_theirs(repository: Repository) -> None:
    later = SUITES.replace("[suite.drill]", "[suite.drill]\nfirst = true").replace('needs = ["images"]', "", 1)
    repository.describe(later.replace("[suite.train]\n", '[suite.train]\nneeds = ["images"]\n'))
    assert repository.call("run") == 0
    assert repository.ran()[:4] == ["test", "engine", "images", "drill with up"]


def test_a_stubborn_suite_holds_up_no_other(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import suite_runner

    monkeypatch.setattr(suite_runner, "MINUTE_S", 1.5)
    monkeypatch.setattr(suite_runner, "GRACE_S", 3)
    stubborn = SUITES.replace("echo clean >>ran.log", "trap '' TERM; sleep 60 & wait; wait")
    repository.describe(
        stubborn.replace("echo train with $ENGINE", "sleep 0.5; echo train with $ENGINE").replace(
            "minutes = 1\n", "minutes = 1\ncores = 0.25\n"
        )
    )
    assert repository.call("run") == 1
    said = capfd.readouterr().out
    assert "clean            FAILED (timed out)" in said
    assert "train            passed, 1 s" in said or "train            passed, 0 s" in said


@pytest.fixture
def both_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner looks at what it runs once all of that has ended, however busy the machine is."""
    import suite_runner

    look = suite_runner.Runner._look

    def look_late(runner: suite_runner.Runner) -> None:
        for each in runner.running:
            each.process.wait(60)
        look(runner)

    monkeypatch.setattr(suite_runner.Runner, "_look", look_late)


@pytest.mark.usefixtures("both_ended")
def test_what_had_passed_when_a_first_suite_failed_is_recorded(repository: Repository) -> None:
    failing = SUITES.replace("echo test >>ran.log", "exit 1")
    repository.describe(failing.replace("minutes = 1\n", "minutes = 1\ncores = 0.25\n"))
    assert repository.call("run") == 1
    assert "clean" in repository.recorded()


@pytest.mark.usefixtures("both_ended")
def test_what_failed_as_the_run_ends_does_not_run_once_more(
    repository: Repository, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = SUITES.replace("echo test >>ran.log", "exit 1").replace("echo clean >>ran.log", "exit 1")
    failing = failing.replace("[suite.clean]", "[suite.clean]\nretry = true")
    repository.describe(failing.replace("minutes = 1\n", "minutes = 1\ncores = 0.25\n"))
    assert repository.call("run", "test", "clean") == 1
    said = capfd.readouterr().out
    assert "clean            FAILED (exit code 1)" in said
    assert "once more" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_leaves_the_handling_of_signals_as_it_was(repository: Repository, number: signal.Signals) -> None:
    """What it ignores while it ends would else be ignored by all that its caller starts."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert repository.call("run", "clean") == 0
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
