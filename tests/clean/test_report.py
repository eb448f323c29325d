"""The quality report: one file, with pictures, that shows what was set aside and trusts no text in it."""

import re

from clean.episode_files import write_episode

from sim2edge.frames.report import spread


def test_the_report_needs_nothing_else_and_shows_the_frames(batch, clean):
    write_episode(batch, ticks=8)
    html = (clean(report_frames=6).folder / "report.html").read_text()
    assert html.count("data:image/jpeg;base64,") == 6
    assert html.count("<svg") == 4
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert "<script" not in html


def test_text_of_the_log_is_escaped(batch, clean):
    def spoil(tick, content):
        if tick == 1:
            content["labels"]["floor"] = "<script>alert(1)</script>"

    write_episode(batch, change=spoil)
    html = (clean().folder / "report.html").read_text()
    assert "&lt;script&gt;alert(1)" in html
    assert "<script" not in html


def test_a_batch_without_boxes_or_returns_still_has_a_report(batch, clean):
    def empty(tick, content):
        content["labels"]["boxes"] = []
        content["ranges"] = [float("inf")] * 36

    write_episode(batch, change=empty)
    done = clean()
    assert done.summary["boxes"] == 0
    assert done.summary["lidar"]["mean_m"] is None
    assert "frames kept of 5" in (done.folder / "report.html").read_text()


def test_samples_are_spread_evenly():
    assert spread(list(range(11)), 3) == [0, 5, 10]
    assert spread([1, 2], 5) == [1, 2]
    assert spread([1, 2], 1) == [1]
    assert spread([], 3) == []
