"""Clean and augment as stages on a bus: refs move, results are found again, the same files come out."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from clean.episode_files import write_episode

from sim2edge import plan as plans
from sim2edge import runner
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.manifest import Cost, Manifest
from sim2edge.progress import JsonProgress
from sim2edge.reproduce import compare_bytes

CLEAN = ["height=24", "width=32", "report_frames=2"]
AUGMENT = ["validation=0.25", "test=0.25", "copies=1"]


@pytest.fixture
def episodes(bus: Bus, tmp_path: Path) -> str:
    """A committed batch of episodes."""
    for index in range(12):
        write_episode(tmp_path / "toy", index, ticks=3)
    now = datetime.now(UTC)
    manifest = Manifest(
        kind="episodes", partition="toy", id="a" * 16, stage="capture", version=1, config={}, config_hash="",
        inputs={}, attempt="b", files=list(bus.upload("episodes/toy/" + "a" * 16, "b", tmp_path / "toy")), summary={},
        environment={}, started=now, finished=now, cost=Cost(wall_s=0, work_s=0, cpu_s=0, bytes_in=0, bytes_out=0),
    )  # fmt: skip
    bus.commit(manifest)
    bus.move_ref("refs/batches/toy", manifest.reference)
    return manifest.reference


def run(bus: Bus, stage: str, overrides: list[str]) -> tuple[plans.Plan, Manifest]:
    plan = plans.plan(bus, stage, partition="toy", overrides=overrides)
    return plan, runner.execute(bus, plan, JsonProgress(stage))


def test_from_episodes_to_a_dataset(bus, episodes, tmp_path):
    for stage, overrides, ref in (("clean", CLEAN, "refs/frames/toy"), ("augment", AUGMENT, "refs/datasets/current")):
        plan, manifest = run(bus, stage, overrides)
        assert bus.read_ref(ref).target == manifest.reference
        assert run(bus, stage, [*overrides, "workers=1"])[0].manifest == manifest
        work = tmp_path / stage
        work.mkdir()
        assert compare_bytes(manifest.files, runner.dry_run(bus, plan, JsonProgress(stage), work)[0]) == []
    assert set(manifest.inputs) == {"frames"}
    assert manifest.summary["splits"]["test"]["frames"] > 0


def test_another_augmentation_needs_no_other_frames(bus, episodes):
    _, frames = run(bus, "clean", CLEAN)
    first, second = (run(bus, "augment", [*AUGMENT, f"brightness={level}"])[1] for level in (10, 20))
    assert first.id != second.id
    assert first.inputs == second.inputs == {"frames": [frames.reference]}
    assert plans.plan(bus, "clean", partition="toy", overrides=CLEAN).manifest == frames


def test_augment_without_frames_says_what_is_missing(bus):
    with pytest.raises(BadInput, match=r"augment: input 'frames' is missing"):
        plans.plan(bus, "augment", partition="toy")
