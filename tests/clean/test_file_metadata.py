"""What frames.parquet says of itself, to a reader that has nothing but the file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clean.episode_files import BEAMS, write_episode

from sim2edge.frames.columns import frames_schema
from sim2edge.frames.episode import Scan
from sim2edge.frames.file_metadata import UNITS, describe
from sim2edge.recipes.perception import CLASSES, FLOORS

WORDS = {"episode_id", "frame", "image", "floor", "drive", "boxes", "boxes.class"}
"""Columns without a unit."""


def test_the_file_carries_its_classes_image_size_beam_angles_and_units(batch, clean):
    write_episode(batch)
    done = clean(row_group_rows=2)
    found = json.loads(pq.ParquetFile(done.folder / "frames.parquet").metadata.metadata[b"sim2edge"])
    assert (found["classes"], found["floors"]) == (list(CLASSES), list(FLOORS))
    assert (found["image"]["height"], found["image"]["width"]) == (30, 40)
    scan = done.summary["lidar"]
    assert found["lidar"] == {name: scan[name] for name in ("beams", "start_rad", "step_rad")}
    assert found["lidar"]["beams"] == BEAMS
    assert found["units"]["boxes.distance_m"] == "m"


def test_every_number_has_a_unit():
    schema = frames_schema()
    box = schema.field("boxes").type.value_type
    columns = {*schema.names, *(f"boxes.{box.field(index).name}" for index in range(box.num_fields))}
    assert set(UNITS) == columns - WORDS


@pytest.mark.parametrize("scan", [Scan(4, 0.0, 1.5), None])
def test_units_are_those_of_the_file_and_a_file_without_lidar_says_so(scan):
    found = json.loads(describe(pa.schema([("time_s", pa.float64())]), 3, 4, scan).metadata[b"sim2edge"])
    assert found["units"] == {"time_s": "s"}
    assert (found["lidar"] is None) == (scan is None)
