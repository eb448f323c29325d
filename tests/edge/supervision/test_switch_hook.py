"""The robot's word on when to switch."""

import json
import time

import pytest

from sim2edge.edge.supervision import switch_hook
from sim2edge.edge.supervision.switch_hook import SwitchHook, conditions_of


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "slot"
    folder.mkdir()
    (folder / "release.json").write_text(json.dumps({"switch_when": ["idle", "charging"]}))
    return folder


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def ask_until_answered(hook, release, about="r2"):
    hook.allows(about, release)
    while hook._process is not None:
        time.sleep(0.01)
        if hook.allows(about, release):
            return True
    return False


def test_without_a_hook_now_is_always_good(release):
    assert SwitchHook().allows("r2", release)


def test_an_executable_says_now_or_not_now_for_the_declared_conditions(release, tmp_path, monkeypatch):
    monkeypatch.setattr(switch_hook, "ASK_EVERY_S", 0.0)
    state = tmp_path / "state"
    state.write_text("driving")
    path = script(tmp_path / "hook", f'echo "$@" > {tmp_path}/asked; grep -q idle {state}\n')
    hook = SwitchHook(path)
    assert not ask_until_answered(hook, release)
    assert (tmp_path / "asked").read_text() == "idle charging\n"
    state.write_text("idle")
    assert ask_until_answered(hook, release)


def test_what_an_executable_prints_is_dropped(release, tmp_path, capfd):
    hook = SwitchHook(script(tmp_path / "hook", "echo spoken; echo shouted >&2\n"))
    assert ask_until_answered(hook, release)
    assert "s" not in "".join(capfd.readouterr())


def test_a_flag_file_says_now_by_being_there(release, tmp_path, monkeypatch):
    monkeypatch.setattr(switch_hook, "ASK_EVERY_S", 0.0)
    hook = SwitchHook(tmp_path / "flag")
    assert not hook.allows("r2", release)
    (tmp_path / "flag").touch()
    assert hook.allows("r2", release)


def test_an_executable_that_hangs_says_not_now_and_is_ended(release, tmp_path, monkeypatch):
    monkeypatch.setattr(switch_hook, "TIMEOUT_S", 0.1)
    hook = SwitchHook(script(tmp_path / "hook", "sleep 60\n"))
    assert not ask_until_answered(hook, release)


def test_after_the_deadline_the_switch_is_made_and_each_release_has_its_own(release, tmp_path):
    hook = SwitchHook(tmp_path / "flag", deadline_s=0.05)
    assert not hook.allows("r2", release)
    time.sleep(0.06)
    assert not hook.allows("r3", release)
    time.sleep(0.06)
    assert hook.allows("r3", release)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"switch_when": ["idle"]}', ["idle"]),
        (b"{}", []),
        (b"[]", []),
        (b"nonsense", []),
        (b'{"switch_when": "idle"}', []),
        (b'{"switch_when": ["--now", "", 3, "charging"]}', ["charging"]),
    ],
)
def test_what_is_no_condition_is_dropped(tmp_path, content, expected):
    (tmp_path / "release.json").write_bytes(content)
    assert conditions_of(tmp_path) == expected


def test_it_gets_no_credentials(release, tmp_path, monkeypatch):
    monkeypatch.setattr(switch_hook, "ASK_EVERY_S", 0.0)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("ROBOT", "seven")
    hook = SwitchHook(script(tmp_path / "hook", f"env > {tmp_path}/seen\nexit 0\n"))
    assert ask_until_answered(hook, release)
    seen = (tmp_path / "seen").read_text()
    assert "ROBOT=seven" in seen
    assert "AWS_" not in seen


def test_one_that_never_answers_is_told_once_a_minute(release, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(switch_hook, "ASK_EVERY_S", 0.0)
    monkeypatch.setattr(switch_hook, "TIMEOUT_S", 0.0)
    hook = SwitchHook(script(tmp_path / "hook", "sleep 20\n"))
    for _ in range(3):
        assert not ask_until_answered(hook, release)
    assert capsys.readouterr().err.count("hook does not answer") == 1
