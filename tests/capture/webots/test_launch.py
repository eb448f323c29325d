"""The process around Webots: found, started, watched and ended, whatever it does."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.webots.installed import Webots, find_webots, parse_version, webots_command, webots_environment
from sim2edge.capture.webots.launch import Patience, capture_in_webots, given_up
from sim2edge.errors import BadInput

QUICK = Patience(start_s=1.0, tick_s=1.0, quit_s=0.5)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


@pytest.fixture
def spec(config):
    return draw_episode(config, "launch", 0)[0]


@pytest.fixture
def capture(spec, config, tmp_path):
    """`capture(patience) -> (result, drive)`, into tmp_path/out."""

    def run(patience=Patience()):  # noqa: B008
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        return capture_in_webots(spec, config, tmp_path / "out", scratch=scratch, patience=patience)

    return run


def test_an_episode_comes_back_whole(fake_webots, capture, spec, tmp_path):
    fake_webots()
    result, drive = capture()
    assert (result.simulator, result.episode_id, result.frames) == ("webots", spec.episode_id, 15)
    assert len(drive.path) == 15
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"simulation.mcap", "lidar.csv", "config.yaml", "result.json"} <= names
    assert not list((tmp_path / "scratch").iterdir())


def test_the_same_episode_comes_back_the_same(fake_webots, spec, config, tmp_path):
    fake_webots()
    hashes = {capture_in_webots(spec, config, tmp_path / name)[0].trace_sha256 for name in ("one", "two")}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("behaviour", "patience", "message"),
    [
        ("crash", Patience(), "ended by signal 6; the console's end: INFO: this is not Webots"),
        ("crash late", Patience(), "ended by signal 6"),
        ("hang", QUICK, "no tick within 1 s of its start"),
        ("hang late", Patience(tick_s=1.0), "no tick for 1 s"),
    ],
)
def test_a_process_that_fails_leaves_one_line_and_nothing_else(
    fake_webots, capture, tmp_path, behaviour, patience, message
):
    fake_webots(behaviour)
    with pytest.raises(RuntimeError, match=r"webots: episode launch\.0000") as raised:
        capture(patience)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_what_hangs_after_its_outcome_loses_nothing(fake_webots, capture):
    fake_webots("linger")
    assert capture(Patience(quit_s=0.5))[0].frames == 15


def test_the_controllers_error_is_the_line(fake_webots, capture, config, spec, tmp_path, monkeypatch):
    fake_webots()
    strange = spec.model_copy(update={"driver": "policy"})
    with pytest.raises((BadInput, RuntimeError)) as raised:
        capture_in_webots(strange, config, tmp_path / "strange")
    assert "policy" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_outlives_the_process_that_started_it(fake_webots, tmp_path):
    fake_webots("hang")
    code = """
import sys
from pathlib import Path
from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.webots.launch import capture_in_webots
config = CaptureConfig()
capture_in_webots(draw_episode(config, "orphan", 0)[0], config, Path(sys.argv[1]) / "out", scratch=Path(sys.argv[1]))
"""
    short = Path(tempfile.mkdtemp(prefix="t-"))
    environment = os.environ | {"TMPDIR": str(short)}
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
    deadline = time.monotonic() + 60
    while not (started := list(tmp_path.glob("webots-*/project/started.txt"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.1)
    pid = int(started[0].read_text().split("pid=")[1])
    assert alive(pid)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert wait_until_gone(pid)
    shutil.rmtree(short)


def test_the_command_line_is_the_headless_one(fake_webots, capture, tmp_path, monkeypatch):
    folder = fake_webots()
    webots = find_webots()
    command = webots_command(webots, Path("/w/episode.wbt"), 4321)
    assert command[:2] == [str(folder / "xvfb-run"), "--auto-servernum"]
    after = command[command.index(str(folder / "webots")) + 1 :]
    options = ["--batch", "--mode=fast", "--minimize", "--no-rendering", "--stdout", "--stderr", "--port=4321"]
    assert after == [*options, "/w/episode.wbt"]


def test_webots_home_wins_over_the_path(fake_webots, tmp_path, monkeypatch):
    folder = fake_webots()
    home = tmp_path / "home"
    home.mkdir()
    (folder / "webots").rename(home / "webots")
    monkeypatch.setenv("WEBOTS_HOME", str(home))
    assert find_webots().program == home / "webots"


@pytest.mark.parametrize("version", ["R2023b", "R2025b", "R2025a-nightly"])
def test_another_release_is_refused_by_name(fake_webots, version):
    fake_webots(version=version)
    with pytest.raises(BadInput, match=f"is {version}; R2025a is needed"):
        find_webots()


def test_no_webots_is_said_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(BadInput, match="not on PATH, and WEBOTS_HOME is not set"):
        find_webots({"PATH": str(tmp_path)})
    with pytest.raises(BadInput, match="neither in WEBOTS_HOME"):
        find_webots({"PATH": str(tmp_path), "WEBOTS_HOME": str(tmp_path)})


def test_no_display_is_said_in_one_line(fake_webots):
    folder = fake_webots()
    (folder / "xvfb-run").unlink()
    alone = {"PATH": str(folder), "FAKE_VERSION": "R2025a"}
    with pytest.raises(BadInput, match="needs a display"):
        find_webots(alone)
    assert find_webots({**alone, "DISPLAY": ":0"}).virtual_display is None


def test_the_environment_has_own_folders_and_no_credentials():
    base = {
        "LIBGL_ALWAYS_SOFTWARE": "0",
        "AWS_SECRET_ACCESS_KEY": "s",
        "SIM2EDGE_SECRETS_FILE": "f",
        "PATH": "/bin",
        "PYTHONPATH": "/more",
    }
    made = webots_environment(base, Path("/own"), Path("/source"))
    assert made["PYTHONPATH"] == f"/source{os.pathsep}/more"
    assert made["LIBGL_ALWAYS_SOFTWARE"] == "1"
    assert {made[name] for name in ("HOME", "TMPDIR", "WEBOTS_TMPDIR")} == {"/own/home", "/own/tmp"}
    assert not any("SECRET" in name for name in made)


def test_versions_are_read_from_what_webots_says():
    assert parse_version("Webots version: R2025a\n") == "R2025a"
    assert parse_version("qt.qpa.xcb: could not connect to display") == ""


def test_patience_depends_on_how_far_it_came():
    patience = Patience(start_s=100, tick_s=10, quit_s=1)
    assert given_up(50, ticked=False, done=False, patience=patience) == ""
    assert "start" in given_up(101, ticked=False, done=False, patience=patience)
    assert "no tick for" in given_up(11, ticked=True, done=False, patience=patience)
    assert "quit" in given_up(2, ticked=True, done=True, patience=patience)


def test_without_a_virtual_display_the_program_comes_first():
    webots = Webots(Path("/usr/local/webots/webots"), "R2025a", None)
    assert webots_command(webots, Path("/w.wbt"), 1)[0] == "/usr/local/webots/webots"
