"""Ways through Airflow's pages that several tests go."""

import urllib.parse

from playwright.sync_api import Page

DESK = (1280, 800)
PHONE = (390, 844)
"""Sizes of a window, pixels."""


def log_in(page: Page, user: str, password: str) -> None:
    page.goto("/")
    fill_in(page, user, password)


def fill_in(page: Page, user: str, password: str) -> None:
    """Fill in the form of the login."""
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def run_page(dag: str, run: str) -> str:
    """The address of a run."""
    return f"/dags/{dag}/runs/{urllib.parse.quote(run, safe='')}"
