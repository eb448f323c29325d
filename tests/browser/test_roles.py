"""A viewer looks and changes nothing; who is not logged in sees nothing. Every route is tried."""

import json
import re
import subprocess

import httpx
import pytest
from airflow_pages import fill_in, run_page
from airflow_stack import AIRFLOW_PYTHON
from playwright.sync_api import expect

from sim2edge.stack.settings import CHECKOUT

OPEN = {"/api/v2/monitor/health", "/api/v2/version"}
"""Say that Airflow is there, and nothing of what is in it."""
LOGIN = ("/auth/", "/openapi.json", "/docs", "/redoc", "/static", "/login", "/logout", "/api/v2/auth/")
READ_BY_POST = re.compile(r"/(dagRuns|taskInstances)/list$")
PERSONAL = re.compile(r"/(un)?favorite$|^/ui/auth/token$")
"""A user's own list of favourites, and a token with the user's own rights."""
BULK = {"actions": [{"action": "delete", "entities": ["x"]}]}
BODIES = {
    "/api/v2/connections/enqueue-test": {"connection_id": "x", "conn_type": "http"},
    "/api/v2/dags/x/clearDagRuns": {"partition_key": "x"},
}
"""What a route has to be sent before it looks at who asks."""
METHODS = ("get", "post", "patch", "put", "delete")
LIST_ROUTES = """
import json, sys
sys.path.append(sys.argv[1])
from airflow.api_fastapi.core_api.routes.ui import ui_router
from sim2edge_airflow.plugin import Sim2EdgePlugin
found = [[method.lower(), route.path] for route in ui_router.routes for method in route.methods]
for app in Sim2EdgePlugin().fastapi_apps:
    for route in app["app"].routes:
        found += [[method.lower(), app["url_prefix"] + route.path] for method in getattr(route, "methods", None) or []]
print(json.dumps(found))
"""


@pytest.fixture(scope="session")
def routes(airflow) -> list[tuple[str, str]]:
    """Every route that Airflow and our pages have: method and address, with some value for each variable."""
    described = httpx.get(f"{airflow.url}/openapi.json", timeout=60).json()["paths"]
    public = [(method, path) for path, how in described.items() for method in how if method in METHODS]
    command = [str(AIRFLOW_PYTHON), "-c", LIST_ROUTES, str(CHECKOUT / "plugins")]
    environment = {"AIRFLOW_CONFIG": str(CHECKOUT / "airflow.cfg"), "AIRFLOW_HOME": str(airflow.home / "airflow")}
    ours = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    hidden = [(method, path) for method, path in json.loads(ours.splitlines()[-1]) if method in METHODS]
    found = {(method, re.sub(r"\{[^}]*\}", "x", path)) for method, path in [*public, *hidden]}
    return sorted(each for each in found if not each[1].startswith(LOGIN))


def test_a_visitor_is_sent_to_the_login_and_sees_nothing(visit, airflow, batch):
    page = visit(None)
    run = airflow.run("train_model", batch)
    for address in ("/", "/dags", run_page("train_model", run), "/sim2edge/artifacts", "/plugin/flywheel"):
        answer = page.goto(address)
        page.wait_for_load_state("networkidle")
        shown = page.locator("body").inner_text()
        assert answer.status == 401 or "/auth/login" in page.url, address
        assert batch not in shown
        assert "train_model" not in shown


def test_a_visitor_of_our_pages_logs_in_and_comes_to_what_he_asked_for(visit, airflow):
    page = visit(None)
    page.goto("/sim2edge/models")
    page.get_by_role("link").click()
    fill_in(page, "ann", airflow.password("ann"))
    page.wait_for_url(f"{airflow.url}/sim2edge/models")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()


def test_every_route_is_closed_to_visitors(airflow, routes):
    assert len(routes) > 100
    assert any(path.startswith("/sim2edge/") for _, path in routes)
    assert any(path.startswith("/ui/") for _, path in routes)
    with httpx.Client(base_url=airflow.url, timeout=60) as client:
        answers = {(method, path): client.request(method, path).status_code for method, path in routes}
    let_in = {route: code for route, code in answers.items() if code not in (401, 403) and route[1] not in OPEN}
    assert let_in == {}


def test_a_viewer_sees_the_runs_but_starts_none(visit, airflow, batch):
    page = visit("ann")
    page.goto(run_page("train_model", airflow.run("train_model", batch)))
    expect(page.get_by_text(batch).first).to_be_visible()
    page.goto("/dags/sim_capture")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").first
    form.locator("#element_batch").fill("of-a-viewer")
    form.get_by_role("button", name="Trigger", exact=True).click()
    expect(page.get_by_text("403 Forbidden")).to_be_visible()
    assert airflow.client.runs("sim_capture", "of-a-viewer") == []


def test_no_route_lets_a_viewer_change_anything(visit, airflow, routes):
    page = visit("ann")
    token = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}["_token"]
    changing = [(method, path) for method, path in routes if method != "get" and may_change(path)]
    assert ("post", "/api/v2/dags/x/dagRuns") in changing
    with httpx.Client(base_url=airflow.url, cookies={"_token": token}, timeout=60) as client:
        answers = {route: ask(client, *route) for route in changing}
        assert client.get("/api/v2/dags").status_code == 200, "the session is a good one"
    # The token names no file: there is nothing that could be refused.
    unknown = ("put", "/api/v2/parseDagFile/x")
    assert answers.pop(unknown) == 404
    assert {route: code for route, code in answers.items() if code != 403} == {}


def may_change(path):
    return not READ_BY_POST.search(path) and not PERSONAL.search(path)


def ask(client, method, path):
    """The status of an answer; a route that looks at the body first is given one that it takes."""
    answer = client.request(method, path, json=BODIES.get(path, {}))
    if answer.status_code == 422 and path not in BODIES:
        answer = client.request(method, path, json=BULK)
    return answer.status_code
