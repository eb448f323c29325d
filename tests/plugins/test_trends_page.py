"""The page of trends: every figure over time, from the catalog alone."""

import re
from datetime import UTC, datetime

import pytest
from benchmarks.made_up import commit, fill
from obstore.store import MemoryStore
from page_visitor import pages_of

from sim2edge.bus import Bus
from sim2edge_airflow.pages.bus_view import BusView


def read_marks(page):
    """How many marks a page has."""
    return len(re.findall(r'<path class="mark s\d(?: hollow)?" transform', page))


def test_it_plots_quality_latency_and_what_everything_took(visitor, bucket):
    page = visitor.get("/sim2edge/trends").text
    for title in ("Quality on held-out episodes", "Error of the distance", "Latency of releases", "Successful episodes",
                  "Duration", "CPU time", "Size of the payload"):  # fmt: skip
        assert f"<figcaption>{title}" in page, title
    release = next(iter(bucket.artifacts("release")))
    assert f'href="/sim2edge/artifacts/{release}"' in page
    assert "latency from 0.576 ms to 0.576 ms" in page
    assert '<a href="/sim2edge/trends" aria-current="page">Trends</a>' in visitor.get("/sim2edge/trends").text


def test_every_value_is_in_a_table_too(visitor, bucket):
    page = visitor.get("/sim2edge/trends?kind=release").text
    rows = re.findall(r"<tr><td class=\"quiet nowrap\">.*?</tr>", page)
    assert len(rows) == read_marks(page) > 0
    assert '<td class="n">0.576 ms</td>' in page


def test_one_kind_and_a_span_narrow_it(visitor):
    whole = read_marks(visitor.get("/sim2edge/trends").text)
    models = visitor.get("/sim2edge/trends?kind=model").text
    assert 0 < read_marks(models) < whole
    assert "Latency of releases" not in models
    assert read_marks(visitor.get("/sim2edge/trends?since=2026-01-01&until=2026-01-01").text) == whole
    assert "No artifact in this span" in visitor.get("/sim2edge/trends?since=2026-01-02").text
    assert "No artifact in this span" in visitor.get("/sim2edge/trends?until=2025-12-31").text
    assert read_marks(visitor.get("/sim2edge/trends?until=9999-12-31").text) == whole


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=yesterday", "since"),
        ("since=2026-02-30", "since"),
        ("until=<script>1", "until"),
        ("until=" + "9" * 5000, "until"),
        ("since=2026-02-01&until=2026-01-01", "until"),
        ("kind=<b>", "kind"),
        ("kind=shard", "kind"),
    ],
)
def test_a_wrong_parameter_is_one_clear_line(visitor, query, field):
    answer = visitor.get(f"/sim2edge/trends?{query}")
    assert answer.status_code == 400
    assert f"{field}:" in answer.text
    assert "<script>1" not in answer.text
    assert "Traceback" not in answer.text


def test_however_many_batches_the_page_stays_bounded(api, visitor):
    bus = Bus(MemoryStore())
    fill(bus, batches=400, trainings=60)
    pages_of(api).state.view = BusView(lambda: bus)
    page = visitor.get("/sim2edge/trends").text
    assert read_marks(page) <= 3 * 7 * 20 + 6 * 60
    assert "median of 20" in page
    assert len(page) < 500_000


def test_figures_that_a_stage_made_up_are_left_out(api, visitor):
    bus = Bus(MemoryStore())
    pages_of(api).state.view = BusView(lambda: bus)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    odd = ({"map_50": "<script>"}, {"map_50": None}, {"map_50": True}, {"map_50": 1e300}, {"map_50": [1]})
    for number, summary in enumerate(odd):
        commit(bus, "validate", "verdict", f"b-{number}", {}, summary, now, 1.0, {"verdict.json": b"{}"})
    commit(bus, "validate", "verdict", "b-9", {}, {"map_50": -0.5}, now, 0.0, {}, refused="<script>bad")
    answer = visitor.get("/sim2edge/trends")
    assert answer.status_code == 200
    assert "mAP@50 from -0.5 to -0.5" in answer.text
    assert 'class="mark s0 hollow"' in answer.text
    assert "<script>bad" not in answer.text


def test_an_empty_bucket_says_how_to_begin(api, visitor):
    pages_of(api).state.view = BusView(lambda: Bus(MemoryStore()))
    assert "sim_capture" in visitor.get("/sim2edge/trends").text
