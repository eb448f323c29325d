"""What a person sees who is asked whether a release may go out."""

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from sim2edge.errors import Corrupt
from sim2edge_airflow.operators import release_approval
from sim2edge_airflow.operators.release_approval import ApproveRelease, describe

RELEASE, VERDICT = "release/b/0123456789abcdef", "verdict/b/0123456789abcdef"


class Artifacts:
    """A release and its verdict."""

    def open(self, reference):
        if reference == RELEASE:
            summary = {"chosen": "onnx", "latency": "unmeasured on pi", "bundle_bytes": 788_000, "variants": [1, 2]}
            return SimpleNamespace(reference=RELEASE, summary=summary, inputs={"verdict": [VERDICT]})
        if reference == VERDICT:
            summary = {"floor_accuracy": 0.98123, "map_50": None, "frames": 640}
            summary["not_judged"] = {"classes": ["cable"], "floors": ["rug"]}
            return SimpleNamespace(reference=VERDICT, summary=summary, refused=None, inputs={})
        raise Corrupt(f"{reference}: no such artifact")


def test_it_shows_variant_latency_size_verdict_and_metrics():
    body = describe(Artifacts(), RELEASE)
    for part in (
        f"**Release** `{RELEASE}`",
        "| chosen | onnx |",
        "| latency | unmeasured on pi |",
        "| bundle_bytes | 788000 |",
        f"**Verdict** accepted (not judged: cable, rug) `{VERDICT}`",
        "| floor_accuracy | 0.9812 |",
        "| frames | 640 |",
    ):
        assert part in body
    assert "map_50" not in body
    assert "variants" not in body


def test_a_release_that_is_not_there_fails_with_its_name(monkeypatch):
    monkeypatch.setattr(release_approval.Bus, "from_environment", staticmethod(Artifacts))
    task = ApproveRelease(task_id="approve", release="release/b/ffffffffffffffff")
    with pytest.raises(AirflowFailException, match="no such artifact"):
        task.execute({})
