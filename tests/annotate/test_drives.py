"""Which pictures are one drive, how it is called among all batches, and that augment never divides it."""

import json

import pyarrow.parquet as pq
import pytest
from annotate.labelled_folder import make_coco, write_folder

from sim2edge.annotate.coco_reader import read_content
from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.understand import Item, divide, stamp_of
from sim2edge.augment.config import AugmentConfig
from sim2edge.augment.split import split_of
from sim2edge.augment.survey import read_pieces, survey
from sim2edge.frames.columns import frames_schema
from sim2edge.frames.drives import Piece, find_drives

NAMES = {
    "a video's name": ([{"video": "kitchen.mp4"}] * 2 + [{"video": "hall.mp4"}] * 2, ["hall.mp4", "kitchen.mp4"]),
    "what sim2edge exported": ([{"drive": None, "episode_id": "demo-1.0001"}] * 4, ["demo-1.0001"]),
    "the drive of what it exported": ([{"drive": "bag_7", "episode_id": f"d.000{n}"} for n in range(4)], ["bag_7"]),
    "a number": ([{"video_id": n % 2} for n in range(4)], ["b/video_id=0", "b/video_id=1"]),
    "a number as text": ([{"attributes": {"sequence": "07"}}] * 4, ["b/sequence=07"]),
    "folders": ([{"file_name": f"site{n % 2}/images/{n}.jpg"} for n in range(4)], ["b/site0", "b/site1"]),
    "heads": ([{"file_name": f"run{'ab'[n % 2]}_{n:04d}.jpg"} for n in range(4)], ["b/runa", "b/runb"]),
    "a date": ([{"file_name": f"bag_2026-05-04-10-11-12_{n}.jpg"} for n in range(4)], ["bag_2026-05-04-10-11-12"]),
    "nothing": ([{}] * 4, [None, None]),
}


@pytest.mark.parametrize("told_by", NAMES)
def test_a_drive_is_called_the_same_in_another_batch_only_if_it_is_the_same(told_by):
    changes, expected = NAMES[told_by]
    assert [drive.name_among("b") for drive in understood(make_changed(changes), block=2)] == expected


def test_the_list_of_videos_names_their_numbers():
    coco = make_changed([{"video_id": n % 3} for n in range(6)])
    coco["videos"] = [{"id": 0, "name": "kitchen.mp4"}, {"id": "1", "file_name": "hall.mp4"}, "junk", {"id": 2}]
    names = [drive.name_among("b") for drive in understood(coco)]
    assert names == ["hall.mp4", "kitchen.mp4", "b/video_id=2"]


STAMPED = {
    "each picture's second": ["cam_20260504_{}_{}.jpg", (101100, 101300), "cam_20260504_{}"],
    "seconds and fraction": ["x/images/{}.{}.png", (1714986600, 1714986690), "b/x/{}"],
}


@pytest.mark.parametrize("told_by", STAMPED)
def test_neighbours_in_time_are_one_drive(told_by):
    """Two every five seconds, and again after more than a minute; their names have their own times."""
    name, starts, expected = STAMPED[told_by]
    seconds = [start + after for start in starts for after in (0, 5, 10, 15, 20)]
    changes = [{"file_name": name.format(second, part)} for second in seconds for part in (100, 300)]
    drives = understood(make_changed(changes))
    assert [len(drive.items) for drive in drives] == [10, 10]
    assert [drive.name_among("b") for drive in drives] == [expected.format(start) for start in starts]
    assert [item.image.name for item in drives[0].items] == [each["file_name"] for each in changes[:10]]


def test_what_is_no_time_is_none():
    for name in ("a_99999999_999999_1.jpg", "IMG_20240506_7.jpg", "2714986600.1.jpg", "171498660012.jpg"):
        assert stamp_of(name) is None, name


def test_each_picture_on_its_own_has_no_drive():
    coco = make_changed([{"video": "kitchen.mp4"}] * 4)
    assert [drive.name_among("b") for drive in understood(coco, group="image")] == [None] * 4
    assert [drive.name_among("b") for drive in understood(coco, group="folder")] == [None]


def test_pictures_of_an_exported_episode_are_drawn_with_it():
    """They may be in the dataset twice: as frames of the robot, and labelled again."""
    keys = find_drives([Piece("demo-1.0001"), Piece("office-1.0000", "demo-1.0001")])
    assert keys["demo-1.0001"] == keys["office-1.0000"]


class Batch:
    """Frames of a batch, as augment reads them."""

    def __init__(self, reference, rows):
        self.reference, self._rows = reference, rows

    def tables(self, columns):
        names = [name.partition(".")[0] for name in columns]
        yield self._rows.select(names)


def test_augment_keeps_a_drive_in_one_split_also_between_batches(tmp_path, annotate):
    """Two deliveries have parts of the same four videos, and heads of names in common that say nothing."""
    batches = []
    for name in ("one", "two"):
        changes = [{"video": f"clip-{'abcd'[n % 4]}.mp4"} for n in range(8)]
        changes += [{"file_name": f"IMG{'xy'[n % 2]}_{n}.jpg"} for n in range(4)]
        folder = write_folder(tmp_path / name, make_changed(changes))
        made = annotate(folder, partition=name)
        table = pq.read_table(made.folder / "frames.parquet")
        assert table.schema.field("drive").type == frames_schema().field("drive").type
        batches.append(Batch(f"frames/{name}/0", table))
    config = AugmentConfig(validation=0.3, test=0.3)
    found = survey(batches, config)
    assert found.drive["one.0002"] == found.drive["two.0002"] == "clip-a.mp4"
    for piece in (piece for batch in batches for piece in read_pieces(batch)):
        assert found.split[piece.episode_id] == split_of(piece.drive, config.validation, config.test)
    assert len(set(found.drive.values())) == 4 + 2 * 2
    assert {found.drive["one.0000"], found.drive["two.0000"]} == {"one/IMGx", "two/IMGx"}


def make_changed(changes):
    """A file of an image a change; no image of it says anything else of its drive."""
    coco = make_coco(len(changes))
    for image, change in zip(coco["images"], changes, strict=True):
        image |= change
    return json.loads(json.dumps(coco))


def understood(coco, **fields):
    """The drives of an annotation file."""
    config = AnnotateConfig(**fields)
    return divide([Item(image, None) for image in read_content(coco, "coco.json", config)], config)
