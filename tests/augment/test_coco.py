"""Frames and datasets as COCO, read back by the reference implementation."""

import contextlib
import io
import json
from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from augment.frame_files import HEIGHT, WIDTH, make_row, make_stats, rows_of, write_batch
from perception_data import put_artifact
from pycocotools.coco import COCO

from sim2edge import coco_command
from sim2edge.augment.split import SPLITS
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.frames.columns import frames_schema
from sim2edge.frames.file_metadata import describe
from sim2edge.recipes.perception import CLASSES

FRAMES, DATASET = "frames/toy/" + "1" * 16, "dataset/toy/" + "2" * 16


def read_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_the_dataset_has_the_truth_of_every_split_row_by_row(tmp_path, augment):
    folder = augment(write_batch(tmp_path, "one"))
    for split in SPLITS:
        truth, rows = read_coco(folder / f"{split}.coco.json"), rows_of(folder, split)
        assert truth.getImgIds() == list(range(1, len(rows) + 1))
        assert [each["name"] for each in truth.loadCats(truth.getCatIds())] == list(CLASSES)
        for number, row in enumerate(rows, 1):
            (image,) = truth.loadImgs(number)
            assert (image["episode_id"], image["frame"], image["floor"]) == (
                row["episode_id"], row["frame"], row["floor"],
            )  # fmt: skip
            assert (image["height"], image["width"]) == (HEIGHT, WIDTH)
            found = truth.loadAnns(truth.getAnnIds(imgIds=[number]))
            assert [CLASSES[each["category_id"] - 1] for each in found] == [box["class"] for box in row["boxes"]]
            for annotation, box in zip(found, row["boxes"], strict=True):
                x, y, wide, high = annotation["bbox"]
                assert (x / WIDTH, y / HEIGHT) == pytest.approx((box["x_min"], box["y_min"]), abs=1e-12)
                assert ((x + wide) / WIDTH, (y + high) / HEIGHT) == pytest.approx(
                    (box["x_max"], box["y_max"]), abs=1e-12
                )
                assert annotation["area"] == pytest.approx(wide * high)
                assert (annotation["distance_m"], annotation["bearing_rad"]) == (box["distance_m"], box["bearing_rad"])
        names = [image["file_name"] for image in truth.loadImgs(truth.getImgIds())]
        assert len(set(names)) == len(names)


def test_what_a_box_lacks_is_left_out(tmp_path, augment):
    rows = [make_row(f"one.{episode:04d}", frame) for episode in range(12) for frame in range(2)]
    for row in rows:
        row["boxes"][0]["distance_m"] = row["boxes"][0]["bearing_rad"] = None
        row["boxes"] = row["boxes"][:1]
    table = pa.Table.from_pylist(rows, frames_schema())
    folder = augment(write_batch(tmp_path, "one", table=table, frames=2))
    text = (folder / "test.coco.json").read_text()
    assert "distance_m" not in text
    assert "NaN" not in text
    assert read_coco(folder / "test.coco.json").getAnnIds()


@pytest.fixture
def export(bus, tmp_path, monkeypatch):
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))

    def call(reference: str, *words: str) -> Path:
        assert coco_command.main([reference, str(tmp_path / "out"), *words]) == 0
        return tmp_path / "out"

    return call


def put_dataset(bus, tmp_path, augment) -> Path:
    folder = augment(write_batch(tmp_path, "one"))
    put_artifact(bus, DATASET, folder)
    return folder


@pytest.mark.parametrize("copies", [False, True])
def test_the_command_writes_pictures_beside_the_annotations(bus, tmp_path, augment, export, capsys, copies):
    source = put_dataset(bus, tmp_path, augment)
    out = export(DATASET, *["--copies"][:copies])
    assert sorted(path.name for path in (out / "annotations").iterdir()) == sorted(
        f"instances_{split}.json" for split in SPLITS
    )
    wanted = {split: [row for row in rows_of(source, split) if copies or not row["augmentation"]] for split in SPLITS}
    for split, rows in wanted.items():
        truth = read_coco(out / "annotations" / f"instances_{split}.json")
        images = truth.loadImgs(truth.getImgIds())
        assert [(out / "images" / image["file_name"]).read_bytes() for image in images] == [
            row["image"] for row in rows
        ]
        assert len(truth.getAnnIds()) == sum(len(row["boxes"]) for row in rows)
        assert cv2.imread(str(out / "images" / images[0]["file_name"])).shape == (HEIGHT, WIDTH, 3)
    assert "instances_test.json: " in capsys.readouterr().out
    assert not list(tmp_path.glob(".out*"))


def test_frames_of_one_batch_too(bus, tmp_path, clean_frames, export):
    put_artifact(bus, FRAMES, clean_frames)
    truth = read_coco(export(FRAMES) / "annotations" / "instances_frames.json")
    assert len(truth.getImgIds()) == len(pq.read_table(clean_frames / "frames.parquet"))


@pytest.fixture
def clean_frames(tmp_path) -> Path:
    """Frames whose file describes itself."""
    folder = tmp_path / "cleaned"
    folder.mkdir()
    rows = [make_row("toy.0000", frame) for frame in range(3)]
    table = pa.Table.from_pylist(rows, describe(frames_schema(), HEIGHT, WIDTH, None))
    pq.write_table(table, folder / "frames.parquet")
    (folder / "stats.json").write_text(json.dumps(make_stats()))
    return folder


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(bus, tmp_path, clean_frames, export):
    put_artifact(bus, "model/toy/" + "3" * 16, clean_frames)
    with pytest.raises(BadInput, match=r"^model/toy/3{16}: is of kind model: name one of kind frames or dataset$"):
        export("model/toy/" + "3" * 16)
    assert not (tmp_path / "out").exists()
    old = write_batch(tmp_path, "old")
    put_artifact(bus, FRAMES, old.folder)
    with pytest.raises(BadInput, match="parquet: does not describe itself: make it again"):
        export(FRAMES)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(BadInput, match="out: not an empty folder"):
        export(FRAMES)


def test_an_episode_cannot_name_a_place_elsewhere(bus, tmp_path, clean_frames, export):
    table = pq.read_table(clean_frames / "frames.parquet")
    bad = table.set_column(0, "episode_id", pa.array(["../../elsewhere"] * len(table)))
    pq.write_table(bad, clean_frames / "frames.parquet")
    put_artifact(bus, FRAMES, clean_frames)
    with pytest.raises(BadInput, match="episode_id"):
        export(FRAMES)
    assert not (tmp_path / "out").exists()
