"""Making a dataset: what goes where, the same bytes every time, and when the stage refuses."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from augment.frame_files import BEAMS, HEIGHT, WIDTH, make_row, rows_of, write_batch
from pydantic import ValidationError

from sim2edge.augment import STAGE
from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.split import SPLITS, split_of
from sim2edge.errors import BadInput
from sim2edge.frames.columns import frames_schema
from sim2edge.stage import Artifact


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_episode_is_in_two_splits_and_none_is_lost(tmp_path, augment):
    folder = augment(write_batch(tmp_path, "one"), copies=0)
    episodes = {split: {row["episode_id"] for row in rows_of(folder, split)} for split in SPLITS}
    assert sum(map(len, episodes.values())) == len(set.union(*episodes.values())) == 12
    assert all(split_of(each, 0.25, 0.25) == split for split in SPLITS for each in episodes[split])


def test_originals_are_passed_on_untouched(tmp_path, augment):
    batch = write_batch(tmp_path, "one")
    folder = augment(batch)
    before = {
        (row["episode_id"], row["frame"]): row for row in pq.read_table(batch.folder / "frames.parquet").to_pylist()
    }
    kept = [row for split in SPLITS for row in rows_of(folder, split) if row.pop("augmentation") == ""]
    assert len(kept) == len(before)
    assert all(row == before[row["episode_id"], row["frame"]] for row in kept)


def test_only_training_frames_are_varied(tmp_path, augment):
    folder = augment(write_batch(tmp_path, "one"), copies=3, oversample=0)
    assert all(row["augmentation"] == "" for split in ("validation", "test") for row in rows_of(folder, split))
    rows = rows_of(folder, "train")
    varied = [row for row in rows if row["augmentation"]]
    assert len(varied) == 3 * (len(rows) - len(varied)) > 0
    assert len({row["augmentation"] for row in varied}) == len(varied)
    for row in varied:
        image = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert len(row["lidar"]) == BEAMS
        assert row["angular_rad_s"] == (-0.25 if "flip" in row["augmentation"] else 0.25)


def test_rare_classes_get_more_copies(tmp_path, augment):
    batch = write_batch(tmp_path, "one")  # "person" is on the first frame of an episode only
    even = json.loads((augment(batch, oversample=0, crop_probability=0) / "dataset.json").read_text())
    more = json.loads((augment(batch, oversample=1, crop_probability=0) / "dataset.json").read_text())
    share = [each["class_counts"]["person"] / sum(each["class_counts"].values()) for each in (even, more)]
    assert share[1] > share[0]
    assert more["class_weights"]["person"] < even["class_weights"]["person"]


def test_batches_are_gathered_in_order(tmp_path, augment):
    one, two = write_batch(tmp_path, "one", image_mean=[0.2] * 3), write_batch(tmp_path, "two", image_mean=[0.4] * 3)
    folder = augment(one, two, copies=1)
    batches = [row["episode_id"].partition(".")[0] for row in rows_of(folder, "train")]
    assert batches == sorted(batches)
    assert set(batches) == {"one", "two"}
    described = json.loads((folder / "dataset.json").read_text())
    assert described["frames_artifacts"] == [one.manifest.reference, two.manifest.reference]
    assert described["image_mean"] == pytest.approx([0.3] * 3)
    assert described["image_std"][0] == pytest.approx(math.sqrt(0.2**2 + 0.1**2))
    assert sum(each["originals"] for each in described["splits"].values()) == 144
    assert described["splits"]["train"]["frames"] == len(batches)


def test_a_new_batch_moves_no_old_episode(tmp_path, augment):
    one, two = write_batch(tmp_path, "one"), write_batch(tmp_path, "two")
    alone, both = augment(one), augment(one, two)
    for split in SPLITS:
        before = {row["episode_id"] for row in rows_of(alone, split)}
        assert before <= {row["episode_id"] for row in rows_of(both, split)}


def test_the_same_bytes_again_and_with_other_workers(tmp_path, augment):
    batch = write_batch(tmp_path, "one", episodes=20, frames=12)
    first = read(augment(batch, workers=1))
    assert read(augment(batch, workers=1)) == first
    assert read(augment(batch, workers=3)) == first
    assert read(augment(batch, seed=1))["train.parquet"] != first["train.parquet"]


def test_row_groups_have_the_configured_size(tmp_path, augment):
    file = pq.ParquetFile(augment(write_batch(tmp_path, "one"), row_group_rows=16) / "train.parquet")
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    assert set(sizes[:-1]) == {16}


def test_golden_output(tmp_path, augment):
    """Raise the stage's version, and then this, when the output changes on purpose."""
    folder = augment(write_batch(tmp_path, "one"))
    rows = [row for split in SPLITS for row in rows_of(folder, split)]
    digest = hashlib.sha256(repr(rows).encode() + (folder / "dataset.json").read_bytes()).hexdigest()
    assert (STAGE.version, digest[:16]) == (3, "81fec61c3c0b345f")


def refused(augment, *batches: Artifact, **fields: Any) -> str:
    with pytest.raises(BadInput) as caught:
        augment(*batches, **fields)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_empty_split_is_refused(tmp_path, augment):
    message = refused(augment, write_batch(tmp_path, "one", episodes=1))
    assert message == (
        "the validation split is empty: none of 1 episodes falls into it (validation=0.25, test=0.25); "
        "add episodes or change the shares"
    )


def test_one_episode_in_two_batches(tmp_path, augment):
    one = write_batch(tmp_path, "one")
    (tmp_path / "again").mkdir()
    other = Artifact(write_batch(tmp_path, "two").manifest, write_batch(tmp_path / "again", "one").folder)
    assert refused(augment, one, other).startswith("frames/two/0000000000000000: episode one.0000 is in frames/one/")


def test_a_batch_that_does_not_fit_most_frames_is_set_aside_with_the_reason(tmp_path, augment, capsys):
    usual = write_batch(tmp_path, "one")
    alone = read(augment(usual))
    misfit = write_batch(tmp_path, "two", episodes=2, height=48)
    dataset = json.loads((augment(usual, misfit) / "dataset.json").read_text())
    line = (
        "frames/two/0000000000000000: height is 48, not 24: clean it with the settings of frames/one/0000000000000000"
    )
    assert dataset.pop("set_aside") == [line]
    assert f"set aside {line}" in capsys.readouterr().out
    assert dataset == json.loads(alone["dataset.json"])


def test_what_most_frames_are_like_counts_not_most_batches_nor_the_order(tmp_path, augment):
    few = [write_batch(tmp_path, name, episodes=2, width=16) for name in ("a", "b", "c")]
    many = write_batch(tmp_path, "many", episodes=24)
    for order in ([many, *few], [*few, many]):
        dataset = json.loads((augment(*order) / "dataset.json").read_text())
        assert dataset["frames_artifacts"] == ["frames/many/0000000000000000"]
        assert len(dataset["set_aside"]) == 3


def change_column(name: str, values: Any) -> pa.Table:
    rows = [make_row(f"one.{episode:04d}", frame) for episode in range(12) for frame in range(6)]
    table = pa.Table.from_pylist(rows, frames_schema())
    return table.set_column(table.column_names.index(name), name, values(table[name]))


def test_a_column_of_the_wrong_type(tmp_path, augment):
    table = change_column("frame", lambda column: column.cast(pa.string()))
    message = refused(augment, write_batch(tmp_path, "one", table=table))
    assert message == "frames/one/0000000000000000/frames.parquet: column 'frame' is string, expected int32"


def test_a_missing_column(tmp_path, augment):
    table = change_column("frame", lambda column: column).drop_columns(["lidar"])
    assert refused(augment, write_batch(tmp_path, "one", table=table)).endswith("has no column 'lidar'")


def test_an_unknown_class_and_floor(tmp_path, augment):
    def lava(column):
        return pa.array([*column.to_pylist()[:-1], "lava"])

    message = refused(augment, write_batch(tmp_path, "one", table=change_column("floor", lava)))
    assert message.endswith("frames.parquet: row 71: floor 'lava' is not one of: wood, tile, carpet, concrete, rug")

    def dragon(column):
        rows = column.to_pylist()
        rows[30][0]["class"] = "dragon"
        return pa.array(rows, column.type)

    message = refused(augment, write_batch(tmp_path, "two", table=change_column("boxes", dragon)))
    assert "frames.parquet: row 30: class 'dragon' is not one of: box" in message


def test_an_image_that_is_none(tmp_path, augment):
    table = change_column("image", lambda column: pa.array([b"no picture"] * len(column)))
    assert "the image is not a JPEG" in refused(augment, write_batch(tmp_path, "one", table=table))


@pytest.mark.parametrize("keep", [0, 0.5, 0.999])
def test_a_truncated_file(tmp_path, augment, keep):
    batch = write_batch(tmp_path, "one")
    path = batch.folder / "frames.parquet"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    assert refused(augment, batch).startswith("frames/one/0000000000000000/frames.parquet: not Parquet")


def test_stats_that_are_wrong(tmp_path, augment):
    message = refused(augment, write_batch(tmp_path, "one", image_mean=[0.5, "grey", 0.5]))
    assert message.startswith("frames/one/0000000000000000/stats.json: image_mean.1: Input should be a valid number")


def test_a_scan_that_cannot_be_mirrored(tmp_path, augment):
    batch = write_batch(tmp_path, "one", lidar={"beams": BEAMS, "start_rad": 0.3, "step_rad": 0.01})
    assert refused(augment, batch).endswith("cannot be mirrored: set flip_probability=0")
    assert augment(batch, flip_probability=0)


def test_shares_must_leave_something_for_training():
    with pytest.raises(ValidationError, match="leave nothing for training"):
        AugmentConfig(validation=0.5, test=0.5)


@pytest.mark.parametrize(
    ("train", "words"),
    [(7_901, "9,101 frames"), (98_799, "99,999 frames"), (398_800, "400 k frames"), (2_498_800, "2,500 k frames")],
)
def test_the_number_of_frames_fits_into_a_cell(train, words):
    assert STAGE.shown.headline({"train": train, "validation": 560, "test": 640}) == words
