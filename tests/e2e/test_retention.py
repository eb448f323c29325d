"""Retention on a year of nightly batches, of which the last ones are real: what is live stays and can be reproduced.

The year is made up (`benchmarks/made_up.py`): real manifests with small payloads. Three real batches follow, trained,
released to seven rings and run by two devices. Then a hundred days pass, so that nothing is kept for being young.
"""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.made_up import fill

from sim2edge.bus import Bus
from sim2edge.retention import KindPolicy, RetentionPolicy
from sim2edge.retire import live_refs, on_devices, retire_all, survey
from sim2edge.services.seaweedfs import start_seaweedfs
from sim2edge.stages import chain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

BATCHES = ("real-1", "real-2", "real-3")
RINGS = ("stable", "lab", "yard", "dock", "barn", "mill")
"""Besides canary; each names the release that it has and the one before."""
BALLAST = 200_000
NOW = datetime.now(UTC) + timedelta(days=100)
POLICY = RetentionPolicy(
    kinds={
        "episodes": KindPolicy(days=60, superseded_days=7),
        "frames": KindPolicy(days=200, superseded_days=7),
        "dataset": KindPolicy(last=2),
        "model": KindPolicy(last=2),
        "verdict": KindPolicy(days=60),
        "release": KindPolicy(last=2),
        "rollout": KindPolicy(days=60),
    }
)


@pytest.fixture(scope="module")
def year(on_server, tmp_path_factory):
    """A pipeline in a bucket of its own: a made-up year, then three real batches, released after each but the first."""
    with start_seaweedfs(tmp_path_factory.mktemp("year")) as server:
        pipeline = on_server(server)
        fill(
            pipeline.bus,
            batches=365,
            trainings=52,
            devices=0,
            first=datetime.now(UTC) - timedelta(days=366),
            current=False,
            apart=timedelta(days=1),
            ballast=BALLAST,
        )
        for batch in BATCHES:
            for stage in [stage.name for stage in chain()][: 2 if batch == BATCHES[0] else None]:
                lenient = ("tolerance=1", "distance_tolerance_m=9") if stage == "validate" else ()
                pipeline.make(stage, *lenient, batch=batch)
            for ring in RINGS if batch != BATCHES[0] else ():
                pipeline.make("push", f"ring={ring}", batch=batch)
        yield pipeline


def measure(bus: Bus) -> tuple[int, int]:
    """The number of objects in the bucket, and their bytes."""
    sizes = [bus.size(key) or 0 for key in bus.list("")]
    return len(sizes), sum(sizes)


def has_inputs(bus: Bus, reference: str) -> bool:
    names = [name for given in bus.open(reference).inputs.values() for name in given]
    return all(bus.find(name) for name in names)


def test_a_year_is_retired_and_what_is_live_can_be_reproduced(year):
    bus = year.bus
    release = bus.open(bus.read_ref("refs/rings/canary").target).inputs["release"][0].rpartition("/")[2]
    for device in ("pi-1", "pi-2"):
        status = {"device": device, "ring": "canary", "release": release, "previous": None, "state": "running"}
        bus.put(f"fleet/{device}/status.json", json.dumps(status).encode())
    situation = survey(bus, NOW)
    roots = {*live_refs(bus.list_refs()), *on_devices(bus, situation.records)}
    kept = sorted(situation.kept & {record.reference for record in situation.records})
    removals = situation.choose(POLICY, NOW)
    before, start = measure(bus), time.monotonic()
    deleted = retire_all(bus, removals, "ann", NOW)
    seconds = time.monotonic() - start
    after = measure(bus)
    print(
        f"\n{len(situation.records)} artifacts, {len(removals)} retired, {deleted} objects deleted in {seconds:.1f} s; "
        f"objects {before[0]} -> {after[0]}, bytes {before[1]:,} -> {after[1]:,}; {len(roots)} live, {len(kept)} kept"
    )
    assert before[1] - after[1] > 200 * BALLAST
    assert {each.reference for each in removals}.isdisjoint(kept)
    assert survey(bus, NOW).choose(POLICY, NOW) == [], "a second time there is nothing to do"

    whole = [reference for reference in kept if has_inputs(bus, reference) and reference.split("/")[1] in BATCHES]
    assert {root for root in roots if root.split("/")[1] in BATCHES} <= set(whole)
    for reference in whole:
        ended = year.run("reproduce", reference)
        assert ended.code == 0, (reference, ended.err)
    print(f"{len(whole)} reproduced: {Counter(reference.partition('/')[0] for reference in whole)}")
    assert len(whole) >= 20
