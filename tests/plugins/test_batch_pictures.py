"""A batch's pictures: thumbnails in the grid and on its page, and charts of its labels."""

from datetime import UTC, datetime

import pytest
from benchmarks.made_up import commit

from sim2edge.erasure import erase, find_artifact
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record

NOW = datetime.now(UTC)
JPEG = b"\xff\xd8\xff\xe0 a picture"
SUMMARY = {"episodes": 2, "successes": 2, "success_rate": 1.0}


def capture(bucket, batch, files, **fields):
    return commit(bucket, "capture", "episodes", batch, {}, SUMMARY, NOW, 5.0, files, **fields)


@pytest.fixture
def tiles(bucket):
    """A batch with three tiles."""
    files = {f"contact_sheet.{number:02d}.jpg": JPEG + bytes([number]) for number in (0, 7, 9)}
    return capture(bucket, "lab-1", {**files, "contact_sheet.png": b"\x89PNG"})


def test_the_batch_shows_each_tile_lazily_and_the_sheet(visitor, tiles):
    page = visitor.get("/sim2edge/batches/lab-1").text
    assert page.count("<img") == page.count('loading="lazy"') == 3
    for number in (0, 7, 9):
        assert f'src="/sim2edge/thumbnails/{tiles.reference}/{number}"' in page
    assert f'href="/sim2edge/artifacts/{tiles.reference}/contact_sheet.png"' in page


def test_a_thumbnail_is_the_nearest_tile_and_browsers_keep_it(visitor, tiles):
    answer = visitor.get(f"/sim2edge/thumbnails/{tiles.reference}/8")
    assert answer.content == JPEG + bytes([7])
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "private, max-age=86400, immutable"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_the_sheet_stands_in_for_missing_tiles(visitor, bucket):
    episodes = next(iter(bucket.artifacts("episodes", "night-0003")))
    assert visitor.get(f"/sim2edge/thumbnails/{episodes}/12").content.startswith(b"\x89PNG")


def test_a_batch_in_shards_shows_the_tiles_of_its_shards(visitor, bucket):
    parts = [
        capture(bucket, "lab-2", {f"contact_sheet.{number:02d}.jpg": JPEG}, shard=f"{number + 1}/2")
        for number in range(2)
    ]
    whole = capture(bucket, "lab-2", {}, parts=[part.reference for part in parts])
    page = visitor.get("/sim2edge/batches/lab-2").text
    for number, part in enumerate(parts):
        assert f'src="/sim2edge/thumbnails/{part.reference}/{number}"' in page
    assert visitor.get(f"/sim2edge/thumbnails/{whole.reference}/12").content == JPEG


@pytest.mark.parametrize(("number", "status"), [("100", 400), ("-1", 400), ("one", 400), ("..%2f", 404), ("1;x", 400)])
def test_a_thumbnail_of_a_wrong_number_is_refused_in_one_line(visitor, tiles, number, status):
    answer = visitor.get(f"/sim2edge/thumbnails/{tiles.reference}/{number}")
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_no_picture_and_a_large_one_are_no_thumbnail(visitor, bucket):
    empty, large = capture(bucket, "lab-3", {}), capture(bucket, "lab-4", {"contact_sheet.png": bytes(300_000)})
    for manifest in (empty, large):
        assert visitor.get(f"/sim2edge/thumbnails/{manifest.reference}/0").status_code == 404
    assert "<img" not in visitor.get("/sim2edge/batches/lab-3").text


def test_an_erased_batch_shows_none(visitor, bucket, tiles):
    assert visitor.get(f"/sim2edge/thumbnails/{tiles.reference}/0").status_code == 200
    event = Event(action="withdraw", reason="a wish", by="ann", at=NOW)
    record(bucket, "lab-1", event)
    erase(bucket, find_artifact(bucket, tiles.reference), "lab-1", event)
    fresh(visitor, bucket)
    assert visitor.get(f"/sim2edge/thumbnails/{tiles.reference}/0").status_code == 404
    assert "<img" not in visitor.get("/sim2edge/batches/lab-1").text
    assert f"thumbnails/{tiles.reference}" not in visitor.get("/sim2edge/flywheel").text


def fresh(visitor, bucket):
    """Let the pages read the bucket again."""
    from page_visitor import pages_of

    from sim2edge_airflow.pages.bus_view import BusView

    pages_of(visitor.app).state.view = BusView(lambda: bucket)


def test_the_grid_has_a_thumbnail_in_each_row_of_a_captured_batch(visitor, bucket):
    page = visitor.get("/sim2edge/flywheel").text
    assert page.count('class="thumb" alt="" loading="lazy"') == 6
    commit(bucket, "ingest", "episodes", "farm-1", {}, SUMMARY, NOW, 5.0, {})
    fresh(visitor, bucket)
    page = visitor.get("/sim2edge/flywheel").text
    assert "farm-1" in page
    assert page.count('class="thumb"') == 6, "ingest draws no contact sheet"


def test_labels_are_charts_with_their_numbers_in_a_table(visitor):
    page = visitor.get("/sim2edge/batches/night-0003").text
    for title in ("Obstacles by distance", "Obstacles by class", "Frames by floor", "Quarantined by reason"):
        assert f"<figcaption>{title}" in page
    assert 'aria-label="Obstacles by class: 747 in 3 bars, most of them, 512, chair"' in page
    assert '<tr><th scope="row">1.5 to 2 m</th><td class="n">210</td></tr>' in page
    assert "bin_m" not in page


def test_labels_that_a_stage_made_up_are_text_and_break_nothing(visitor, bucket):
    hostile = {
        "class_counts": {"<script>alert(1)</script>": 3, "b": "x", "c": None},
        "floor_counts": [1, 2],
        "distance_histogram": {"bin_m": "wide", "counts": {"a": 1}},
        "quarantine_counts": "none",
    }
    commit(bucket, "clean", "frames", "lab-5", {"episodes": []}, hostile, NOW, 5.0, {})
    answer = visitor.get("/sim2edge/batches/lab-5")
    assert answer.status_code == 200
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "<script>alert" not in answer.text
