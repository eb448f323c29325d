"""`sim2edge webots`: what it says, and its exit codes."""

import pytest

from sim2edge.cli import main

SMALL = ["camera.width=96", "camera.height=72"]


@pytest.mark.timeout(120)
def test_selftest_says_what_agrees(fake_webots, capsys, tmp_path):
    fake_webots()
    assert main(["webots", "selftest", "--keep", str(tmp_path / "kept"), *SMALL]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Webots R2025a: ")
    assert lines[1].startswith("ok      episode selftest.0000: 20 frames")
    assert all(line.startswith("ok ") for line in lines[1:-2])
    assert lines[-1] == f"{len(lines) - 3} of {len(lines) - 3} checks passed"
    assert (tmp_path / "kept" / "worlds" / "episode.wbt").is_file()


def test_selftest_without_webots_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WEBOTS_HOME", raising=False)
    assert main(["webots", "selftest"]) == 2
    assert "webots: not on PATH" in capsys.readouterr().err


def test_a_world_is_written_to_look_at(tmp_path, capsys):
    assert main(["webots", "world", "--output", str(tmp_path / "room"), "--batch", "b", "--index", "3", *SMALL]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "room" / "worlds" / "episode.wbt")
    assert main(["webots", "world", "--output", str(tmp_path / "room")]) == 2
