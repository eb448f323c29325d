"""A person acts from the pages, inside Airflow and on a phone: with a reason, once, and not as a viewer."""

import json
import time

import pytest
from airflow_pages import DESK, PHONE
from playwright.sync_api import Page, expect

from sim2edge.bus import Bus

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WHY = "labels are shifted"


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled sideways."""
    return int(page.evaluate(OVERFLOW)) <= 0


@pytest.fixture(scope="module")
def fleet(airflow, batch) -> str:
    """Two rings that offer a release, and a device in one of them; the release before it is in the catalog, too."""
    bus = Bus.from_environment()
    run = airflow.run("release_model", batch)
    release = str(airflow.client.result("release_model", run, "export"))
    bus.move_ref("refs/rings/canary", str(airflow.client.result("release_model", run, "push")))
    said = {"device": "pi-9", "ring": "canary", "release": release.rpartition("/")[2], "state": "running"}
    status = said | {"inferences": 20, "errors": 0, "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    bus.put("fleet/pi-9/status.json", json.dumps(status).encode())
    airflow.page("devices", "pi-9")
    return release


def test_a_batch_is_captured_in_airflows_frame_once_however_often_it_is_sent(visit, airflow, batch, keep):
    page = visit("admin")
    page.goto("/plugin/flywheel")
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Capture a batch").click()
    expect(frame.get_by_role("heading", name="Capture a batch")).to_be_visible()
    frame.get_by_label("Batch").fill("by-hand-1")
    frame.get_by_label("Preset").select_option("tiny")
    keep(page, "act-fields")
    frame.get_by_role("button", name="Continue").click()
    expect(frame.get_by_text("simulates the drives of batch by-hand-1")).to_be_visible()
    keep(page, "act-capture")
    frame.get_by_role("button", name="Capture").click()  # without a reason: the browser asks for it
    expect(frame.get_by_role("button", name="Capture")).to_be_visible()
    frame.get_by_label("Reason").fill(WHY)
    frame.get_by_role("button", name="Capture").dblclick()
    expect(frame.get_by_text(f"admin: {WHY}")).to_be_visible()
    keep(page, "act-run")
    page.go_back()
    page.wait_for_load_state("networkidle")
    assert len(airflow.client.runs("sim_capture", "by-hand-1")) == 1


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_what_a_withdrawal_affects_is_seen_before_it_is_confirmed(visit, airflow, fleet, batch, keep, size):
    page = visit("admin", size)
    page.goto(f"/sim2edge/batches/{batch}")
    assert fits(page)
    page.get_by_role("link", name="Withdraw").click()
    expect(page.get_by_text("What it does")).to_be_visible()
    for name in (fleet, "pi-9", "canary"):
        expect(page.get_by_text(name).first).to_be_visible()
    page.get_by_role("switch", name="Request a training").click()
    expect(page.get_by_text("a training without it is requested")).to_be_visible()
    keep(page, f"act-withdraw-{size[0]}")
    assert fits(page)
    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_role("heading", name=batch)).to_be_visible()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_ring_is_given_what_canary_has(visit, airflow, fleet, batch, keep, size):
    page = visit("admin", size)
    page.goto("/sim2edge/devices")
    keep(page, f"act-devices-{size[0]}")
    assert fits(page)
    page.get_by_role("link", name="Give it to stable").click()
    expect(page.get_by_text("for ring stable, which has no release yet")).to_be_visible()
    keep(page, f"act-move-{size[0]}")
    assert fits(page)
    if size == PHONE:
        return
    page.get_by_label("Reason").fill(WHY)
    page.get_by_role("button", name="Move the ring").click()
    page.wait_for_url("**/sim2edge/runs/fleet_change/**")
    run = airflow.run("fleet_change", batch)
    assert airflow.ended("fleet_change", run, "push")["state"] == "success"


def test_adding_a_device_shows_commands_and_no_key(visit, fleet, keep):
    page = visit("admin", PHONE)
    page.goto("/sim2edge/actions/add-device")
    page.get_by_label("Device").fill("pi-10")
    page.get_by_label("Ring").fill("stable")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("sim2edge device enrol --id pi-10")).to_be_visible()
    keep(page, "act-device-390")
    assert fits(page)


def test_a_viewer_sees_what_could_be_done_and_why_not_by_whom(visit, airflow, batch, keep):
    page = visit("ann")
    page.goto("/sim2edge/flywheel")
    expect(page.get_by_text("Capture a batch")).to_be_visible()
    assert page.get_by_role("link", name="Capture a batch").count() == 0
    keep(page, "act-viewer")
    page.goto(f"/sim2edge/actions/withdraw?batch={batch}")
    expect(page.get_by_text("You may not start runs of withdraw_batch")).to_be_visible()
    assert page.get_by_label("Reason").count() == 0


def test_another_site_cannot_send_a_form_with_the_session_of_a_person(visit, airflow, batch):
    """A page of another origin that sends the very form that a person was shown, token included."""
    page = visit("admin")
    page.goto("/sim2edge/actions/capture?batch=stolen-1")
    token = page.locator("input[name=token]").get_attribute("value")
    form = (
        f'<form method="post" action="{airflow.url}/sim2edge/actions/capture"><input name="token" value="{token}">'
        '<input name="reason" value="x"><button>Win a prize</button></form>'
    )
    page.route("http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
    page.goto("http://evil.example/")
    with page.expect_response("**/actions/capture") as answer:
        page.get_by_role("button", name="Win a prize").click()
    assert answer.value.status in (401, 403)
    assert airflow.client.runs("sim_capture", "stolen-1") == []
