"""The pre-flight of a release: the guilty are refused with the true reason, and nobody else is."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
from guilty_releases import HEAVY, LIGHT, slow_network, with_model
from tiny_release import make_members, reseal

from sim2edge.edge.bundle import parse_release
from sim2edge.edge.judgement import preflight, preflight_run
from sim2edge.edge.judgement.preflight import Ended, Preflight, check, check_once, judge_speed
from sim2edge.edge.judgement.processor_clock import clock_share, median
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.edge.supervision.child_environment import child_environment
from sim2edge.errors import BadInput


def lay_out(folder: Path, files: dict[str, bytes]) -> Path:
    """An unpacked bundle, without the checks of unpacking."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@contextmanager
def busy_machine(loops: int) -> Iterator[None]:
    """Programs that use all the processor time they get."""
    with ExitStack() as stack:
        for _ in range(loops):
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def test_a_good_release_passes_and_its_cost_is_stated(slot: Path) -> None:
    result = check(slot, rate_hz=10)
    print(f"[preflight] {dict(result.figures)}")
    assert (result.outcome, result.reason) == (Preflight.PASSED, "")
    assert 0 < result.figures["cpu_ms_p95"] < 80
    assert 30 < result.figures["memory_mb"] <= 128


@pytest.mark.parametrize("kind", LIGHT)
def test_what_is_wrong_is_found_by_loading(tmp_path: Path, kind: str) -> None:
    make, reason = LIGHT[kind]
    with pytest.raises(BadInput) as caught:
        ObstacleDetector(lay_out(tmp_path / "slot", make()))
    assert re.search(reason, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*LIGHT, *HEAVY])
def test_a_guilty_release_is_refused_with_the_true_reason(tmp_path: Path, kind: str) -> None:
    make, reason = (LIGHT | HEAVY)[kind]
    result = check_once(lay_out(tmp_path / "slot", make()), rate_hz=10)
    assert result.outcome is (Preflight.UNFIT if kind == "slow, and says so" else Preflight.REFUSED)
    assert re.search(reason, result.reason), result.reason
    assert "\n" not in result.reason


def test_the_command_prints_one_line_and_tells_the_cause_by_its_exit_code(
    slot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert preflight.main([str(slot), "--rate", "10"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "passed"
    (slot / "classes.json").unlink()
    assert preflight.main([str(slot)]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["outcome"] == "undecided"
    assert answer["reason"] == "classes.json: is missing; named by release.json"
    (slot / "release.json").write_text("{}")
    assert preflight.main([str(slot)]) == 3
    assert json.loads(capsys.readouterr().out)["reason"] == "release.json: field 'requires' is missing"


@pytest.mark.slow
def test_a_fault_that_comes_again_refuses(tmp_path: Path) -> None:
    make, reason = HEAVY["crash"]
    result = check(lay_out(tmp_path / "slot", make()), rate_hz=10)
    assert (result.outcome, result.reason) == (Preflight.REFUSED, reason)


@pytest.mark.slow
def test_a_release_is_never_refused_because_the_machine_is_busy(slot: Path) -> None:
    with busy_machine(4):
        outcomes = [check(slot, rate_hz=10).outcome for _ in range(20)]
    print(f"[preflight] busy machine: {outcomes.count(Preflight.PASSED)} of 20 passed")
    assert Preflight.REFUSED not in outcomes


def test_a_machine_too_busy_to_try_it_refuses_nothing(slot: Path) -> None:
    result = check(slot, rate_hz=10, timeout_s=0.05)
    assert result.outcome is Preflight.UNDECIDED
    assert "did not end in 0 s" in result.reason


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGBUS])
def test_a_kill_from_outside_refuses_nothing(tmp_path: Path, number: signal.Signals) -> None:
    folder = lay_out(tmp_path / "slot", with_model(slow_network(40), memory_mb=512))

    def strike() -> None:
        while not (found := children()):
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(found[0], number)

    thread = threading.Thread(target=strike)
    thread.start()
    result = check(folder, rate_hz=10)
    thread.join()
    assert result.outcome is Preflight.UNDECIDED
    assert result.reason == f"the self-test was ended from outside, by {number.name}"


def children() -> list[int]:
    """Processes of pre-flights started here."""
    return [each.pid for each in psutil.Process().children() if "preflight_run" in " ".join(each.cmdline())]


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), OSError(24, "Too many open files")])
def test_no_process_to_be_had_refuses_nothing(slot: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "Popen", refuse)
    result = check(slot, rate_hz=10)
    assert result.outcome is Preflight.UNDECIDED
    assert result.reason.startswith("cannot start: ")


def test_a_disk_that_cannot_be_read_refuses_nothing(tmp_path: Path) -> None:
    result = check(tmp_path / "gone", rate_hz=10)
    assert result.outcome is Preflight.UNDECIDED
    assert "No such file" in result.reason


def test_a_fault_that_does_not_come_again_refuses_nothing(slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"fault": "floor logits are 9 from those of the release"}, {"fault": "", "cpu_ms_p95": 1.0}])
    monkeypatch.setattr(preflight, "run", lambda *_: Ended(0, next(answers), "", 50, 1.0))
    result = check(slot, rate_hz=10)
    assert result.outcome is Preflight.UNDECIDED
    assert result.reason == "failed once, then passed: floor logits are 9 from those of the release"


def test_memory_of_this_machines_own_libraries_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With larger memory pages, or under an emulator, Python and the runtime take more than on a usual machine."""
    slot = lay_out(
        tmp_path / "slot", make_members(requires={"runtime": "onnxruntime", "memory_mb": 64, "cpu_ms_p95": 80})
    )
    assert check(slot, rate_hz=10).outcome is Preflight.REFUSED
    monkeypatch.setitem(preflight.RUNTIME_MEMORY_MB, "onnxruntime", 20)
    result = check(slot, rate_hz=10)
    assert result.outcome is Preflight.PASSED, result
    assert result.figures["memory_mb"] > 64


@pytest.mark.parametrize(("base_mb", "limit_mb"), [(0, 128), (80, 128), (112, 128), (120, 136)])
def test_what_a_machine_takes_beyond_the_usual_is_allowed_on_top(base_mb: float, limit_mb: float) -> None:
    release = parse_release(make_members()["release.json"])
    assert preflight.memory_limit_mb(release, base_mb) == limit_mb


@pytest.mark.parametrize(
    ("left", "kind", "words"),
    [(60, "hindrance", "the machine has only 60 MB of memory left"), (500, "fault", "needs more memory than the 128")],
)
def test_memory_that_the_machine_lacks_is_not_the_releases_fault(
    monkeypatch: pytest.MonkeyPatch, left: float, kind: str, words: str
) -> None:
    class Memory:
        available = left * 2**20

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    assert words in preflight_run.judge_shortage(128)[kind]


@pytest.mark.parametrize(
    ("cpu_ms", "declared_ms", "rate_hz", "threads", "share", "outcome", "words"),
    [
        (1790, 80, 10, 1, 1.0, Preflight.REFUSED, "takes 1.79e.03 ms of processor time; it declares 80"),
        (1790, 80, 10, 1, 0.33, Preflight.REFUSED, "it declares 80$"),
        (200, 80, 10, 1, 0.33, Preflight.UNDECIDED, "it declares 80, but the processor ran at 33 % of its speed"),
        (1790, None, 10, 1, 1.0, Preflight.UNFIT, "at 10 frames a second it may take 80"),
        (1790, 5000, 10, 1, 1.0, Preflight.UNFIT, "at 10 frames a second it may take 80"),
        (60, 80, 10, 1, 1.0, Preflight.PASSED, "^$"),  # a device slower than the one that built it
        (60, 80, 0.1, 1, 1.0, Preflight.PASSED, "^$"),
        (60, 80, 20, 1, 1.0, Preflight.UNFIT, "at 20 frames a second it may take 40"),
        (60, 80, 20, 2, 1.0, Preflight.PASSED, "^$"),
    ],
)
def test_a_detection_has_to_fit_its_budget_and_the_frame_rate(
    cpu_ms: float,
    declared_ms: float | None,
    rate_hz: float,
    threads: int,
    share: float,
    outcome: Preflight,
    words: str,
) -> None:
    ended = Ended(0, {"fault": "", "cpu_ms_p95": cpu_ms}, "", 50, 1.0, share)
    found, reason = judge_speed(ended, declared_ms, rate_hz, threads)
    assert found is outcome
    assert re.search(words, reason)


def test_the_speed_of_a_processor_is_read_where_the_kernel_tells_it(tmp_path: Path) -> None:
    assert clock_share(tmp_path) == 1.0
    for number, now in ((0, "600000\n"), (1, "900000\n"), (2, "none")):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text("1800000\n")
        (folder / "scaling_cur_freq").write_text(now)
    (tmp_path / "cpu2" / "cpufreq" / "scaling_cur_freq").write_text("450000")
    assert clock_share(tmp_path) == 0.5
    assert (median([]), median([0.3, 1.0, 0.4])) == (1.0, 0.4)


def test_the_child_gives_way_and_is_limited(slot: Path) -> None:
    code = (
        "import os, resource, sys; from sim2edge.edge.judgement import preflight_run as p; from pathlib import Path\n"
        "p.restrain(); found = p.examine(Path(sys.argv[1]), 1, lambda _: None)\n"
        "print(os.nice(0), open('/proc/self/oom_score_adj').read().strip(), *(resource.getrlimit(each)[0] for each in\n"
        "(resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)), found['cpu_ms_p95'] > 0)"
    )
    words = subprocess.run([sys.executable, "-c", code, str(slot)], capture_output=True, text=True, check=True).stdout
    nice, score, core, files, seconds, measured = words.split()
    assert (nice, score, core, measured) == ("19", "1000", "0", "True")
    assert int(files) <= 256
    assert int(seconds) <= 60


def test_export_needs_none_of_the_devices_other_packages_for_it() -> None:
    code = "import sys; sys.modules |= dict.fromkeys(('prometheus_client', 'tuf', 'obstore')); "
    subprocess.run([sys.executable, "-c", f"{code} import sim2edge.edge.judgement.preflight"], check=True)


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "SIM2EDGE_SECRETS_FILE", "CREDENTIALS_DIRECTORY"])
def test_credentials_are_withheld_from_the_child(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("SIM2EDGE_CONF", "here")
    found = child_environment()
    assert name not in found
    assert found["SIM2EDGE_CONF"] == "here"


def test_a_release_of_an_older_export_is_judged_by_what_it_states(tmp_path: Path) -> None:
    files = {name: data for name, data in make_members().items() if not name.endswith(".jpg")}
    signature, release = json.loads(files["signature.json"]), json.loads(files["release.json"])
    del signature["self_test"], release["requires"]["cpu_ms_p95"]
    changed = {"signature.json": json.dumps(signature).encode(), "release.json": json.dumps(release).encode()}
    folder = lay_out(tmp_path / "slot", reseal(files | changed))
    assert check(folder, rate_hz=10).outcome is Preflight.PASSED


def test_a_release_with_a_budget_but_no_self_test_is_refused(tmp_path: Path) -> None:
    files = make_members()
    signature = json.loads(files["signature.json"])
    del signature["self_test"]
    stripped = reseal(files | {"signature.json": json.dumps(signature).encode()})
    result = check(lay_out(tmp_path / "slot", stripped), rate_hz=10)
    assert (result.outcome, result.reason) == (Preflight.REFUSED, "signature.json: it has no self_test")
