"""Frames and datasets written as COCO: pictures beside annotations, read back by the reference implementation."""

from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from augment.frame_files import HEIGHT, WIDTH, make_row, rows_of
from augment.test_coco import read_coco
from perception_data import put_artifact

from sim2edge import coco_command
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.frames.columns import frames_schema
from sim2edge.frames.file_metadata import describe

SPLITS = ("train", "validation", "test")
FRAMES, DATASET = "frames/toy/" + "1" * 16, "dataset/toy/" + "2" * 16


@pytest.fixture
def export(bus, tmp_path, monkeypatch):
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))

    def call(reference: str, *words: str) -> Path:
        assert coco_command.main([reference, str(tmp_path / "out"), *words]) == 0
        return tmp_path / "out"

    return call


@pytest.fixture
def dataset(bus, tmp_path) -> Path:
    """A dataset whose training split has copies, on the bus."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    for split in SPLITS:
        rows = [{**make_row(f"{split}.0000", frame), "augmentation": ""} for frame in range(3)]
        rows += [{**row, "augmentation": "flip"} for row in rows if split == "train"]
        schema = describe(frames_schema().append(pa.field("augmentation", pa.string())), HEIGHT, WIDTH, None)
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{split}.parquet", row_group_size=2)
    put_artifact(bus, DATASET, folder)
    return folder


@pytest.mark.parametrize("copies", [False, True])
def test_the_command_writes_pictures_beside_the_annotations(tmp_path, dataset, export, capsys, copies):
    out = export(DATASET, *["--copies"][:copies])
    assert sorted(path.name for path in (out / "annotations").iterdir()) == sorted(
        f"instances_{split}.json" for split in SPLITS
    )
    wanted = {split: [row for row in rows_of(dataset, split) if copies or not row["augmentation"]] for split in SPLITS}
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
    return folder


def test_what_cannot_be_written_is_one_line_and_leaves_nothing(bus, tmp_path, clean_frames, export):
    put_artifact(bus, "model/toy/" + "3" * 16, clean_frames)
    with pytest.raises(BadInput, match=r"^model/toy/3{16}: is of kind model: name one of kind frames or dataset$"):
        export("model/toy/" + "3" * 16)
    assert not (tmp_path / "out").exists()
    plain = pq.read_table(clean_frames / "frames.parquet").replace_schema_metadata(None)
    pq.write_table(plain, clean_frames / "frames.parquet")
    put_artifact(bus, FRAMES, clean_frames)
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
