"""The Flywheel's pages on Airflow's real API server: what they show, to whom, and what they do when S3 is away."""

import json
import re
import urllib.parse
from datetime import UTC, datetime, timedelta

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow_runs import add_run, add_task
from benchmarks.made_up import fill
from fastapi.routing import APIRoute
from obstore.store import MemoryStore
from page_visitor import log_in, pages_of
from signed_devices import SigningDevice
from sqlalchemy import delete, select

from sim2edge.bus import Bus
from sim2edge.enrol import register
from sim2edge.erasure import erase, find_artifact
from sim2edge.errors import Unavailable
from sim2edge.services.seaweedfs import REGION
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record
from sim2edge_airflow.pages.bus_view import BusView

HOSTILE = (
    "%2e%2e",
    "..%2f..%2fsecret",
    "%2e%2e%2f",
    "<script>alert(1)</script>",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "a" * 10_000,
    "ß-batch",
    "%00",
    "night-0001%0d%0aSet-Cookie:%20a=b",
    "' OR 1=1 --",
    "{{7*7}}",
)
ID = "0123456789abcdef"


@pytest.fixture
def bucket():
    """A bucket in memory with 12 batches and 4 trainings."""
    bus = Bus(MemoryStore())
    fill(bus, batches=12, trainings=6, devices=3)
    return bus


def newest(bucket, kind, partition):
    return next(iter(bucket.artifacts(kind, partition)))


def test_the_grid_shows_what_each_stage_made(visitor):
    page = visitor.get("/sim2edge/flywheel")
    assert page.status_code == 200
    for part in ("12 batches", "night-0011", "74% ok", "97.5% kept", "onnx 0.58 ms", "refused", "in dataset", "canary"):
        assert part in page.text, part
    assert page.text.index("night-0011") < page.text.index("night-0000"), "the newest first"


@pytest.mark.parametrize(
    ("query", "count"),
    [("text=0003", 1), ("state=refused", 1), ("stage=train&state=missing", 6), ("stage=push", 5), ("text=zzz", 0)],
)
def test_filters_narrow_the_grid(visitor, query, count):
    assert f"{count} batch" in visitor.get(f"/sim2edge/flywheel?{query}").text


def test_a_page_is_a_hundred_batches(api, visitor):
    bus = Bus(MemoryStore())
    fill(bus, batches=203, trainings=1)
    pages_of(api).state.view = BusView(lambda: bus)
    first = visitor.get("/sim2edge/flywheel").text
    assert first.count("<tr data-key=") == 100, "a row a batch"
    assert "page 1 of 3" in first
    assert visitor.get("/sim2edge/flywheel?page=3").text.count("<tr data-key=") == 3


def test_a_batch_that_only_runs_is_there_too(visitor):
    add_run("sim_capture", "brand-new")
    add_run("sim_capture", "<b>not a batch</b>", DagRunState.FAILED)
    page = visitor.get("/sim2edge/flywheel").text
    assert 'href="/sim2edge/batches/brand-new"' in page
    assert "&lt;b&gt;not a batch" in page
    assert "<b>not a batch" not in page


@pytest.mark.parametrize("path", ["flywheel", "artifacts"])
def test_an_empty_bucket_leads_to_the_dag_that_fills_it(api, visitor, path):
    with create_session() as session:
        session.execute(delete(DagRun))
    pages_of(api).state.view = BusView(lambda: Bus(MemoryStore()))
    assert 'Open <a href="/dags/sim_capture" target="_top">' in visitor.get(f"/sim2edge/{path}").text


def test_a_batch_shows_how_it_looks_and_what_it_reached(visitor, bucket):
    page = visitor.get("/sim2edge/batches/night-0003").text
    episodes, frames = newest(bucket, "episodes", "night-0003"), newest(bucket, "frames", "night-0003")
    assert f'src="/sim2edge/artifacts/{episodes}/contact_sheet.png"' in page
    assert f'href="/sim2edge/artifacts/{frames}/report.html" target="_blank"' in page
    assert "5 models" in page
    picture = visitor.get(f"/sim2edge/artifacts/{episodes}/contact_sheet.png")
    assert picture.content.startswith(b"\x89PNG")


def test_a_model_shows_its_standing_and_every_rule(visitor, bucket):
    page = visitor.get(f"/sim2edge/artifacts/{newest(bucket, 'model', 'night-0011')}").text
    for part in ("★ champion", "floor_accuracy at least", "0.95", "passed", "polyline", "on held-out".title()[:2]):
        assert part in page, part
    refused = visitor.get(f"/sim2edge/artifacts/{newest(bucket, 'model', 'night-0009')}").text
    for part in (
        '<span class="tag refused">refused</span>',
        "not passed",
        "-0.06, -0.02",
        "not judged",
        "no training examples",
    ):
        assert part in refused, part


def test_a_release_shows_its_variants_and_where_it_is(visitor, bucket):
    page = visitor.get(f"/sim2edge/artifacts/{newest(bucket, 'release', 'night-0011')}").text
    for part in ("chosen: the fastest", "int8", "Rings: canary", "3 devices run it"):
        assert part in page, part


def test_a_dataset_shows_its_batches_and_splits(visitor, bucket):
    page = visitor.get(f"/sim2edge/artifacts/{newest(bucket, 'dataset', 'night-0011')}").text
    assert "12 batches" in page
    assert 'href="/sim2edge/batches/night-0000"' in page


def test_models_and_devices_are_listed(visitor):
    models = visitor.get("/sim2edge/models").text
    assert models.count("★ champion") == 1
    assert models.count("former champion") == 4
    assert models.count('<span class="tag refused">refused</span>') == 1
    devices = visitor.get("/sim2edge/devices").text
    assert "3 of 3 devices run it" in devices
    device = visitor.get("/sim2edge/devices/pi-2").text
    assert "2,000" in device
    assert 'href="/sim2edge/artifacts/release/night-0011/' in device


def test_a_device_that_went_silent_by_the_servers_clock_is_not_well_whatever_it_said_last(visitor, bucket, monkeypatch):
    said = json.loads(bucket.get("fleet/pi-2/status.json"))
    bucket.put("fleet/pi-2/status.json", json.dumps(said | {"updated": "1970-01-01T00:00:00+00:00"}).encode())
    later = datetime.now(UTC) + timedelta(hours=3)
    monkeypatch.setattr(Bus, "server_time", lambda _: later)
    page = visitor.get("/sim2edge/devices?health=unhealthy").text
    assert "3 unhealthy" in page
    assert "silent" in page
    assert "silent" in visitor.get("/sim2edge/devices/pi-2").text


def test_the_wrong_clock_of_a_device_makes_it_neither_silent_nor_well(visitor, bucket):
    said = json.loads(bucket.get("fleet/pi-2/status.json"))
    for updated in ("1970-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"):
        bucket.put("fleet/pi-2/status.json", json.dumps(said | {"updated": updated}).encode())
        assert "silent" not in visitor.get("/sim2edge/devices/pi-2").text


def test_who_a_device_is_is_shown_and_a_doubtful_one_counts_as_not_well(visitor, bucket, tmp_path):
    said = json.loads(bucket.get("fleet/pi-2/status.json"))
    pi = SigningDevice(bucket, tmp_path, "pi-2", said["ring"])
    pi.send(**said)
    assert "<td>verified</td>" in visitor.get("/sim2edge/devices/pi-2").text
    assert "its status is not verified" in visitor.get("/sim2edge/devices/pi-1").text


@pytest.mark.parametrize("word", ["unsigned", "forged", "revoked"])
def test_a_status_that_is_not_the_devices_own_is_named(visitor, bucket, tmp_path, word):
    pi = SigningDevice(bucket, tmp_path, "pi-2")
    if word == "forged":
        pi.send(b'{"signed": {}, "signature": ""}')
    if word == "revoked":
        register.change(bucket, lambda records: register.revoke(records, "pi-2", "lost"))
    page = visitor.get("/sim2edge/devices?health=unhealthy").text
    assert "1 unhealthy" in page
    assert word in page
    assert word in visitor.get("/sim2edge/devices/pi-2").text
    assert "2 of 2 devices run it" in page or word != "revoked"


def test_devices_beyond_those_that_are_read_are_counted_and_found_by_name(visitor, monkeypatch):
    monkeypatch.setattr("sim2edge_airflow.pages.bus_view.MAX_DEVICES", 2)
    monkeypatch.setattr("sim2edge_airflow.pages.fleet_page.MAX_DEVICES", 2)
    page = visitor.get("/sim2edge/devices").text
    assert "There are 3 devices; the first 2 by name are read" in page
    assert "3,000" in visitor.get("/sim2edge/devices/pi-3").text
    assert visitor.get("/sim2edge/lineage/devices/pi-3").status_code == 200
    assert visitor.get("/sim2edge/devices/pi-4").status_code == 404


def test_a_page_beyond_the_last_is_the_last(visitor):
    assert "night-0000" in visitor.get("/sim2edge/flywheel?page=99").text
    assert "pi-1" in visitor.get("/sim2edge/devices?page=99").text


@pytest.mark.parametrize(
    "path", ["devices/nosuch", "lineage/devices/nosuch", f"lineage/frames/night-0005/{ID}", f"lineage/frames/no/{ID}"]
)
def test_what_nobody_has_heard_of_is_not_found(visitor, path):
    assert visitor.get(f"/sim2edge/{path}").status_code == 404


def test_one_device_is_spoken_of_in_the_singular(api, visitor):
    bus = Bus(MemoryStore())
    fill(bus, batches=1, trainings=1, devices=1)
    pages_of(api).state.view = BusView(lambda: bus)
    assert "1 device runs it" in visitor.get(f"/sim2edge/artifacts/{newest(bus, 'release', 'night-0000')}").text


def test_an_unknown_batch_has_no_row_of_stages(visitor):
    answer = visitor.get("/sim2edge/batches/nosuch")
    assert answer.status_code == 404
    assert "unknown batch" in answer.text
    assert 'class="grid one"' not in answer.text
    assert 'class="grid one"' in visitor.get("/sim2edge/batches/night-0003").text


@pytest.mark.parametrize("path", ["flywheel?page=abc", "models?page=0", "devices?page=abc", "flywheel?state=x"])
def test_a_parameter_that_cannot_be_is_a_bad_request(visitor, path):
    answer = visitor.get(f"/sim2edge/{path}")
    assert (answer.status_code, path.partition("?")[2].partition("=")[0] in answer.text) == (400, True)


def test_lineage_leads_from_a_device_to_seeds_and_from_a_batch_to_devices(visitor, bucket):
    up = visitor.get("/sim2edge/lineage/devices/pi-1").text
    assert "and 5 more" in up
    assert "20 seeds" in up
    down = visitor.get(f"/sim2edge/lineage/{newest(bucket, 'episodes', 'night-0000')}").text
    for name in ("pi-1", "pi-2", "pi-3"):
        assert f'href="/sim2edge/lineage/devices/{name}"' in down


def test_the_tab_of_a_run_names_its_batch(visitor):
    run = add_run("train_model", "night-0003", DagRunState.SUCCESS)
    page = visitor.get(f"/sim2edge/runs/train_model/{run}").text
    assert 'href="/sim2edge/batches/night-0003"' in page
    assert visitor.get("/sim2edge/runs/train_model/no-such-run").status_code == 404


def test_the_tab_of_a_run_says_what_was_made_what_was_there_and_what_that_saved(visitor, bucket):
    run = add_run("train_model", "night-0011", DagRunState.SUCCESS)
    dataset, model = newest(bucket, "dataset", "night-0011"), newest(bucket, "model", "night-0011")
    add_task("train_model", run, "augment", "success", {"return_value": json.dumps(dataset)})
    saved = {"cached": True, "saved_s": 7200.0, "saved_bytes": 5_000_000, "reference": model}
    add_task("train_model", run, "train", "success", {"return_value": model, "outcome": saved})
    refusal = {"artifact": "verdict/night-0011/0123456789abcdef", "reason": "refused: <i>too low</i>"}
    add_task("train_model", run, "validate", "skipped", {"refused": refusal})
    page = visitor.get(f"/sim2edge/runs/train_model/{run}").text
    assert "2.0 h · 5.0 MB" in page, "as the task says it"
    assert "2 cached, saved 2.0 h" in page, "the other by its times: the artifact is older than the task"
    assert "refused: &lt;i&gt;too low" in page
    assert f'href="/sim2edge/manifests/{dataset}" target="_blank"' in page
    grid = visitor.get("/sim2edge/flywheel?text=night-0011").text
    assert "cached, saved" in grid
    failed = add_run("data_cleaning", "night-0002", DagRunState.FAILED)
    add_task("data_cleaning", failed, "clean", "failed", {"return_value": "not a reference"})
    assert "1 batch," in visitor.get("/sim2edge/flywheel?state=failed").text
    assert f"/dags/data_cleaning/runs/{failed}" in visitor.get("/sim2edge/batches/night-0002").text


def test_a_model_that_passed_and_was_not_released_looks_like_that(visitor, bucket):
    model = newest(bucket, "model", "night-0005")
    bucket.move_ref("refs/models/accepted", model)
    gone = [key for key in bucket.list("catalog") if "_rollout_night-0005_" in key]
    bucket.delete(gone)
    for path in ("models", f"artifacts/{model}", "flywheel?text=night-0005"):
        assert "passed, not released" in visitor.get(f"/sim2edge/{path}").text, path
    assert '<span class="tag committed">accepted</span>' in visitor.get("/sim2edge/models").text
    assert "former champion" in visitor.get(f"/sim2edge/artifacts/{newest(bucket, 'model', 'night-0003')}").text


def test_every_page_can_be_read_without_seeing_it(visitor, bucket):
    references = [newest(bucket, kind, "night-0011") for kind in ("dataset", "model", "verdict", "release")]
    run = add_run("train_model", "night-0003")
    paths = ["flywheel", "models", "devices", "devices/pi-1", "artifacts", "trends", "timeline", "storage", "compare"]
    paths += ["docs", "docs/flywheel", "batches/night-0003", f"runs/train_model/{run}"]
    paths += [f"{what}/{each}" for each in references for what in ("artifacts", "lineage")]
    for path in [*paths, "batches/nosuch", "flywheel?page=0"]:
        page = visitor.get(f"/sim2edge/{path}").text
        assert page.count("<h1") == 1, path
        assert re.findall(r"<th(?![a-z])(?![^>]*scope=)[^>]*>", page) == [], path
        assert page.index('<a class="skip" href="#content">') < page.index("<nav"), path
        alone = re.findall(r"<(?:input|select)[^>]*>", re.sub(r"<label.*?</label>", "", page, flags=re.DOTALL))
        assert all("aria-label=" in each or 'type="hidden"' in each for each in alone), path
        assert ('<p id="refresh-status" role="status">' in page) == ("0" not in path.partition("?")[2]), path


def test_the_filters_for_what_runs_and_what_failed_look_at_the_newest_run_alone(visitor):
    for state in ("failed", "running"):
        run = add_run("data_cleaning", "night-0006")
        add_task("data_cleaning", run, "clean", state, {"return_value": "nothing"})
    for state, count in (("running", 1), ("failed", 0)):
        assert f"{count} batch" in visitor.get(f"/sim2edge/flywheel?state={state}&text=night-0006").text


def test_the_tab_of_a_run_says_why_it_was_started(visitor):
    run = add_run("train_model", "night-0003")
    with create_session() as session:
        asset = AssetModel(name=f"training-{run}", uri=f"training-{run}", group="asset")
        session.add(asset)
        session.flush()
        reasons = [
            {"kind": "drift", "reason": "floors <b>changed</b>"},
            {"kind": "data", "batch": "night-0003"},
            "by hand",
        ]
        event = AssetEvent(asset_id=asset.id, extra={"reasons": reasons})
        session.add(event)
        dag_run = session.scalar(select(DagRun).where(DagRun.run_id == run))
        dag_run.consumed_asset_events.append(event)
    page = visitor.get(f"/sim2edge/runs/train_model/{run}").text
    for part in ("Why it was started", "drift", "reason: floors &lt;b&gt;changed", "batch: night-0003", "by hand"):
        assert part in page, part


def paths_of(app):
    """An address of every route of the pages."""
    values = {
        "kind": "frames", "partition": "night-0001", "identity": ID, "path": "report.html", "batch": "night-0001",
        "device": "pi-1", "dag_id": "train_model", "run_id": "x", "name": "capture", "number": 3,
    }  # fmt: skip
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(routes) >= 15
    return [f"/sim2edge{route.path.replace(':path', '').format(**values)}" for route in routes]


def test_an_anonymous_visitor_sees_nothing_whichever_route_he_tries(api, bucket):
    nobody = log_in(api, None)
    pages_of(api).state.view = BusView(lambda: bucket)
    for path in paths_of(pages_of(api)):
        answer = nobody.get(path)
        assert answer.status_code in (401, 403), path
        assert "night-" not in answer.text.replace(path, "")
        assert nobody.get(path, headers={"Authorization": "Bearer nonsense"}).status_code in (401, 403)


def test_an_anonymous_visitor_gets_one_link_to_the_login_and_from_there_to_what_he_asked_for(api, bucket):
    nobody = log_in(api, None)
    answer = nobody.get("/sim2edge/flywheel?state=failed&text=night")
    (link,) = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    login = nobody.get(link)
    assert login.status_code == 307
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(login.headers["Location"]).query)["next"]
    assert asked == ["/sim2edge/flywheel?state=failed&text=night"]


def test_the_pages_only_read_but_for_the_confirmed_actions(api):
    routes = [route for route in pages_of(api).routes if isinstance(route, APIRoute)]
    writing = [(method, route.path) for route in routes for method in route.methods if method != "GET"]
    assert writing == [("POST", "/actions/{name}")]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    "path",
    ["batches/{}", "devices/{}", "artifacts/frames/{}/" + ID, "artifacts/{}/b/" + ID, "artifacts/frames/b/{}",
     "lineage/frames/{}/" + ID, "lineage/devices/{}", "manifests/frames/b/{}", "reports/{}/b/" + ID,
     "runs/train_model/{}", "runs/{}/x", "flywheel?text={}", "flywheel?page={}", "flywheel?state={}",
     "devices?text={}"],
)  # fmt: skip
def test_hostile_names_get_one_clear_line(visitor, path, name):
    answer = visitor.get(f"/sim2edge/{path.format(name)}")
    assert answer.status_code in (400, 404) or (answer.status_code == 200 and "text=" in path)
    assert "<script>alert" not in answer.text
    assert "Traceback" not in answer.text
    assert "Set-Cookie" not in answer.headers
    assert len(answer.text) < 60_000
    if answer.status_code != 200 and answer.headers["content-type"].startswith("text/html"):
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_every_page_forbids_what_it_does_not_need(visitor):
    page = visitor.get("/sim2edge/flywheel")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "'unsafe" not in policy
    assert "<script>" not in page.text
    assert " style=" not in page.text
    assert page.headers["X-Content-Type-Options"] == "nosniff"


def test_a_withdrawn_batch_says_why_in_its_row_and_on_its_page(visitor, bucket):
    event = Event(action="withdraw", reason="shifted labels", by="<b>ana</b>", at=datetime(2026, 5, 4, tzinfo=UTC))
    record(bucket, "night-0003", event)
    grid = visitor.get("/sim2edge/flywheel").text
    assert grid.count("withdrawn: shifted labels") == grid.count("withdrawn: ") == 1
    page = visitor.get("/sim2edge/batches/night-0003").text
    assert "withdrawn on 2026-05-04 by &lt;b&gt;ana&lt;/b&gt;: shifted labels" in page
    assert "shifted labels" not in visitor.get("/sim2edge/batches/night-0002").text


def test_an_erased_artifact_is_shown_as_erased_and_its_files_say_why(visitor, bucket):
    reference = newest(bucket, "frames", "night-0003")
    event = Event(action="erase", reason="a wish", by="ana", at=datetime(2026, 5, 4, tzinfo=UTC))
    record(bucket, "night-0003", event)
    erase(bucket, find_artifact(bucket, reference), "night-0003", event)
    assert "erased</span>" in visitor.get(f"/sim2edge/artifacts/{reference}").text
    file = visitor.get(f"/sim2edge/artifacts/{reference}/report.html")
    assert file.status_code == 410
    assert f"{reference}: erased on 2026-05-04 by ana: a wish" in file.text


def test_with_s3_down_the_page_still_comes_and_says_so(api, visitor, bucket):
    class Down(Bus):
        def list(self, prefix, after=None):
            raise Unavailable(f"{prefix}: connection refused")

        def folders(self, prefix):
            raise Unavailable(f"{prefix}: connection refused")

    pages_of(api).state.view = BusView(lambda: Down(MemoryStore()))
    for path in ("flywheel", "models", "devices", "artifacts"):
        page = visitor.get(f"/sim2edge/{path}")
        assert page.status_code == 200, path
        assert "S3 cannot be read" in page.text
    batch = visitor.get("/sim2edge/batches/night-0001")
    assert "S3 cannot be read" in batch.text


def test_a_server_that_refuses_the_connection_costs_seconds_not_minutes(api, visitor, monkeypatch):
    monkeypatch.undo()
    where = {"SIM2EDGE_BUCKET": "b", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_REGION": REGION}
    for name, value in {**where, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(name, value)
    pages_of(api).state.view = BusView()
    start = datetime.now(UTC)
    assert visitor.get("/sim2edge/flywheel").status_code == 200
    assert datetime.now(UTC) - start < timedelta(seconds=6)


def test_a_warm_page_asks_s3_nothing(api, visitor, bucket):
    class Counting(Bus):
        asked = 0

        def get_tagged(self, key):
            Counting.asked += 1
            return super().get_tagged(key)

        def get(self, key):
            Counting.asked += 1
            return super().get(key)

    pages_of(api).state.view = BusView(lambda: Counting(bucket._store))
    model, episodes = newest(bucket, "model", "night-0011"), newest(bucket, "episodes", "night-0003")
    paths = ("flywheel", "batches/night-0003", "models", "devices", f"artifacts/{model}", f"lineage/{episodes}")
    for path in paths:
        visitor.get(f"/sim2edge/{path}")
    Counting.asked = 0
    for path in paths:
        visitor.get(f"/sim2edge/{path}")
    assert Counting.asked == 0


def test_a_batch_of_which_nothing_was_committed_has_a_row_whatever_dag_it_failed_in(visitor):
    add_run("data_cleaning", "typo-batch", DagRunState.FAILED)
    add_run("sim_capture", "marked-batch", DagRunState.SUCCESS)
    page = visitor.get("/sim2edge/flywheel").text
    assert "typo-batch" in page
    assert "marked-batch" in page


def test_a_run_without_a_batch_is_listed_below_the_grid(visitor):
    assert "Runs without a batch" not in visitor.get("/sim2edge/flywheel").text
    run = add_run("data_cleaning", None, DagRunState.FAILED)
    page = visitor.get("/sim2edge/flywheel").text
    assert "Runs without a batch" in page
    assert f"/dags/data_cleaning/runs/{run}" in page
    assert "data_cleaning: failed" in page
