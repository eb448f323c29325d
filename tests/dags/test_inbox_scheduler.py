"""Batches dropped into the inbox under Airflow's own scheduler, with a real S3 server; the stages are stand-ins.

    .venvs/airflow/bin/python -m pytest -m slow tests/dags/test_inbox_scheduler.py --capture=no

It has a stack of its own, and prints how long it took to the last start.
"""

import collections
import contextlib
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow_stack import RUN_ENDED, RunningAirflow, running_airflow, wait_for

from sim2edge import inbox
from sim2edge.bus import Bus, in_threads
from sim2edge.stack.client import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DAGS = ("watch_inbox", "ingest_batch")
OWN = {"AIRFLOW__SIM2EDGE__POOL_CAPTURE": "4"}
ANNOTATED = ("watch_inbox", "annotate_batch", "ingest_batch", "retrain", "train_model")
NAMES = [f"farm-{number:02d}" for number in range(50)]


def drop(bus: Bus, folder: Path, names: list[str]) -> None:
    (folder / "a.mcap").write_bytes(b"a log")
    file = inbox.describe(folder, "a.mcap")
    in_threads(lambda name: inbox.deliver(bus, name, folder, [file]), names)


def drop_annotated(bus: Bus, folder: Path, batch: str, stage: str = "") -> None:
    """A picture and its annotations; `stage`: named by the listing, whatever its files are called."""
    names = ("images/a.jpg", "export.json" if stage else "annotations/instances_default.json")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"stages are stand-ins")
    inbox.deliver(bus, batch, folder, [inbox.describe(folder, name) for name in names], stage)


def triggerer(stack: Stack) -> psutil.Process | None:
    (service,) = (each for each in stack.services() if each.name == "airflow-triggerer")
    return service.process.find() if service.process else None


def kill(process: psutil.Process) -> None:
    for each in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def drop_while_the_triggerer_is_killed(stack: Stack, bus: Bus, folder: Path) -> float:
    """Killed in the middle of the drop, and again as soon as the supervisor has started another; seconds it took."""
    began = time.monotonic()
    first = wait_for(lambda: triggerer(stack), "a triggerer")
    drop(bus, folder, NAMES[: len(NAMES) // 2])
    kill(first)
    drop(bus, folder, NAMES[len(NAMES) // 2 :])
    dropped = time.monotonic() - began
    kill(wait_for(lambda: (found := triggerer(stack)) and found.pid != first.pid and found, "another triggerer"))
    return dropped


def events(airflow: RunningAirflow, asset: str) -> list[str]:
    """The batches of an asset's events."""
    found = airflow.call("GET", f"assets/events?limit=100&name_pattern={asset}")["asset_events"]
    return [event["partition_key"] for event in found if event["name"] == asset]


def check_each_ran_once(airflow: RunningAirflow, bus: Bus) -> list[dict[str, Any]]:
    """Wait until all have ended, and some time for what must not come."""

    def all_ended() -> list[dict[str, Any]] | None:
        found = airflow.runs("ingest_batch")
        return found if len(found) >= len(NAMES) and all(run["state"] in RUN_ENDED for run in found) else None

    found = wait_for(all_ended, f"the end of {len(NAMES)} runs", 600)
    time.sleep(3)
    batches = collections.Counter(run["partition_key"] for run in airflow.runs("ingest_batch"))
    assert batches == dict.fromkeys(NAMES, 1)
    assert {run["state"] for run in found} == {"success"}
    assert sorted(events(airflow, "delivery")) == NAMES
    claims = [json.loads(bus.get(f"registered/{name}.json")) for name in NAMES]
    assert {claim["run"] for claim in claims} <= {run["dag_run_id"] for run in airflow.runs("watch_inbox")}
    return found


def tell(route: str, dropped: float, began: float, found: list[dict[str, Any]], airflow: RunningAirflow) -> None:
    def seconds(field: str) -> float:
        return max(datetime.fromisoformat(run[field]).timestamp() for run in found) - began

    looks = len(airflow.runs("watch_inbox"))
    print(
        f"\n{route}: {len(found)} batches dropped in {dropped:.1f} s; seconds from the first drop: "
        f"last run created {seconds('queued_at'):.1f}, last started {seconds('start_date'):.1f}, "
        f"last ended {seconds('end_date'):.1f}; {looks} runs of watch_inbox"
    )


def test_fifty_batches_while_the_triggerer_is_killed_twice(tmp_path):
    with running_airflow(tmp_path, OWN, unpaused=DAGS) as airflow:
        bus = Bus.from_environment()
        began = time.time()
        dropped = drop_while_the_triggerer_is_killed(airflow.stack, bus, tmp_path)
        bus.put("inbox/%2e%2e/READY.json", b"{}")
        bus.put("inbox/late-1/a.mcap", b"a log")
        found = check_each_ran_once(airflow, bus)
        tell("polling, triggerer killed twice", dropped, began, found, airflow)


def test_annotated_pictures_become_frames_and_a_training_beside_a_log_that_is_ingested(tmp_path):
    """By the names of their files, and by the stage that their listing names."""
    annotated = ["office-1", "office-2"]
    with running_airflow(tmp_path, unpaused=ANNOTATED) as airflow:
        bus = Bus.from_environment()
        drop_annotated(bus, tmp_path, annotated[0])
        drop_annotated(bus, tmp_path, annotated[1], stage="annotate")
        drop(bus, tmp_path, ["lab-1"])
        for batch in annotated:
            run = airflow.run("annotate_batch", batch)
            assert airflow.run_ended("annotate_batch", run)["state"] == "success", batch
            assert airflow.outcome("annotate_batch", run, "annotate") == "made"
            manifest = bus.open(bus.read_ref(f"refs/frames/{batch}").target)
            assert (manifest.kind, manifest.stage) == ("frames", "annotate")
        ingested = airflow.run("ingest_batch", "lab-1")
        assert airflow.run_ended("ingest_batch", ingested)["state"] == "success"
        wait_for(lambda: events(airflow, "training"), "a training")
        assert sorted(events(airflow, "annotations")) == sorted(events(airflow, "frames")) == annotated
        assert (events(airflow, "delivery"), events(airflow, "episodes")) == (["lab-1"], ["lab-1"])
        assert len(airflow.runs("annotate_batch")) == len(annotated)
        assert len(airflow.runs("ingest_batch")) == 1
