"""Chromium against a running stack with stand-in stages: an admin, a viewer `ann`, and visitors.

ci/browser.sh && make test-browser
SIM2EDGE_PICTURES=docs make test-browser      # keep the pictures that the documentation shows
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from airflow_pages import DESK, log_in
from airflow_stack import RunningAirflow, running_airflow
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
PATIENCE_MS = 45_000
USERS = "admin:admin,ann:viewer"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that needs a browser is marked, and has time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def airflow(tmp_path_factory) -> Iterator[RunningAirflow]:
    """The stack."""
    own = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS}
    with running_airflow(tmp_path_factory.mktemp("browser"), own) as airflow:
        yield airflow


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, with nothing that an earlier one left behind."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"there is no {CHROMIUM}: run ci/browser.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, airflow) -> Iterator[Callable[..., Page]]:
    """Open a page as somebody: `visit("admin")`, `visit(None)` without a login, `visit("ann", PHONE)`."""
    opened = []

    def open_page(user: str | None, size: tuple[int, int] = DESK) -> Page:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, base_url=airflow.url)
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        opened.append(context)
        page = context.new_page()
        if user:
            log_in(page, user, airflow.password(user))
            page.wait_for_url(f"{airflow.url}/")
        return page

    yield open_page
    for context in opened:
        context.close()


@pytest.fixture
def keep(tmp_path) -> Callable[[Page, str], None]:
    """Keep a picture of what a person sees, as `ui-<name>.png`."""
    folder = Path(os.environ.get("SIM2EDGE_PICTURES") or tmp_path)

    def take(page: Page, name: str) -> None:
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)  # for what fades in
        page.screenshot(path=folder / f"ui-{name}.png")

    return take


@pytest.fixture(scope="session")
def batch(airflow) -> str:
    """A batch that has gone through all DAGs."""
    name = "farm-1"
    airflow.trigger("sim_capture", name)
    run = airflow.run("release_model", name)
    assert airflow.ended("release_model", run, "push")["state"] == "success"
    return name
