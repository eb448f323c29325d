"""A dataset as COCO, read back by the reference implementation."""

import contextlib
import io
from pathlib import Path

import pyarrow as pa
from augment.frame_files import HEIGHT, WIDTH, make_row, rows_of, write_batch
from pycocotools.coco import COCO

from sim2edge.augment.split import SPLITS
from sim2edge.frames.columns import frames_schema
from sim2edge.recipes.perception import CLASSES


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
                corners = x / WIDTH, y / HEIGHT, (x + wide) / WIDTH, (y + high) / HEIGHT
                wanted = [box[side] for side in ("x_min", "y_min", "x_max", "y_max")]
                assert max(abs(a - b) for a, b in zip(corners, wanted, strict=True)) < 1e-12
                assert annotation["area"] == wide * high
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
