"""What stages and devices write may be anything: no page fails for it, runs it, or grows with it."""

import json
from datetime import UTC, datetime

import pytest
from benchmarks.made_up import commit

HTML = "<img src=x onerror=alert(1)>"
NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)
KINDS = {
    "episodes": ("capture", ""),
    "frames": ("clean", ""),
    "dataset": ("augment", "dataset.json"),
    "model": ("train", "history.json"),
    "verdict": ("validate", "verdict.json"),
    "release": ("export", "export_report.json"),
    "rollout": ("push", ""),
}
"""Kind to its stage and the file that its page reads."""
FIELDS = (
    *("seeds", "mlflow", "success_rate", "frames", "frames_seen", "splits", "map_50", "floor_accuracy", "epochs"),
    *("best_epoch", "chosen", "latency", "latency_ms", "ring", "passed", HTML),
)
CONTENT = ("splits", "class_counts", "floor_counts", "rules", "metrics", "champion", "champion_metrics", "variants",
           "chosen", "trained")  # fmt: skip
INSIDE = ("frames", "rule", "value", "interval", "limit", "passed", "note", "name", "bytes", "decision", "quality",
          "distance", "classes", "train_total_loss", "latency_ms")  # fmt: skip
STRANGE = {
    "text": HTML,
    "long": "x" * 100_000,
    "huge": 10**400,
    "infinite": float("inf"),
    "no-number": float("nan"),
    "nothing": None,
    "list": [HTML, [HTML], {}],
    "object": {"a": {HTML: HTML}},
    "true": True,
}


def spoil(bus, value):
    """Commit one artifact of each kind with a strange value wherever one can be; returns the references."""
    made, inputs = [], {}
    inside = dict.fromkeys(INSIDE, value)
    strange = dict.fromkeys(CONTENT, value) | {"rules": [inside], "metrics": {HTML: value}, "variants": [inside, value]}
    strange["splits"] = {HTML: inside}
    for kind, (stage, file) in KINDS.items():
        content = [inside] * 3 if kind == "model" else strange
        files = {file: json.dumps(content).encode()} if file else {}
        summary = dict.fromkeys(FIELDS, value)
        made.append(commit(bus, stage, kind, "spoilt", inputs, summary, NOW, 1.0, files).reference)
        inputs = {kind: [made[-1], HTML], HTML: [HTML]}
    return made


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
def test_no_page_fails_for_what_a_stage_wrote(visitor, bucket, value):
    references = spoil(bucket, value)
    pages = ["flywheel", "models", "devices", "artifacts", "batches/spoilt"]
    pages += [f"{what}/{each}" for each in references for what in ("artifacts", "lineage")]
    for path in pages:
        answer = visitor.get(f"/sim2edge/{path}")
        assert answer.status_code == 200, path
        assert HTML not in answer.text, path
        assert len(answer.text) < 100_000, path
    assert "night-0005" in visitor.get("/sim2edge/flywheel").text


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff", b'{"rules": [{"rule": "\\ud800"}]}', b"[" * 200_000, b'{"metrics": {"a": NaN}}']
)
def test_a_broken_file_spoils_a_part_of_the_page_alone(visitor, bucket, content):
    model = next(iter(bucket.artifacts("model", "night-0005")))
    verdict = commit(bucket, "validate", "verdict", "b", {"model": [model]}, {}, NOW, 1.0, {"verdict.json": content})
    page = visitor.get(f"/sim2edge/artifacts/{verdict.reference}")
    assert page.status_code == 200
    assert f'href="/sim2edge/artifacts/{model}"' in page.text


@pytest.mark.parametrize("written", [b"{}" + b" " * 2_000_000, b"{}"], ids=["too large", "larger than it says"])
def test_a_file_that_is_too_large_is_not_read(visitor, bucket, written):
    made = commit(bucket, "validate", "verdict", "b", {}, {}, NOW, 1.0, {"verdict.json": written})
    bucket.put(f"{made.reference}/{made.attempt}/verdict.json", b"{}" + b" " * 2_000_000)
    page = visitor.get(f"/sim2edge/artifacts/{made.reference}")
    assert page.status_code == 200
    assert "Not everything can be shown" in page.text


def test_a_ref_that_names_no_artifact_is_passed_over(visitor, bucket):
    bucket.put("refs/models/champion", b'{"target": ["x"], "previous": null}')
    assert visitor.get("/sim2edge/flywheel").status_code == 200
    assert "refs/rings/canary" in visitor.get("/sim2edge/artifacts").text


def test_a_manifest_of_very_many_inputs_makes_no_long_page(visitor, bucket):
    frames = [f"frames/b-{number}/0123456789abcdef" for number in range(100_000)]
    summary = {"seeds": {str(number): number for number in range(10_000)}}
    dataset = commit(bucket, "augment", "dataset", "wide", {"frames": frames}, summary, NOW, 1.0, {}).reference
    for path in (f"artifacts/{dataset}", f"lineage/{dataset}", "batches/wide", "flywheel"):
        answer = visitor.get(f"/sim2edge/{path}")
        assert (answer.status_code, len(answer.text) < 100_000) == (200, True), path
    assert "and 99,800 more" in visitor.get(f"/sim2edge/artifacts/{dataset}").text


@pytest.mark.parametrize(
    "status",
    [
        {"updated": "2026-05-06T12:00:00"},
        {"updated": "9999-12-31T23:59:59-12:00"},
        {"inferences": 10**400, "errors": -1},
        {"latency_ms_p50": "NaN", "state": HTML, "message": HTML * 50, "ring": HTML, "release": HTML},
        {"failure": {"release": None, "reason": HTML}},
        {"signed": {"status": {"device": HTML}, "device": HTML}, "signature": HTML},
        {"signed": [], "signature": []},
        {"device": "pi-1", "identity": HTML, "silent_s": -1, "state": "\x00\x1b[2J\u202e"},
    ],
)
def test_no_page_fails_for_what_a_device_wrote(visitor, bucket, status):
    bucket.put("fleet/pi-1/status.json", json.dumps(status).encode())
    for path in ("devices", "devices/pi-1", "lineage/devices/pi-1", "devices?health=unhealthy"):
        answer = visitor.get(f"/sim2edge/{path}")
        assert answer.status_code == 200, path
        assert HTML not in answer.text, path
    assert "pi-2" in visitor.get("/sim2edge/devices").text
