"""Cleaning a batch: what is kept, what is set aside and why, and when the stage refuses."""

import hashlib
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clean.episode_files import BEAMS, HEIGHT, WIDTH, make_tick, write_episode

from sim2edge.clean import STAGE
from sim2edge.clean import run as run_module
from sim2edge.errors import BadInput
from sim2edge.frames import build


def damage(log: Path, keep: float = 0.6) -> None:
    """Cut a log off."""
    log.write_bytes(log.read_bytes()[: int(log.stat().st_size * keep)])


def test_frames_say_what_the_log_said(batch, clean):
    write_episode(batch, ticks=4)
    rows = clean().rows
    assert [row["frame"] for row in rows] == [0, 1, 2, 3]
    logged, row = make_tick(0, 2), rows[2]
    box, cleaned = logged["labels"]["boxes"][0], row["boxes"][0]
    assert row["episode_id"] == "toy.0000"
    assert row["time_s"] == pytest.approx(0.2)
    assert row["lidar"] == pytest.approx(logged["ranges"], rel=1e-6)
    assert row["lidar"][3] == math.inf
    assert (row["linear_m_s"], row["angular_rad_s"]) == pytest.approx((0.5, -0.1))
    assert (row["x_m"], row["y_m"], row["yaw_rad"]) == pytest.approx((0.2, -0.2, 0.3), abs=1e-6)
    assert row["floor"] == "wood"
    assert cleaned["class"] == box["class"]
    assert cleaned["x_max"] == pytest.approx(box["x_max"] / WIDTH)
    assert cleaned["y_min"] == pytest.approx(box["y_min"] / HEIGHT)
    assert cleaned["distance_m"] == pytest.approx(box["distance_m"])


def test_images_are_resized_and_keep_their_picture(batch, clean):
    write_episode(batch, ticks=1)
    image = cv2.imdecode(np.frombuffer(clean().rows[0]["image"], np.uint8), cv2.IMREAD_COLOR)
    captured = cv2.imdecode(np.frombuffer(make_tick(0, 0)["jpeg"], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (30, 40, 3)
    small = cv2.resize(captured, (40, 30), interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - small).mean() < 4


def test_stats_measure_the_images(batch, clean):
    write_episode(batch, ticks=6)
    done = clean(jpeg_quality=100)
    images = [cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for row in done.rows]
    pixels = np.concatenate(images).reshape(-1, 3) / 255
    stats = json.loads((done.folder / "stats.json").read_text())
    assert stats["image_mean"] == pytest.approx(pixels.mean(axis=0), abs=0.01)
    assert stats["image_std"] == pytest.approx(pixels.std(axis=0), abs=0.01)
    assert stats["frames"] == stats["boxes"] == sum(stats["class_counts"].values()) == 6
    assert stats["floor_counts"]["wood"] == 6
    assert sum(stats["distance_histogram"]["counts"]) == 6
    assert stats["lidar"]["beams"] == BEAMS
    assert stats["lidar"]["step_rad"] == pytest.approx(math.tau / BEAMS)
    assert stats == done.summary


def test_only_successful_episodes_unless_told_otherwise(batch, clean):
    write_episode(batch, 0)
    write_episode(batch, 1, result={"success": False, "failure_reason": "collision"})
    done = clean()
    assert {row["episode_id"] for row in done.rows} == {"toy.0000"}
    assert done.quarantine == ["toy.0001,,failed: collision"]
    assert len(clean(only_successful=False).rows) == 10


def test_failed_episodes_are_no_defects(batch, clean):
    write_episode(batch, 0)
    for index in range(1, 4):
        write_episode(batch, index, result={"success": False, "failure_reason": "stuck"})
    assert clean(max_quarantined_fraction=0.0).summary["episodes_failed"] == 3
    assert clean(strict=True).summary["frames"] == 5


BLACK = cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()

FRAME_DEFECTS = {
    "lidar_nan: lidar_nan 1": lambda c: c["ranges"].__setitem__(5, math.nan),
    "lidar_negative: lidar_negative 1": lambda c: c["ranges"].__setitem__(5, -0.5),
    "lidar_beams: 35 beams, expected 36": lambda c: c["ranges"].pop(),
    "lidar_out_of_sync: none within 0.04 s of the image": lambda c: c.update(ranges=None),
    "image_undecodable: not a whole JPEG": lambda c: c.update(jpeg=c["jpeg"][:-40]),
    "image_undecodable: not a JPEG": lambda c: c.update(jpeg=b"\xff\xd8 no picture \xff\xd9"),
    "image_blank: image_contrast 0": lambda c: c.update(jpeg=BLACK),
    "command_wrong_type: linear_m_s: Input should be a valid number": lambda c: c["control"].update(linear_m_s="fast"),
    "command_out_of_range: angular_rad_s nan": lambda c: c["control"].update(angular_rad_s=math.nan),
    "command_out_of_range: linear_m_s 1000": lambda c: c["control"].update(linear_m_s=1000),
    "pose_out_of_range: x_m nan": lambda c: c.update(pose=(math.nan, 0, 0)),
    "unknown_floor: floor lava": lambda c: c["labels"].update(floor="lava"),
    "labels_wrong_type: boxes: Field required": lambda c: c["labels"].pop("boxes"),
    "unknown_class: class dragon": lambda c: c["labels"]["boxes"][0].update({"class": "dragon"}),
    "box_outside: x_min -0.125": lambda c: c["labels"]["boxes"][0].update(x_min=-10.0),
    "box_outside: y_max nan": lambda c: c["labels"]["boxes"][0].update(y_max=math.nan),
    "box_degenerate: no area": lambda c: c["labels"]["boxes"][0].update(x_min=20.0, x_max=20.0),
    "distance_out_of_range: distance_m -1": lambda c: c["labels"]["boxes"][0].update(distance_m=-1.0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "spoil"), FRAME_DEFECTS.items(), ids=[key.partition(":")[0] for key in FRAME_DEFECTS]
)
def test_a_bad_frame_is_set_aside_with_its_reason(batch, clean, reason, spoil):
    write_episode(batch, change=lambda tick, content: spoil(content) if tick == 2 else None)
    done = clean()
    assert [row["frame"] for row in done.rows] == [0, 1, 3, 4]
    (line,) = done.quarantine
    assert line.replace('"', "") == f"toy.0000,2,{reason}"
    assert done.summary["quarantine_counts"] == {reason.partition(":")[0]: 1}


def test_a_box_that_barely_sticks_out_is_clipped(batch, clean):
    write_episode(batch, ticks=1, change=lambda _, c: c["labels"]["boxes"][0].update(x_min=-0.3, y_max=HEIGHT + 0.3))
    box = clean().rows[0]["boxes"][0]
    assert (box["x_min"], box["y_max"]) == (0.0, 1.0)


def test_each_image_takes_the_nearest_scan(batch, clean):
    def late(tick, content):
        content["scan_time"] += 30_000_000 if tick % 2 else -20_000_000 * bool(tick)
        content["ranges"][0] = float(tick + 1)

    write_episode(batch, change=late)
    assert [row["lidar"][0] for row in clean().rows] == [1, 2, 3, 4, 5]
    assert clean(tolerance_s=0.025).summary["quarantine_counts"] == {"lidar_out_of_sync": 2}


def test_a_clock_that_jumps_back_sets_the_episode_aside(batch, clean):
    write_episode(batch, 0)
    write_episode(
        batch, 1, change=lambda tick, content: content.update(time=content["time"] - 10**9 * (tick > 3) + 10**9)
    )
    done = clean()
    assert {row["episode_id"] for row in done.rows} == {"toy.0000"}
    assert done.quarantine == ["toy.0001,,clock_jump: /camera/image goes from message 3 to the next by -0.900 s"]


def test_a_truncated_log_is_set_aside_when_others_remain(batch, clean):
    write_episode(batch, 0)
    damage(write_episode(batch, 1) / "simulation.mcap")
    done = clean()
    assert {row["episode_id"] for row in done.rows} == {"toy.0000"}
    assert done.quarantine[0].startswith("toy.0001,,unreadable: damaged or truncated")


@pytest.mark.parametrize("file", ["simulation.mcap", "result.json"])
def test_a_missing_file_sets_the_episode_aside(batch, clean, file):
    write_episode(batch, 0)
    (write_episode(batch, 1) / file).unlink()
    assert clean().quarantine == [f"toy.0001,,bad_episode: {file} is missing"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"success": "maybe"}, "bad_episode: result.json: success: Input should be a valid boolean"),
        ({"episode_id": "toy.0009"}, "bad_episode: result.json: episode_id is toy.0009"),
    ],
)
def test_a_wrong_result_sets_the_episode_aside(batch, clean, result, reason):
    write_episode(batch, 0)
    write_episode(batch, 1, result=result)
    assert clean().quarantine == [f"toy.0001,,{reason}"]


def refused(clean, **fields) -> str:
    with pytest.raises(BadInput) as caught:
        clean(**fields)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_no_episodes(clean):
    assert refused(clean) == "toy: the batch has no episodes"


def test_all_episodes_failed(batch, clean):
    for index in range(3):
        reason = "stuck" if index else "collision"
        write_episode(batch, index, result={"success": False, "failure_reason": reason})
    assert refused(clean) == "toy: all 3 episodes failed (stuck 2, collision 1); only_successful=false keeps them"


def test_no_log_can_be_read(batch, clean):
    damage(write_episode(batch, 0) / "simulation.mcap")
    message = refused(clean)
    assert message.startswith("toy: none of its 1 episodes can be used: toy.0000/simulation.mcap: damaged or truncated")


def test_strict_stops_at_the_first_defect(batch, clean):
    write_episode(batch, 0)
    damage(write_episode(batch, 1) / "simulation.mcap")
    assert refused(clean, strict=True).startswith("toy.0001: unreadable: damaged or truncated")
    write_episode(batch, 2, change=lambda tick, c: c["labels"].update(floor="lava"))
    damage(batch / "toy.0001" / "simulation.mcap", 0)
    (batch / "toy.0001" / "result.json").unlink()
    assert refused(clean, strict=True) == "toy.0001: bad_episode: result.json is missing (strict=true)"


def test_no_frame_is_left(batch, clean):
    write_episode(batch, change=lambda tick, content: content["labels"].update(floor="lava"))
    assert refused(clean, max_quarantined_fraction=1.0) == "toy: no frame is left of 5 (unknown_floor 5)"


def test_too_many_bad_frames(batch, clean):
    write_episode(batch, change=lambda tick, c: c["labels"].update(floor="lava") if tick < 3 else None)
    message = refused(clean)
    assert message.startswith("toy: 3 of 5 frames are bad, over max_quarantined_fraction=0.5 (unknown_floor 3)")


def test_too_many_bad_episodes(batch, clean):
    write_episode(batch, 0)
    for index in (1, 2):
        damage(write_episode(batch, index) / "simulation.mcap")
    assert refused(clean).startswith("toy: 2 of 3 episodes are bad, over max_quarantined_fraction=0.5 (unreadable 2)")


def test_other_beams_than_configured(batch, clean):
    write_episode(batch)
    assert refused(clean, lidar_beams=360).endswith("toy.0000/simulation.mcap: 36 LiDAR beams, expected 360")


def test_the_same_bytes_again_and_with_two_workers(batch, clean, monkeypatch):
    for index in range(3):
        write_episode(batch, index, change=lambda tick, c: c["labels"].update(floor="lava") if tick == 1 else None)
    first = clean(workers=1).read()
    assert clean(workers=1).read() == first
    monkeypatch.setattr(run_module, "BYTES_A_PROCESS", 1)
    monkeypatch.setattr(build, "CHECK_ROWS", 1)
    assert clean(workers=2).read() == first


def test_row_groups_have_the_configured_size(batch, clean):
    for index in range(3):
        write_episode(batch, index)
    file = pq.ParquetFile(clean(row_group_rows=4).folder / "frames.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [4, 4, 4, 3]


def test_golden_output(batch, clean):
    """Raise the stage's version, and then this, when the output changes on purpose."""
    for index in range(2):
        write_episode(batch, index)
    done = clean()
    rows = done.rows
    images = b"".join(row.pop("image") for row in rows)
    metadata = pq.read_schema(done.folder / "frames.parquet").metadata[b"sim2edge"]
    written = repr(rows).encode() + (done.folder / "stats.json").read_bytes() + metadata
    digest = hashlib.sha256(images + written).hexdigest()
    assert (STAGE.version, digest[:16]) == (3, "7718ae51c2be2a93")
