"""Fill a bucket with synthetic batches: real manifests of every kind, linked as the stages link them, with small files.

    fill(bus, batches=1000, trainings=50)

Nothing is simulated or trained; readers and pages see the same structure as of real artifacts. Needs the light core
only.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sim2edge.bus import Bus, in_threads
from sim2edge.manifest import Cost, File, Manifest

START = datetime(2026, 1, 1, tzinfo=UTC)
EPISODES = 20
RULES = ("floor_accuracy at least", "map_50 at least", "map_50 against the best", "ap_50 of cable at least")
LABELS = {
    "class_counts": {"chair": 512, "table": 204, "cable": 31},
    "floor_counts": {"wood": 2600, "tile": 1200},
    "distance_histogram": {"bin_m": 0.5, "counts": [12, 90, 160, 210, 150, 80, 45, 0]},
    "quarantine_counts": {"lidar_nan": 4},
}
VARIANTS = (("onnx", "float32"), ("float16", "float16"), ("int8", "int8"))


def fill(
    bus: Bus,
    batches: int,
    trainings: int,
    devices: int = 12,
    first: datetime = START,
    *,
    current: bool = True,
    apart: timedelta = timedelta(hours=1),
    ballast: int = 0,
) -> Sequence[Manifest]:
    """Commit `batches` batches and `trainings` trainings, each on all batches until then.

    Args:
        bus: the bus to fill.
        batches: how many batches.
        trainings: how many trainings.
        devices: how many devices run the last release.
        first: when the first batch was captured.
        current: whether to set the refs of champion and ring to the synthetic artifacts.
        apart: time from batch to batch.
        ballast: further bytes of payload of each batch's episodes.

    Returns:
        the verdicts, oldest first.
    """
    frames = in_threads(lambda number: make_batch(bus, number, first + number * apart, ballast), range(batches))
    verdicts: list[Manifest] = []
    champion: Manifest | None = None
    for number in range(1, trainings + 1):
        known = frames[: max(batches * number // trainings, 1)]
        verdict = train(bus, known, champion, number)
        verdicts.append(verdict)
        if not verdict.refused:
            champion = bus.open(verdict.inputs["model"][0])
            rollout = release(bus, champion, verdict, devices)
            if current:
                bus.move_ref("refs/models/champion", champion.reference)
                bus.move_ref("refs/rings/canary", rollout.reference)
    return verdicts


def make_batch(bus: Bus, number: int, start: datetime, ballast: int = 0) -> Manifest:
    """Commit the episodes and the frames of one batch, and return the frames."""
    batch = f"night-{number:04d}"
    success = 0.7 + number % 7 / 25
    seeds = {f"{batch}.{index:04d}": hashlib.sha256(f"{batch}{index}".encode()).hexdigest()[:32] for index in range(20)}
    files = {f"{batch}.{i:04d}/{name}": b"x" for i in range(EPISODES) for name in ("simulation.mcap", "result.json")}
    summary = {"episodes": EPISODES, "successes": round(EPISODES * success), "success_rate": success, "frames": 4000}
    episodes = commit(
        bus, "capture", "episodes", batch, {}, {**summary, "seeds": seeds}, start, 57.0,
        {"contact_sheet.png": picture(number), **({"ballast.bin": bytes(ballast)} if ballast else {})},
        listed=files, size=70_000_000,
    )  # fmt: skip
    kept = {"frames": 3900 - number % 5 * 40, "frames_seen": 4000, "episodes": 20, "episodes_failed": 2, **LABELS}
    report = {"report.html": f"<h1>Quality of {batch}</h1>".encode()}
    return commit(
        bus, "clean", "frames", batch, {"episodes": [episodes.reference]}, kept,
        start + timedelta(minutes=2), 6.1, report, size=21_000_000,
    )  # fmt: skip


def train(bus: Bus, frames: Sequence[Manifest], champion: Manifest | None, number: int) -> Manifest:
    """Commit a dataset, a model and its verdict, and return the verdict."""
    batch, start = frames[-1].partition, frames[-1].finished + timedelta(minutes=5)
    splits = {name: {"frames": share * len(frames), "originals": share * len(frames), "episodes": len(frames)}
              for name, share in (("train", 7900), ("validation", 560), ("test", 640))}  # fmt: skip
    about = {"splits": splits, "class_counts": {"chair": 512, "table": 204}, "floor_counts": {"wood": 4000}}
    dataset = commit(
        bus, "augment", "dataset", batch, {"frames": [each.reference for each in frames]}, about, start, 3.5,
        {"dataset.json": as_json(about)},
    )  # fmt: skip
    quality = 0.40 + 0.15 * number / (number + 10) - (0.05 if number % 6 == 5 else 0.0)
    history = [{"epoch": epoch, "train_total_loss": 3 / epoch} for epoch in range(1, 13)]
    scores = {"map_50": quality, "map_50_95": quality / 2, "floor_accuracy": 0.97}
    model = commit(
        bus, "train", "model", batch, {"dataset": [dataset.reference]}, {"epochs": 12, "best_epoch": 11, **scores},
        start + timedelta(minutes=4), 202.0, {"history.json": as_json(history)},
    )  # fmt: skip
    passed = number % 6 != 5
    lost = 0.01 if passed else -0.04
    rules = [{"rule": RULES[0], "value": 0.97, "interval": [0.95, 0.99], "limit": 0.95, "passed": True},
             {"rule": RULES[1], "value": quality, "interval": None, "limit": 0.4, "passed": quality >= 0.4},
             {"rule": RULES[2], "value": lost, "interval": [lost - 0.02, lost + 0.02], "limit": -0.05,
              "passed": passed},
             {"rule": RULES[3], "value": None, "limit": 0.1, "passed": None,
              "note": "no training examples"}]  # fmt: skip
    compared = [champion.reference] if champion else []
    metrics = {**scores, "distance_error_m": 0.34, "frames": 640}
    about = {"passed": passed, "rules": rules, "metrics": metrics, "champion": None, "champion_metrics": None}
    return commit(
        bus, "validate", "verdict", batch,
        {"model": [model.reference], "dataset": [dataset.reference], "champion": compared},
        {"passed": passed, **metrics}, start + timedelta(minutes=5), 9.6, {"verdict.json": as_json(about)},
        refused=None if passed else f"{RULES[2]}: {lost} in [{lost - 0.02:.3f}, {lost + 0.02:.3f}] (limit -0.05)",
    )  # fmt: skip


def release(bus: Bus, model: Manifest, verdict: Manifest, devices: int) -> Manifest:
    """Commit a release and its rollout, write the status of devices that run it, and return the rollout."""
    variants = [
        {"name": name, "precision": precision, "bytes": 800_000, "latency_ms": 0.6, "latency": "0.6 ms on x86-64",
         "quality": {"map50": 0.46, "floor_accuracy": 0.97}, "distance": {"agreement": 0.999},
         "decision": "chosen: the fastest" if name == "onnx" else "passed: slower"}
        for name, precision in VARIANTS
    ]  # fmt: skip
    report = {"chosen": "onnx", "trained": {"map50": 0.47, "floor_accuracy": 0.97}, "variants": variants}
    made = commit(
        bus, "export", "release", model.partition,
        {"model": [model.reference], "verdict": [verdict.reference], "dataset": verdict.inputs["dataset"]},
        {"chosen": "onnx", "latency": "0.576 ms on x86-64", "latency_ms": 0.576, "bundle_bytes": 788_000},
        verdict.finished + timedelta(minutes=1), 23.9, {"export_report.json": as_json(report)},
    )  # fmt: skip
    rollout = commit(
        bus, "push", "rollout", model.partition, {"release": [made.reference]}, {"ring": "canary", "release": made.id},
        verdict.finished + timedelta(minutes=2), 0.8, {"rollout.json": b"{}"},
    )  # fmt: skip
    for number in range(1, devices + 1):
        status = {
            "device": f"pi-{number}", "ring": "canary", "release": made.id, "previous": None, "state": "running",
            "inferences": 1000 * number, "errors": number // 9, "restarts": 0, "latency_ms_p50": 21.5,
            "message": "accepted", "failure": None, "updated": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        bus.put(f"fleet/pi-{number}/status.json", as_json(status))
    return rollout


def commit(
    bus: Bus, stage: str, kind: str, batch: str, inputs: Mapping[str, Sequence[str]], summary: Mapping[str, Any],
    finished: datetime, wall_s: float, files: Mapping[str, bytes], *, listed: Mapping[str, bytes] | None = None,
    size: int | None = None, refused: str | None = None, shard: str | None = None, parts: Sequence[str] = (),
) -> Manifest:  # fmt: skip
    """Commit an artifact with the payload `files`; those in `listed` are only in its manifest."""
    identity = hashlib.sha256(f"{stage}{batch}{json.dumps(inputs)}{shard or ''}".encode()).hexdigest()[:16]
    for path, content in files.items():
        bus.put(f"{kind}/{batch}/{identity}/made-up/{path}", content)
    described = [
        File(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in sorted({**(listed or {}), **files}.items())
    ]
    return bus.commit(
        Manifest(
            kind=kind,
            partition=batch,
            id=identity,
            stage=stage,
            version=1,
            config={"seed": 0, "width": 128},
            config_hash=hashlib.sha256(stage.encode()).hexdigest(),
            inputs={role: list(references) for role, references in inputs.items()},
            attempt="made-up",
            files=described,
            summary=dict(summary),
            refused=refused,
            shard=shard,
            parts=list(parts),
            environment={"python": "3.11"},
            started=finished - timedelta(seconds=wall_s),
            finished=finished,
            cost=Cost(
                wall_s=wall_s,
                work_s=wall_s * 0.9,
                cpu_s=wall_s,
                bytes_in=0,
                bytes_out=size or sum(map(len, files.values())),
            ),
        )
    )


def as_json(content: Any) -> bytes:
    """Return the content as JSON, encoded as stages encode it."""
    return json.dumps(content).encode()


def picture(shade: int) -> bytes:
    """Return a small grey PNG."""
    width, height = 64, 16
    rows = b"".join(b"\x00" + bytes([shade % 200 + 40] * width) for _ in range(height))

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
