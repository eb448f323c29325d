"""Drives without LiDAR, pose or command: null in the columns of a frame, if the episode declares them absent."""

import json
import math

import pytest
from clean.episode_files import BEAMS, CAMERA_ONLY, only_camera, write_episode

from sim2edge.errors import BadInput

MOTION = ("lidar", "linear_m_s", "angular_rad_s", "x_m", "y_m", "yaw_rad")


def test_a_drive_with_a_camera_only_has_null_where_nothing_was_measured(batch, clean):
    write_episode(batch, change=only_camera, result=CAMERA_ONLY)
    done = clean()
    assert (len(done.rows), done.quarantine) == (5, [])
    assert {row[name] for row in done.rows for name in MOTION} == {None}
    stats = json.loads((done.folder / "stats.json").read_text())
    assert stats["lidar"] is None
    assert stats["roles"] == {"scan": 0.0, "pose": 0.0, "command": 0.0}
    report = (done.folder / "report.html").read_text()
    assert "no LiDAR beams" in report
    assert "0.0 %</b><span>frames with a scan" in report


def test_drives_with_and_without_a_lidar_share_a_batch(batch, clean):
    write_episode(batch, 0, change=only_camera, result=CAMERA_ONLY)
    write_episode(batch, 1)
    done = clean()
    scans = {row["episode_id"]: row["lidar"] for row in done.rows}
    assert scans["toy.0000"] is None
    assert (len(scans["toy.0001"]), scans["toy.0001"][3]) == (BEAMS, math.inf)
    assert done.summary["roles"] == {"scan": 0.5, "pose": 0.5, "command": 0.5}
    assert done.summary["lidar"]["beams"] == BEAMS
    assert done.summary["lidar"]["returned_fraction"] == pytest.approx(1 - 1 / BEAMS)  # of the measured scans


def test_a_drive_without_poses_keeps_its_scans_and_commands(batch, clean):
    write_episode(batch, change=lambda tick, content: content.update(pose=None), result={"absent": ["pose"]})
    row = clean().rows[0]
    assert (row["x_m"], row["yaw_rad"]) == (None, None)
    assert row["linear_m_s"] == 0.5
    assert len(row["lidar"]) == BEAMS


def test_an_episode_that_lacks_a_topic_without_saying_so_stays_unreadable(batch, clean):
    write_episode(batch, 0)
    write_episode(batch, 1, change=only_camera)
    write_episode(batch, 2, change=only_camera, result={"absent": ["scan", "pose"]})
    assert clean(max_quarantined_fraction=0.9).quarantine == [
        'toy.0001,,"unreadable: no messages on /lidar/scan, /robot/pose, /robot/control"',
        "toy.0002,,unreadable: no messages on /robot/control",
    ]


def test_no_episode_can_declare_its_labels_absent(batch, clean):
    write_episode(batch, 0)
    log = batch / "toy.0000" / "simulation.mcap"
    data = log.read_bytes()
    write_episode(batch, 1, result={"absent": ["labels", "image"]})
    (batch / "toy.0001" / "simulation.mcap").write_bytes(data.replace(b"/labels", b"/labelz"))
    assert "unreadable" in clean().quarantine[0]


def test_a_partner_that_is_late_in_a_topic_of_the_log_still_costs_its_frame(batch, clean):
    def one_scan_fails(tick, content):
        content.update(pose=None, ranges=None if tick == 2 else content["ranges"])

    write_episode(batch, change=one_scan_fails, result={"absent": ["pose"]})
    assert clean().quarantine == ["toy.0000,2,lidar_out_of_sync: none within 0.04 s of the image"]


def nan_pose(tick, content):
    content["pose"] = (math.nan, 0.0, 0.0) if tick == 1 else content["pose"]


def test_nan_is_no_absence(batch, clean):
    write_episode(batch, 0, change=nan_pose)
    write_episode(batch, 1, change=only_camera, result=CAMERA_ONLY)
    assert clean().quarantine == ["toy.0000,1,pose_out_of_range: x_m nan"]


def test_boxes_of_unknown_distance_are_kept_with_null(batch, clean):
    def unknown(tick, content):
        content["labels"]["boxes"][0].update(distance_m=None, bearing_rad=None)

    write_episode(batch, change=unknown)
    done = clean()
    assert {(box["distance_m"], box["bearing_rad"]) for row in done.rows for box in row["boxes"]} == {(None, None)}
    assert sum(done.summary["distance_histogram"]["counts"]) == 0
    assert done.summary["boxes"] == 5


def test_a_box_that_leaves_its_distance_out_is_quarantined(batch, clean):
    def forgotten(tick, content):
        if tick == 1:
            del content["labels"]["boxes"][0]["distance_m"]

    write_episode(batch, change=forgotten)
    assert clean().quarantine == ["toy.0000,1,labels_wrong_type: boxes.0.distance_m: Field required"]


def test_a_required_number_of_beams_is_of_scans_not_of_drives_without(batch, clean):
    write_episode(batch, change=only_camera, result=CAMERA_ONLY)
    assert len(clean(lidar_beams=360).rows) == 5
    write_episode(batch, 1)
    with pytest.raises(BadInput, match="5 of 10 frames are bad"):
        clean(lidar_beams=360, max_quarantined_fraction=0.2)
