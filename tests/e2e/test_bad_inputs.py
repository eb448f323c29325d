"""Bad inputs, each through the real command line: exit code 2, one line that names the culprit, nothing new or lost.

What a device refuses (expired, tampered, rolled-back metadata and more) is in `tests/edge/test_ota_updater.py`.
"""

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A command line (`{role}` stands for the reference a stage of the tiny pipeline made) and what it has to say."""

    name: str
    words: list[str]
    message: str
    environment: dict[str, str] = field(default_factory=dict)


NOWHERE = "0123456789abcdef"
COMMAND_LINES = [
    Case("unknown key", ["capture", "--partition", "bad", "colour=red"], "capture.colour: unknown key"),
    Case("unknown nested key", ["capture", "--partition", "bad", "lidar.beems=3"], "capture.lidar.beems: unknown key"),
    Case("wrong type", ["train", "--input", "dataset={augment}", "epochs=many"], "train.epochs: "),
    Case("out of range", ["capture", "--partition", "bad", "episodes=0"], "capture.episodes: "),
    Case("not a number", ["augment", "brightness=.nan"], "augment.brightness: "),
    Case("no partition", ["capture"], "--partition is missing"),
    Case("hostile partition", ["capture", "--partition", "../refs"], "partition '../refs'"),
    Case("unknown preset", ["capture", "--partition", "bad", "--preset", "../demo"], "preset '../demo' is not one of"),
    Case("unknown command", ["fly"], "'fly' is not a command"),
    Case("unknown input", ["clean", "--input", "clouds={capture}"], "input 'clouds' is not one of: episodes"),
    Case("input of another kind", ["clean", "--input", "episodes={clean}"], "takes episodes, not frames/"),
    Case("malformed reference", ["clean", "--input", "episodes=episodes/../x"], "'episodes/../x' is not an artifact"),
    Case("no such artifact", ["clean", "--input", f"episodes=episodes/bad/{NOWHERE}"], f"episodes/bad/{NOWHERE}"),
    Case("no such batch", ["clean", "--partition", "nowhere"], "input 'episodes' is missing"),
    Case("no such ref", ["train", "--input", "dataset=refs/datasets/none"], "refs/datasets/none: no such ref"),
    Case(
        "two for one",
        ["clean", "--input", "episodes={capture}", "--input", f"episodes=episodes/bad/{NOWHERE}"],
        "2 were",
    ),
    Case("empty test split", ["augment", "test=0.0001"], "test"),
    Case("wrong secret", ["clean", "--partition", "tiny-1"], "refused the credentials", {"AWS_SECRET_ACCESS_KEY": "x"}),
    Case("no bucket", ["clean", "--partition", "tiny-1"], "SIM2EDGE_BUCKET is not set", {"SIM2EDGE_BUCKET": ""}),
    Case(
        "no keys", ["push", "--input", "release={export}", "ring=beta"], "ota init", {"SIM2EDGE_KEYS": "/nowhere/keys"}
    ),
]


def check(pipeline, ended, before, message) -> None:
    """Exit code 2, one line that says it, no traceback, and the bus as it was."""
    assert ended.code == 2, (ended.code, ended.err[-2000:])
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if line.startswith("sim2edge: ")]
    assert len(lines) == 1, ended.err
    assert message in lines[0]
    assert {manifest.reference for manifest in pipeline.bus.manifests()} == before


@pytest.mark.parametrize("case", COMMAND_LINES, ids=lambda case: case.name)
def test_a_bad_command_line(pipeline, case):
    before = {manifest.reference for manifest in pipeline.bus.manifests()}
    words = [word.format(**pipeline.references) for word in case.words]
    ended = type(pipeline)(pipeline.environment | case.environment).run(*words)
    check(pipeline, ended, before, case.message)


def forge(pipeline, stage, folder: Path, change) -> str:
    """Commit a changed copy of a stage's artifact under another id, with a manifest that fits; its reference."""
    bus = pipeline.bus
    manifest = bus.open(pipeline.references[stage])
    bus.fetch(manifest, folder)
    change(folder)
    forged = manifest.model_copy(update={"id": f"{abs(hash(folder)) % 16**16:016x}", "attempt": "forged"})
    files = bus.upload(forged.reference, "forged", folder)
    return bus.commit(forged.model_copy(update={"files": list(files)})).reference


def each_episode(change):
    return lambda folder: [change(path.parent) for path in sorted(folder.glob("*/result.json"))]


def truncate(pattern):
    def cut(folder: Path) -> None:
        for path in sorted(folder.glob(pattern)):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])

    return cut


def overwrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def rewrite_table(name, change):
    def rewrite(folder: Path) -> None:
        table = pq.read_table(folder / name)
        pq.write_table(change(table), folder / name)

    return rewrite


def fail_episode(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"success": False, "failure_reason": "collision"}))


def nan_lidar(table: pa.Table) -> pa.Table:
    beams = len(table["lidar"][0])
    rows = pa.array([[float("nan")] * beams] * table.num_rows, table.schema.field("lidar").type)
    return table.set_column(table.schema.get_field_index("lidar"), table.schema.field("lidar"), rows)


def corrupt_images(table: pa.Table) -> pa.Table:
    images = pa.array([b"not a jpeg"] * table.num_rows, pa.binary())
    return table.set_column(table.schema.get_field_index("image"), "image", images)


def unknown_floor(table: pa.Table) -> pa.Table:
    floors = pa.array(["lava"] * table.num_rows, pa.string())
    return table.set_column(table.schema.get_field_index("floor"), "floor", floors)


def other_classes(folder: Path) -> None:
    meta = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(meta | {"classes": ["dragon"]}))


DATA = [
    ("truncated MCAP everywhere", "capture", truncate("*/simulation.mcap"), "clean", "episodes", "simulation.mcap"),
    (
        "zero episodes",
        "capture",
        lambda f: [shutil.rmtree(p) for p in f.iterdir() if p.is_dir()],
        "clean",
        "episodes",
        "",
    ),
    ("all episodes failed", "capture", each_episode(fail_episode), "clean", "episodes", "fail"),
    ("truncated frames", "clean", truncate("frames.parquet"), "augment", "frames", "frames.parquet"),
    ("NaN LiDAR", "clean", rewrite_table("frames.parquet", nan_lidar), "augment", "frames", "lidar"),
    (
        "missing column",
        "clean",
        rewrite_table("frames.parquet", lambda t: t.drop_columns(["floor"])),
        "augment",
        "frames",
        "floor",
    ),
    ("empty frames", "clean", rewrite_table("frames.parquet", lambda t: t.slice(0, 0)), "augment", "frames", ""),
    ("not a dataset.json", "augment", overwrite("dataset.json", b"{"), "train", "dataset", "dataset.json"),
    ("corrupt images", "augment", rewrite_table("train.parquet", corrupt_images), "train", "dataset", "train.parquet"),
    ("unknown floor", "augment", rewrite_table("train.parquet", unknown_floor), "train", "dataset", "lava"),
    (
        "empty training split",
        "augment",
        rewrite_table("train.parquet", lambda t: t.slice(0, 0)),
        "train",
        "dataset",
        "train",
    ),
    ("garbage weights", "train", overwrite("model.pt", b"garbage"), "validate", "model", "model.pt"),
    ("other classes", "augment", other_classes, "validate", "dataset", "dragon"),
    ("verdict of another model", "train", lambda folder: None, "export", "model", "is about"),
    ("not a bundle", "export", overwrite("bundle.tar", b"not a tar"), "push", "release", "bundle.tar"),
]


@pytest.mark.parametrize(("name", "made_by", "change", "stage", "role", "message"), DATA, ids=[row[0] for row in DATA])
def test_bad_data(pipeline, tmp_path, name, made_by, change, stage, role, message):
    reference = forge(pipeline, made_by, tmp_path, change)
    before = {manifest.reference for manifest in pipeline.bus.manifests()}
    ended = pipeline.run(*pipeline.words(stage, **{role: reference}))
    check(pipeline, ended, before, message)


@pytest.mark.parametrize("damage", ["flipped", "missing", "manifest"])
def test_a_damaged_object_is_named_and_stops_the_stage(pipeline, tmp_path, damage):
    reference = forge(pipeline, "clean", tmp_path, lambda folder: None)
    bus = pipeline.bus
    key = f"{reference}/forged/frames.parquet" if damage != "manifest" else f"{reference}/manifest.json"
    data = bytearray(bus.get(key))
    data[len(data) // 2] ^= 1
    if damage == "missing":
        bus.delete([key])
    else:
        bus.put(key, bytes(data) if damage == "flipped" else bytes(data[:100]))
    ended = pipeline.run("augment", "--input", f"frames={reference}")
    bus.delete([f"{reference}/manifest.json"])
    assert ended.code == 2
    assert reference in ended.err
    assert ended.err.count("\n") == 1


def test_a_full_scratch_folder_is_one_line_and_leaves_nothing(pipeline, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(full)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        before = {manifest.reference for manifest in pipeline.bus.manifests()}
        tight = type(pipeline)(pipeline.environment | {"SIM2EDGE_SCRATCH": str(full)})
        for words in (
            ["clean", "--input", f"episodes={pipeline.references['capture']}", "jpeg_quality=80"],
            ["capture", "--partition", "full"],
        ):
            check(pipeline, tight.run(*words), before, "no space left")
            assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
