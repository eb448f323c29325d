"""A walk over the pages of the flywheel, at a desk and on a phone: grid, batch, model, device, lineage both ways."""

import json
import time
from collections.abc import Callable

import pytest
from airflow_pages import DESK, PHONE, run_page
from playwright.sync_api import Page, expect

from sim2edge.bus import Bus
from sim2edge.stages import chain

CHAIN = [stage.name for stage in chain()]

DEVICE = "pi-7"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def release(airflow, batch) -> str:
    """The release that a device says it runs."""
    reference = airflow.client.result("release_model", airflow.run("release_model", batch), "export")
    said = {"device": DEVICE, "ring": "canary", "release": reference.rpartition("/")[2], "state": "running"}
    status = said | {"inferences": 20, "errors": 0, "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    Bus.from_environment().put(f"fleet/{DEVICE}/status.json", json.dumps(status).encode())
    return reference


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def walk(request, visit, keep, release) -> "Walk":
    return Walk(visit("admin", request.param), f"{request.param[0]}", keep)


class Walk:
    """A person who goes from page to page, and sees each without scrolling sideways."""

    def __init__(self, page: Page, size: str, keep: Callable[[Page, str], None]) -> None:
        self.page, self.size, self.keep = page, size, keep

    def open(self, address: str, shows: str) -> None:
        """Open a page; what it knows may be some seconds old."""
        deadline = time.monotonic() + 60
        self.page.goto(f"/sim2edge{address}")
        while shows not in self.page.locator("body").inner_text():
            assert time.monotonic() < deadline, f"{address} does not show '{shows}'"
            time.sleep(1)
            self.page.reload()

    def look(self, name: str) -> None:
        self.keep(self.page, f"{name}-{self.size}")
        assert self.page.evaluate(OVERFLOW) <= 0, f"{name} is wider than {self.size} pixels"

    def follow(self, box: str) -> None:
        """Click a box of the lineage."""
        self.page.locator("a.box", has=self.page.locator("title", has_text=box)).first.click()
        self.page.wait_for_load_state()


def test_the_flywheel_is_in_the_navigation_of_airflow(visit, batch, keep):
    page = visit("admin")
    page.get_by_role("link", name="Flywheel").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Flywheel")).to_be_visible()
    keep(page, "flywheel-in-airflow")


def test_the_grid_leads_to_a_batch(walk, batch):
    walk.open("/flywheel", batch)
    row = walk.page.locator("tr", has=walk.page.get_by_role("link", name=batch, exact=True))
    expect(row.locator("a.cell")).to_have_count(len(CHAIN))
    walk.look("flywheel")
    row.get_by_role("link", name=batch, exact=True).click()
    expect(walk.page.get_by_role("heading", name=batch)).to_be_visible()
    expect(walk.page.get_by_role("link", name="train_model").first).to_be_visible()
    walk.look("batch")


def test_that_nothing_matches_is_said_across_the_whole_table(walk):
    walk.open("/flywheel?text=no-such-batch", "No batch matches.")
    walk.look("flywheel-without-rows")
    said, table = walk.page.locator("td[colspan]").bounding_box(), walk.page.locator("table.grid").bounding_box()
    assert said["width"] > 0.95 * table["width"]


def test_a_model_leads_to_its_verdict(walk, airflow, batch):
    model = airflow.client.result("train_model", airflow.run("train_model", batch), "train")
    walk.open("/models", batch)
    walk.look("models")
    walk.page.locator(f"a[href$='/artifacts/{model}']").first.click()
    expect(walk.page.get_by_role("heading", name=model)).to_be_visible()
    expect(walk.page.get_by_role("heading", name="Verdict")).to_be_visible()
    walk.look("model")


def test_a_device_leads_back_to_the_seeds_and_a_batch_on_to_the_device(walk, airflow, batch, release):
    episodes = airflow.client.result("sim_capture", airflow.run("sim_capture", batch), "capture")
    walk.open("/devices", DEVICE)
    walk.look("devices")
    walk.page.get_by_role("link", name=DEVICE).click()
    expect(walk.page.get_by_role("link", name=release)).to_be_visible()
    walk.look("device")
    walk.page.get_by_role("link", name="lineage back to the seeds").click()
    walk.look("lineage-of-device")
    walk.follow(episodes)
    walk.open(f"/lineage/{episodes}", "everything downstream")
    expect(walk.page.locator("a.box title", has_text=DEVICE)).to_have_count(1)
    walk.look("lineage-of-batch")


def test_a_run_has_a_tab_with_what_its_tasks_made(visit, airflow, batch, keep):
    page = visit("admin")
    run = airflow.run("train_model", batch)
    page.goto(f"{run_page('train_model', run)}/plugin/artifacts")
    frame = page.frame_locator("iframe")
    for task in ("augment", "train", "validate"):
        expect(frame.get_by_text(task).first).to_be_visible()
    keep(page, "run-artifacts")
