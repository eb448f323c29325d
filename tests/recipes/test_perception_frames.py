"""Whatever is wrong with a dataset is said in one line that names file, row or field."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from perception_data import make_rows, write_dataset, write_split

from sim2edge.errors import BadInput
from sim2edge.recipes.perception_frames import DatasetTable, read_frames


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), train=4, validation=2, test=2)


@pytest.fixture(scope="module")
def table(dataset):
    return DatasetTable.read(dataset / "dataset.json")


def test_frames_are_read_as_written(dataset, table):
    frames, rows = read_frames(dataset / "train.parquet", table), make_rows(4, seed=0)
    assert frames.images.shape == (4, 48, 64, 3)
    assert [table.floors[floor] for floor in frames.floors] == [row["floor"] for row in rows]
    assert np.diff(frames.starts).tolist() == [len(row["boxes"]) for row in rows]
    first = rows[0]["boxes"][0]
    np.testing.assert_allclose(frames.boxes[0], [first[s] for s in ("x_min", "y_min", "x_max", "y_max")], atol=1e-6)


def test_frames_without_boxes_are_read(tmp_path, table):
    write_split(tmp_path / "a.parquet", [{**row, "boxes": []} for row in make_rows(3, seed=1)])
    frames = read_frames(tmp_path / "a.parquet", table)
    assert frames.boxes.shape == (0, 4)
    assert frames.starts.tolist() == [0, 0, 0, 0]


def test_an_unknown_distance_is_read_as_nan(tmp_path, table):
    rows = make_rows(3, seed=1)
    rows[1] = change_box(distance_m=None)(rows[1])
    write_split(tmp_path / "a.parquet", rows)
    frames = read_frames(tmp_path / "a.parquet", table)
    assert np.flatnonzero(np.isnan(frames.distances_m)).tolist() == [frames.starts[1]]


def change_box(**fields):
    return lambda row: {**row, "boxes": [{**row["boxes"][0], **fields}]}


BAD_ROWS = {
    "image is not a JPEG": lambda row: {**row, "image": b"\xff\xd8 not a picture"},
    "image is not a JPEG ": lambda row: {**row, "image": b""},
    "image is 32x16, not 64x48": lambda row: {**row, "image": make_rows(1, 0, 16, 32)[0]["image"]},
    "floor 'lava' is not one of: wood": lambda row: {**row, "floor": "lava"},
    "class 'dragon' is not one of: box": change_box(**{"class": "dragon"}),
    "box has no area inside the image": change_box(x_min=0.9, x_max=0.8),
    "box has no area inside the image ": change_box(x_min=float("nan")),
    "box has no area inside the image  ": change_box(y_max=1.5),
    "distance_m is not a distance": change_box(distance_m=float("nan")),
    "distance_m is not a distance ": change_box(distance_m=-1.0),
}


@pytest.mark.parametrize("message", BAD_ROWS)
def test_a_bad_row_is_named(tmp_path, table, message):
    rows = make_rows(5, seed=2)
    rows[3] = BAD_ROWS[message](rows[3])
    write_split(tmp_path / "train.parquet", rows)
    with pytest.raises(BadInput) as error:
        read_frames(tmp_path / "train.parquet", table)
    assert str(error.value).startswith("train.parquet: row 3 (toy-2.0000, frame 3): " + message.strip())
    assert "\n" not in str(error.value)


def test_a_torn_file_is_named(tmp_path, dataset, table):
    (tmp_path / "train.parquet").write_bytes((dataset / "train.parquet").read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"train\.parquet: not a Parquet file of frames"):
        read_frames(tmp_path / "train.parquet", table)


def test_an_empty_split_is_named(tmp_path, table):
    write_split(tmp_path / "validation.parquet", [])
    with pytest.raises(BadInput, match=r"validation\.parquet: no frames"):
        read_frames(tmp_path / "validation.parquet", table)


def test_a_missing_column_is_named(tmp_path, table):
    pq.write_table(pa.table({"image": [b"x"], "frame": [1]}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"a.parquet: .*'?(episode_id|floor|boxes)"):
        read_frames(tmp_path / "a.parquet", table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 50}, "multiples of 16"),
        ({"image_mean": [0.5]}, "expected three channels"),
        ({"image_std": [0.2, 0.0, 0.2]}, "image_std: expected positive numbers"),
        ({"class_weights": {"box": 1.0}}, "field 'cylinder' is missing"),
        ({"class_weights": None}, "dataset.json: "),
        ({"floors": None}, "dataset.json: "),
        ({"classes": ["box", "box"], "class_weights": {"box": 1.0}}, "dataset.json: classes: 'box' is named twice"),
        ({"floors": ["wood", "rug", "wood"]}, "dataset.json: floors: 'wood' is named twice"),
    ],
)
def test_a_bad_field_of_dataset_json_is_named(tmp_path, dataset, change, message):
    content = json.loads((dataset / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(content | change))
    with pytest.raises(BadInput, match=message):
        DatasetTable.read(tmp_path / "dataset.json")


def test_dataset_json_that_is_not_json(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(BadInput, match=r"dataset\.json: "):
        DatasetTable.read(tmp_path / "dataset.json")
