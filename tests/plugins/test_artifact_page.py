"""The pages show what is on the bus, to logged-in users only, and run nothing that a stage wrote."""

from datetime import UTC, datetime

import pytest
from airflow.plugins_manager import get_fastapi_plugins

from sim2edge.manifest import Cost, Manifest
from sim2edge_airflow.pages.file_answer import DOWNLOAD, name_media


@pytest.fixture
def artifact(s3, partition, tmp_path):
    folder = tmp_path / "payload"
    folder.mkdir()
    (folder / "report.html").write_text("<script>alert(1)</script>")
    (folder / "frames.parquet").write_bytes(b"PAR1")
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    reference = f"frames/{partition}/0123456789abcdef"
    manifest = Manifest(
        kind="frames",
        partition=partition,
        id="0123456789abcdef",
        stage="clean",
        version=1,
        config={"width": 96, "note": "<b>bold</b>"},
        config_hash="0",
        inputs={"episodes": [f"episodes/{partition}/00000000000000aa"]},
        attempt="a-1",
        files=list(s3.upload(reference, "a-1", folder)),
        summary={"frames": 120, "run": "http://127.0.0.1:5000/#/runs/1"},
        refused="too few frames",
        environment={"python": "3.11"},
        started=now,
        finished=now,
        cost=Cost(wall_s=2, work_s=1, cpu_s=1, bytes_in=0, bytes_out=4),
    )
    s3.commit(manifest)
    return reference


def test_airflow_mounts_the_pages():
    apps, _ = get_fastapi_plugins()
    assert [app["url_prefix"] for app in apps] == ["/sim2edge"]


def test_an_artifact_is_shown_with_what_it_was_made_from(browser, artifact, partition):
    page = browser.get(f"/sim2edge/artifacts/{artifact}").text
    for part in (
        artifact,
        f"/sim2edge/artifacts/episodes/{partition}/00000000000000aa",
        "report.html",
        "too few frames",
    ):
        assert part in page
    assert "&lt;b&gt;bold" in page, "what stages wrote is text, not HTML"
    assert 'href="http://127.0.0.1:5000/#/runs/1"' in page


def test_a_gathered_batch_links_to_its_shards(browser, artifact, s3, partition):
    shard = f"frames/{partition}/00000000000000bb"
    parts = {"id": "00000000000000cc", "parts": [artifact, shard]}
    s3.commit(s3.open(artifact).model_copy(update={"id": "00000000000000bb", "shard": "2/2"}))
    gathered = s3.commit(s3.open(artifact).model_copy(update=parts))
    page = browser.get(f"/sim2edge/artifacts/{gathered.reference}").text
    assert all(f'href="/sim2edge/artifacts/{part}"' in page for part in gathered.parts)
    assert ", shard 2/2" in browser.get(f"/sim2edge/artifacts/{shard}").text


def test_a_report_is_shown_but_its_scripts_do_not_run(browser, artifact, partition):
    report = browser.get(f"/sim2edge/artifacts/{artifact}/report.html")
    assert report.text == "<script>alert(1)</script>"
    assert report.headers["Content-Security-Policy"].startswith("sandbox;")
    download = browser.get(f"/sim2edge/artifacts/{artifact}/frames.parquet")
    assert (download.content, download.headers["Content-Disposition"]) == (
        b"PAR1",
        f'attachment; filename="{partition}-frames.parquet"',
    )


@pytest.mark.parametrize(
    ("path", "media"),
    [
        ("a.html", "text/html"),
        ("a.png", "image/png"),
        ("a.svg", "image/svg+xml"),
        ("a.json", "application/json"),
        ("a.css", "text/plain"),
        ("a.csv", "text/plain"),
        ("a.js", DOWNLOAD),
        ("a.mjs", DOWNLOAD),
        ("a.html.gz", DOWNLOAD),
        ("a.mcap", DOWNLOAD),
        ("a", DOWNLOAD),
    ],
)
def test_no_file_of_the_bus_can_be_the_script_or_the_style_of_a_page(path, media):
    assert name_media(path) == media


@pytest.mark.parametrize(
    "path",
    ["frames/nobody/0123456789abcdef", "heat/b/0123456789abcdef", "{}/manifest.json", "{}/%2e%2e/secret", "{}/nothing"],
)
def test_what_is_not_there_is_said_so(browser, artifact, path):
    assert browser.get(f"/sim2edge/artifacts/{path.format(artifact)}").status_code == 404


def test_what_cannot_be_a_reference_is_a_bad_request(browser):
    answer = browser.get("/sim2edge/artifacts/frames/x/not-an-id")
    assert (answer.status_code, "is not an artifact reference" in answer.text) == (400, True)


def test_what_the_servers_credentials_may_not_read_is_forbidden(browser, s3_server, monkeypatch):
    for name, value in s3_server.role("capture").items():
        monkeypatch.setenv(name, value)
    answer = browser.get("/sim2edge/artifacts/release/nobody/0123456789abcdef")
    assert (answer.status_code, "refused the credentials" in answer.text) == (403, True)


def test_a_deployment_that_names_no_bucket_is_out_of_service_and_says_why(browser, monkeypatch):
    monkeypatch.delenv("SIM2EDGE_BUCKET")
    answer = browser.get("/sim2edge/artifacts/release/nobody/00000000000000aa")
    assert (answer.status_code, "SIM2EDGE_BUCKET is not set" in answer.text) == (503, True)


def test_the_links_of_a_task_lead_to_its_manifest_and_its_report(browser, artifact, s3, partition):
    manifest = browser.get(f"/sim2edge/manifests/{artifact}")
    assert manifest.json()["summary"]["frames"] == 120
    assert manifest.headers["Content-Security-Policy"].startswith("sandbox;")
    report = browser.get(f"/sim2edge/reports/{artifact}")
    assert report.headers["Location"] == f"/sim2edge/artifacts/{artifact}/report.html"
    assert browser.get(f"/sim2edge/tracking/{artifact}").status_code == 404


def test_refs_that_are_few_are_shown_as_current(browser, artifact, s3):
    s3.move_ref("refs/rings/test", artifact)
    assert artifact in browser.get("/sim2edge/artifacts").text
