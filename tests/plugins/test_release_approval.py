"""What a person sees who is asked whether a release may go out."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput
from benchmarks.made_up import fill
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.errors import Corrupt
from sim2edge.fleet import list_devices, read_fleet
from sim2edge.registry import ACCEPTED_REF
from sim2edge_airflow.operators import release_approval
from sim2edge_airflow.operators.release_approval import LOOK_AGAIN, ApproveRelease, describe, describe_rollout

NO_ANSWER = {"error": "The response timeout has passed", "error_type": "timeout"}

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


@pytest.fixture
def bus(monkeypatch):
    """A bucket with trainings that were released, which the task sees."""
    bus = Bus(MemoryStore())
    fill(bus, batches=6, trainings=3, devices=3)
    monkeypatch.setattr(release_approval.Bus, "from_environment", staticmethod(lambda *_: bus))
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    return bus


def newest_release(bus):
    return max(bus.manifests("release"), key=lambda manifest: manifest.finished)


def context(**params):
    run = SimpleNamespace(dag_id="release_model", partition_key="b", run_type="manual", run_id="r1")
    return {"dag_run": run, "params": params, "triggering_asset_events": {}, "task_instance": SimpleNamespace(id="x")}


def task(release):
    return ApproveRelease(task_id="approve", release=release)


def test_a_release_that_is_not_there_fails_with_its_name(bus):
    with pytest.raises(AirflowFailException, match="release/b/ffffffffffffffff"):
        task("release/b/ffffffffffffffff").execute(context())


def test_a_release_that_a_task_marked_as_success_has_not_left_is_one_line(bus):
    with pytest.raises(AirflowFailException, match="release: the task upstream has left no artifact"):
        task(None).execute(context())


def test_it_names_ring_devices_and_steps(bus):
    text = describe_rollout(bus, "canary")
    assert f"**Ring** `canary`, which has `{bus.read_ref('refs/rings/canary').target}`" in text
    of_ring = [each.device for each in read_fleet(bus, list_devices(bus)) if each.ring == "canary"]
    assert f"**Devices** in it: {len(of_ring)} ({', '.join(of_ring)})" in text
    assert "3. A device whose trial fails rolls back" in text
    assert "which has no release yet" in describe_rollout(bus, "stable-eu")
    assert "**Devices** in it: 0\n" in describe_rollout(bus, "stable-eu")


@pytest.mark.parametrize(("words", "ring"), [([], "canary"), (["push.ring=stable"], "stable")])
def test_it_asks_for_the_ring_that_the_run_will_push_to(bus, monkeypatch, words, ring):
    asked = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **what: asked.update(what))
    with pytest.raises(TaskAwaitingInput) as waits:
        task(newest_release(bus).reference).execute(context(overrides=words))
    assert f"**Ring** `{ring}`" in asked["body"]
    assert waits.value.timeout <= LOOK_AGAIN


def test_without_an_answer_it_waits_on_until_the_time_is_up(bus):
    waiting = task(newest_release(bus).reference)
    with pytest.raises(TaskAwaitingInput) as first:
        waiting.execute_complete(context(), NO_ANSWER)
    end = datetime.fromisoformat(first.value.kwargs["deadline"])
    assert timedelta(hours=23.9) < end - datetime.now(UTC) < timedelta(hours=24)
    with pytest.raises(TaskAwaitingInput) as second:
        waiting.execute_complete(context(), NO_ANSWER, **first.value.kwargs)
    assert second.value.kwargs == first.value.kwargs
    over = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    with pytest.raises(AirflowSkipException, match="not answered within 24 hours: not sent"):
        waiting.execute_complete(context(), NO_ANSWER, deadline=over)


def test_a_request_is_withdrawn_once_a_newer_model_is_accepted(bus):
    release = newest_release(bus)
    (model,) = release.inputs["model"]
    waiting = task(release.reference)
    bus.move_ref(ACCEPTED_REF, model)
    with pytest.raises(TaskAwaitingInput):
        waiting.execute_complete(context(), NO_ANSWER)
    bus.move_ref(ACCEPTED_REF, "model/b/" + "e" * 16)
    with pytest.raises(AirflowSkipException, match="withdrawn: model/b/eeeeeeeeeeeeeeee was accepted since"):
        waiting.execute_complete(context(), NO_ANSWER)
