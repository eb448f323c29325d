"""Notes of artifacts on the pages: on its own page, among the models, in the grid."""

from datetime import UTC, datetime

import pytest
from page_visitor import pages_of

from sim2edge.notes import Change, apply, edit, note_key
from sim2edge_airflow.pages.bus_view import BusView

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def models(bucket):
    """The models of the bucket, the oldest first."""
    return [next(iter(bucket.artifacts("model", batch))) for batch in ("night-0001", "night-0003", "night-0005")]


@pytest.fixture
def say(visitor, bucket):
    """Returns a function that changes a note, and lets the pages know."""

    def change(reference, **what):
        edit(bucket, reference, Change(**what), "<i>ann</i>", NOW)
        view = pages_of(visitor.app).state.view = BusView(lambda: bucket)
        view._notes.look(wait_s=5)

    return change


def test_the_page_of_an_artifact_shows_its_note_as_text(visitor, models, say):
    say(models[0], name="<b>best</b>", star=True, text="first\n<script>alert(1)</script>")
    page = visitor.get(f"/sim2edge/artifacts/{models[0]}").text
    assert "★ &lt;b&gt;best&lt;/b&gt;" in page
    assert "first\n&lt;script&gt;alert(1)" in page
    assert "&lt;i&gt;ann&lt;/i&gt;, <time" in page
    assert ">2026-05-01 12:00:00 UTC</time>" in page
    assert "<script>alert" not in page
    assert 'class="card note"' not in visitor.get(f"/sim2edge/artifacts/{models[1]}").text


def test_starred_models_come_first_and_archived_ones_when_they_are_asked_for(visitor, models, say):
    say(models[0], star=True)
    say(models[1], archived=True)
    page = visitor.get("/sim2edge/models").text
    assert page.index(models[0]) < page.index(models[2])
    assert models[1] not in page.replace(f"/artifacts/{models[1]}", "/artifacts/") or f'value="{models[1]}"' not in page
    assert 'href="/sim2edge/models?archived=shown">1 archived' in page
    whole = visitor.get("/sim2edge/models?archived=shown").text
    assert f'value="{models[1]}"' in whole
    assert "hide archived" in whole
    assert visitor.get("/sim2edge/models?archived=x").status_code == 400


def test_the_grid_marks_the_row_of_a_starred_artifact(visitor, models, say):
    say(models[2], name="for <the> fair", star=True)
    page = visitor.get("/sim2edge/flywheel").text
    assert f'href="/sim2edge/artifacts/{models[2]}" title="{models[2]}">★ for &lt;the&gt; fair</a>' in page


def test_a_broken_note_hides_no_other_and_breaks_no_page(visitor, bucket, models, say):
    bucket.put(note_key(models[1]), b"\xff")
    say(models[0], name="fine")
    page = visitor.get("/sim2edge/models").text
    assert "fine" in page
    assert 'role="alert"' not in page


def test_a_note_is_read_again_only_after_it_changed(bucket, models, monkeypatch):
    edit(bucket, models[0], Change(star=True), "ann", NOW)
    view = BusView(lambda: bucket)
    assert view._read_notes()[models[0]].star
    from sim2edge_airflow.pages import bus_view

    reads = []
    read = bus_view.read_note
    monkeypatch.setattr(bus_view, "read_note", lambda bus, name: reads.append(name) or read(bus, name))
    assert view._read_notes()[models[0]].star
    assert reads == []
    edit(bucket, models[0], Change(star=False), "ann", NOW)
    assert models[0] not in view._read_notes()
    assert reads == [models[0]]


def test_what_this_server_wrote_is_shown_at_once(bucket, models):
    view = BusView(lambda: bucket)
    view.remember(apply(None, models[0], Change(star=True), "ann", NOW))
    assert view.notes()[models[0]].star
