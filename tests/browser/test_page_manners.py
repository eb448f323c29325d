"""Our pages behave as good web pages: they refresh in place, keep filters, and show times in the reader's zone."""

import re

import pytest
from airflow_pages import DESK
from playwright.sync_api import expect

SOON_MS = 30_000
"""Longer than a page takes to refresh."""


@pytest.fixture
def grid(visit, batch):
    page = visit("admin", DESK)
    page.goto("/sim2edge/flywheel")
    return page


def refreshed(page):
    """Wait until the page has fetched itself again."""
    with page.expect_response(lambda answer: "/sim2edge/" in answer.url, timeout=SOON_MS) as answer:
        pass
    page.wait_for_timeout(300)
    return answer.value


def test_a_page_refreshes_in_place_and_keeps_what_its_reader_does(grid, airflow, batch):
    grid.evaluate("document.querySelector('main').prepend(Object.assign(document.createElement('p'), {id: 'stale'}))")
    row = grid.locator(f"tr[data-key='{batch}']")
    row.get_by_role("link", name=batch, exact=True).focus()
    row.evaluate("element => { element.mark = 'the same element' }")
    grid.get_by_label("batch name contains").fill("half a na")
    row.get_by_role("link", name=batch, exact=True).focus()
    refreshed(grid)
    expect(grid.locator("#stale")).to_have_count(0)
    assert row.evaluate("element => element.mark") == "the same element"
    assert row.evaluate("element => element.contains(document.activeElement)")
    expect(grid.get_by_label("batch name contains")).to_have_value("half a na")
    expect(grid.locator("#refresh-status")).to_be_empty()


def test_an_opened_part_stays_open_and_a_closed_one_closed(visit, airflow, batch):
    page = visit("admin")
    page.goto(
        f"/sim2edge/artifacts/{airflow.client.result('sim_capture', airflow.run('sim_capture', batch), 'capture')}"
    )
    page.get_by_text("Config", exact=True).click()
    refreshed(page)
    assert page.locator("details", has_text="Config").first.get_attribute("open") is not None


def test_refreshing_can_be_switched_off_for_good(grid):
    control = grid.get_by_label("refresh every 10 s")
    expect(control).to_be_checked()
    control.uncheck()
    asked = []
    grid.on("request", lambda request: asked.append(request.url))
    grid.wait_for_timeout(12_000)
    assert asked == []
    grid.reload()
    expect(control).not_to_be_checked()
    control.check()
    refreshed(grid)


def test_a_hidden_tab_rests(grid):
    hide = "value => { Object.defineProperty(document, 'hidden', {value, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')) }"
    grid.evaluate(hide, True)
    asked = []
    grid.on("request", lambda request: asked.append(request.url))
    grid.wait_for_timeout(12_000)
    assert asked == []
    grid.evaluate(hide, False)
    grid.wait_for_timeout(2_000)
    assert any("/sim2edge/flywheel" in url for url in asked), "it catches up at once"


def test_a_page_that_cannot_be_refreshed_says_so_and_goes_on_when_it_can(grid, batch):
    grid.route("**/sim2edge/flywheel", lambda route: route.fulfill(status=503, content_type="text/html", body="<main>"))
    expect(grid.get_by_role("status").filter(has_text="Not refreshed")).to_contain_text("503", timeout=SOON_MS)
    expect(grid.get_by_role("link", name=batch, exact=True)).to_be_visible()
    grid.unroute("**/sim2edge/flywheel")
    expect(grid.locator("#refresh-status")).to_be_empty(timeout=2 * SOON_MS)


@pytest.mark.parametrize("start", ["/sim2edge/flywheel", "/plugin/flywheel"], ids=["alone", "in Airflow"])
def test_a_filter_is_in_the_address_and_survives_a_reload_and_the_way_back(visit, batch, start):
    page = visit("admin")
    page.goto(start)
    shown = page.frame_locator("iframe") if start.startswith("/plugin") else page
    shown.get_by_label("batch name contains").fill(batch)
    shown.get_by_label("stage").select_option("train")
    shown.get_by_role("button", name="Show").click()
    page.wait_for_url(re.compile(rf"text={batch}&state=&stage=train"))
    page.reload()
    expect(shown.get_by_label("batch name contains")).to_have_value(batch)
    shown.get_by_role("link", name=batch, exact=True).click()
    page.wait_for_url(re.compile(f"/batches/{batch}$"))
    page.go_back()
    page.wait_for_url(re.compile(rf"text={batch}&state=&stage=train"))
    expect(shown.get_by_label("batch name contains")).to_have_value(batch)
    expect(shown.get_by_label("stage")).to_have_value("train")
    expect(shown.locator("tr[data-key]")).to_have_count(1)


def test_times_are_in_the_zone_that_was_chosen_in_airflow(visit, airflow, batch):
    page = visit("admin")
    page.goto(f"/sim2edge/batches/{batch}")
    time = page.locator("time[data-shows=moment]").first
    expect(time).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
    page.evaluate("localStorage.setItem('timezone', JSON.stringify('Asia/Tokyo'))")
    page.reload()
    expect(time).to_have_text(re.compile(r" (GMT\+9|JST)$"))
    expect(time).to_have_attribute("title", re.compile(" UTC$"))
    refreshed(page)
    expect(time).to_have_text(re.compile(r" (GMT\+9|JST)$"))
    page.evaluate("localStorage.setItem('timezone', '{not a zone')")
    page.reload()
    expect(time).to_have_text(re.compile(" UTC$"))


def test_the_keyboard_skips_to_the_content(grid):
    grid.keyboard.press("Tab")
    skip = grid.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    assert skip.bounding_box()["y"] >= 0, "it is seen once it has the focus"
    grid.keyboard.press("Enter")
    expect(grid.locator("main")).to_be_focused()
