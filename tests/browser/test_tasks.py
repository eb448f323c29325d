"""What a data engineer, a viewer and a release manager do in a day, by clicks from the Flywheel page: none needs six.

Each task begins on the Flywheel page, at two sizes of the window. A click, a choice of a list and a key that sends a
form count as one; typing does not. `docs/tasks.md` lists the tasks with the clicks that are measured here.

    make test-tasks
    SIM2EDGE_PICTURES=docs make test-tasks      # keep a picture of where each task ends
"""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_pages import DESK, PHONE, log_in
from airflow_stack import RunningAirflow, running_airflow
from benchmarks.made_up import fill
from playwright.sync_api import Locator, Page, expect

from sim2edge.bus import Bus

MAX_CLICKS = 5
SIZES = {"desk": DESK, "phone": PHONE}
USERS = "admin:admin,ann:viewer,ben:user,cyd:op"
PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
VIEWER, ENGINEER, MANAGER = "ann", "ben", "cyd"
ROLES = {VIEWER: "viewer", ENGINEER: "user", MANAGER: "op"}
WHY = "a task of a day"
TASKS: dict[str, "Task"] = {}


@dataclass(frozen=True)
class Task:
    """Something that a person wants: who, and how."""

    words: str
    user: str
    act: Callable[["Person"], None]


class Person:
    """Somebody at the Flywheel page, whose clicks are counted."""

    def __init__(self, page: Page, airflow: RunningAirflow, suffix: str) -> None:
        self.page, self.airflow, self.suffix, self.clicks = page, airflow, suffix, 0

    @property
    def broken(self) -> str:
        """The batch whose cleaning failed; each size has one, as somebody runs it again."""
        return {"desk": "farm-2", "phone": "farm-3"}[self.suffix]

    def click(self, what: str | Locator, role: Any = "link") -> None:
        """Click what has this name, or what is given; wait until the next page is there."""
        found = self.page.get_by_role(role, name=what, exact=True).first if isinstance(what, str) else what
        self.clicks += 1
        found.click()
        self.page.wait_for_load_state()

    def press(self, name: str) -> None:
        """Press a button."""
        self.click(name, "button")

    def choose(self, label: str, value: str) -> None:
        """Choose from a list."""
        self.clicks += 1
        self.page.get_by_label(label).first.select_option(value)

    def say(self, label: str, text: str) -> None:
        """Type; it costs no click."""
        self.page.get_by_label(label).first.fill(text)

    def sees(self, *words: str) -> None:
        """See words on the page."""
        for each in words:
            expect(self.page.locator("body")).to_contain_text(each)

    def cell(self, batch: str, stage: str) -> Locator:
        """The cell of a batch and a stage in the grid."""
        return self.page.locator(f'tr[data-key="{batch}"] [data-stage="{stage}"]')

    def open_batch(self, batch: str) -> None:
        """Open the page of a batch from its row."""
        self.click(self.page.locator(f'tr[data-key="{batch}"] th').get_by_role("link", name=batch, exact=True))

    def confirm(self, button: str) -> None:
        """Give a reason and confirm; the run that does it is shown."""
        self.say("Reason", WHY)
        self.press(button)


def task(words: str, user: str) -> Callable[[Callable[[Person], None]], Callable[[Person], None]]:
    """Add a function to the tasks."""

    def add(act: Callable[[Person], None]) -> Callable[[Person], None]:
        TASKS[act.__name__] = Task(words, user, act)
        return act

    return add


# A viewer looks.


@task("see how far last night's batches came", VIEWER)
def last_night(person):
    person.sees("night-0011", "farm-1")


@task("read why a stage failed", VIEWER)
def why_failed(person):
    expect(person.cell(person.broken, "clean")).to_contain_text("failed")
    assert "clean.width: input should be greater than 0" in (
        person.cell(person.broken, "clean").get_attribute("title") or ""
    )


@task("open the log of a failed stage at its error", VIEWER)
def log_at_error(person):
    person.click(person.cell(person.broken, "clean"))
    person.sees("clean.width: input should be greater than 0")


@task("read why a model was refused, rule by rule", VIEWER)
def why_refused(person):
    person.click(person.page.locator(".cell.refused").first)
    person.sees("Refused:", "not passed")


@task("see the pictures of a batch", VIEWER)
def pictures(person):
    person.open_batch("night-0011")
    expect(person.page.get_by_role("img").first).to_be_visible()


@task("see the quality report of a batch's frames", VIEWER)
def quality(person):
    person.open_batch("night-0011")
    with person.page.expect_popup() as popup:
        person.click("Quality report →")
    expect(popup.value.locator("body")).to_contain_text("Quality of night-0011")


@task("trace a device back to the batches it learned from", VIEWER)
def device_to_seeds(person):
    person.click("Devices")
    person.click("pi-1")
    person.click("lineage back to the seeds →")
    person.sees("night-00")


@task("trace a batch to the releases that have it", VIEWER)
def batch_to_devices(person):
    person.open_batch("night-0003")
    person.click("lineage graph →")
    person.sees("rollout")


@task("compare a model with the champion", VIEWER)
def compare(person):
    person.click("Models")
    person.press("Compare left and right")
    person.sees("difference")


@task("see the trend of mAP, latency, duration and cost", VIEWER)
def trends(person):
    person.click("Trends")
    person.sees("mAP", "Duration")


@task("see which model was champion when", VIEWER)
def champions(person):
    person.click("Timeline")
    person.sees("Champions and releases", "until")


@task("see which releases a ring had before", VIEWER)
def former_releases(person):
    person.click("Devices")
    person.click(person.page.get_by_text("Former releases").first)
    person.sees("the timeline")


@task("see what a batch took: time, CPU seconds, bytes", VIEWER)
def cost_of_a_batch(person):
    person.open_batch("night-0011")
    person.sees("What it took", "CPU time")


@task("see what a release took, with all that it was made from", VIEWER)
def cost_of_a_release(person):
    person.click(person.page.locator('.cell.committed[data-stage="export"]').first)
    person.sees("with all that it was made from")


@task("see what takes the space in the bucket", VIEWER)
def storage(person):
    person.click("Storage")
    person.sees("episodes", "share")


@task("find the batches that failed, and pass the address on", VIEWER)
def find_failed(person):
    person.choose("state", "failed")
    person.press("Show")
    person.sees(person.broken)
    assert "state=failed" in person.page.url


@task("see the settings that a batch was made with", VIEWER)
def settings(person):
    person.click(person.cell("night-0011", "capture"))
    person.sees("Config", "width")


@task("open the manifest of an artifact", VIEWER)
def manifest(person):
    person.click(person.cell("night-0011", "clean"))
    with person.page.expect_popup() as popup:
        person.click("manifest")
    expect(popup.value.locator("body")).to_contain_text('"kind"')


@task("find out which devices are unhealthy", VIEWER)
def unhealthy(person):
    person.click("Devices")
    person.sees("unhealthy", "pi-1")


@task("read how the gate judges", VIEWER)
def documentation(person):
    person.click("Documentation")
    person.click(person.page.locator('main a[href$="/docs/gate"]').first)
    person.sees("champion")


@task("open the run of a batch in Airflow", VIEWER)
def run_in_airflow(person):
    person.open_batch("farm-1")
    person.click("sim_capture")
    expect(person.page).to_have_url(re.compile("/dags/sim_capture/runs/"))


@task("learn that one may not start anything, and who may", VIEWER)
def may_not(person):
    expect(person.page.get_by_role("link", name="Capture a batch")).to_have_count(0)
    assert "permission" in (person.page.locator(".act.off").first.get_attribute("title") or "")


# A data engineer works with batches.


@task("capture a new batch", ENGINEER)
def capture(person):
    person.click("Capture a batch")
    person.say("Batch", f"day-{person.suffix}")
    person.press("Continue")
    person.confirm("Capture")
    expect(person.page).to_have_url(re.compile("/runs/"))
    assert person.airflow.client.runs("sim_capture", f"day-{person.suffix}")


@task("capture a batch again with other settings", ENGINEER)
def capture_again(person):
    person.open_batch("farm-1")
    person.click("Capture again")
    person.confirm("Capture")
    expect(person.page).to_have_url(re.compile("/runs/"))


@task("run a failed stage again", ENGINEER)
def run_again(person):
    person.open_batch(person.broken)
    person.click("Run data_cleaning again")
    person.confirm("Run again")
    expect(person.page).to_have_url(re.compile("/runs/"))


@task("request a training", ENGINEER)
def request_training(person):
    person.click("Models")
    person.click("Request a training")
    person.confirm("Request")
    expect(person.page).to_have_url(re.compile("/runs/"))


@task("withdraw a batch, after reading what has it", ENGINEER)
def withdraw(person):
    batch = "night-0010" if person.suffix == "desk" else "night-0011"
    person.open_batch(batch)
    person.click("Withdraw")
    person.sees("Model", "Rollout")
    person.confirm("Withdraw")
    expect(person.page).to_have_url(re.compile("/runs/"))


# A release manager decides about the fleet.


@task("hold the system for maintenance", MANAGER)
def hold(person):
    person.click("Hold the system")
    person.confirm("Hold")
    person.sees("on hold", WHY)


@task("resume it", MANAGER)
def resume(person):
    person.click("Resume")
    person.confirm("Resume")
    expect(person.page.get_by_role("link", name="Hold the system")).to_be_visible()


@task("give stable what proved itself on canary", MANAGER)
def promote(person):
    person.click("Devices")
    person.click(person.page.get_by_role("link", name=re.compile("Give it to stable")).first)
    person.sees("stable")
    person.confirm("Move the ring")
    expect(person.page).to_have_url(re.compile("/runs/"))


@task("roll a ring back to its former release", MANAGER)
def roll_back(person):
    person.click("Devices")
    person.click(person.page.get_by_role("link", name=re.compile("^Back to ")).first)
    person.sees("pi-1")
    person.confirm("Move the ring")
    expect(person.page).to_have_url(re.compile("/runs/"))


@task("add a device", MANAGER)
def add_device(person):
    person.click("Devices")
    person.click("Add a device")
    person.say("Device", "pi-77")
    person.say("Ring", "canary")
    person.press("Continue")
    person.sees("sim2edge device enrol --id pi-77")


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    """A stack with a batch that went through, two whose cleaning failed, and a history of twelve, with devices."""
    own = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS}
    with running_airflow(tmp_path_factory.mktemp("tasks"), own) as airflow:
        airflow.trigger("sim_capture", "farm-1")
        airflow.ended("release_model", airflow.run("release_model", "farm-1"), "push")
        airflow.behave(clean="bad input")
        for batch in ("farm-2", "farm-3"):
            airflow.trigger("sim_capture", batch)
            airflow.ended("data_cleaning", airflow.run("data_cleaning", batch), "clean")
        airflow.behave()
        fill(Bus.from_environment(), batches=12, trainings=6, devices=3, first=datetime.now(UTC) - timedelta(hours=20))
        airflow.page("flywheel", "night-0011", "farm-3")
        airflow.page("devices", "pi-1")
        yield airflow


@pytest.fixture(scope="module")
def open_page(chromium, airflow) -> Iterator[Callable[[str, str], Page]]:
    """The Flywheel page of a user in a window of a size; who has logged in stays so."""
    contexts: dict[tuple[str, str], Any] = {}

    def open_as(user: str, size: str) -> Page:
        if (user, size) not in contexts:
            width, height = SIZES[size]
            context = chromium.new_context(viewport={"width": width, "height": height}, base_url=airflow.url)
            context.set_default_timeout(30_000)
            expect.set_options(timeout=30_000)
            contexts[user, size] = context
            page = context.new_page()
            log_in(page, user, airflow.password(user))
            page.wait_for_url(f"{airflow.url}/")
            page.close()
        page = contexts[user, size].new_page()
        page.goto("/sim2edge/flywheel")
        return page

    yield open_as
    for context in contexts.values():
        context.close()


def listed() -> dict[str, tuple[str, int]]:
    """What the documentation says: task to who does it, and its clicks."""
    rows = (line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| "))
    return {row[0]: (row[1], int(row[2])) for row in rows if len(row) == 3 and row[2].isdigit()}


def in_order() -> list[tuple[str, str]]:
    """Size and task; withdrawals come last, as no ring can get a release that has a withdrawn batch."""
    return sorted(itertools.product(SIZES, TASKS), key=lambda each: each[1] == withdraw.__name__)


@pytest.mark.parametrize(("size", "name"), in_order())
def test_a_task_takes_few_clicks(open_page, airflow, tmp_path, size, name):
    wanted = TASKS[name]
    page = open_page(wanted.user, size)
    person = Person(page, airflow, size)
    wanted.act(person)
    picture = Path(os.environ.get("SIM2EDGE_PICTURES") or tmp_path) / f"task-{name}-{size}.png"
    page.screenshot(path=picture)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth") if "/sim2edge/" in page.url else 0
    page.close()
    assert wide <= 0, "the page is wider than the window"
    assert person.clicks <= MAX_CLICKS
    assert listed().get(wanted.words) == (ROLES[wanted.user], person.clicks), "docs/tasks.md should say so"


def test_the_tasks_are_those_of_the_documentation():
    assert set(listed()) == {each.words for each in TASKS.values()}
    assert len(TASKS) >= 30
