"""From a folder on somebody's disk, through the inbox, to frames and a dataset; and deliveries that change nothing."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from annotate.labelled_folder import make_annotation, make_coco, write_folder, write_picture

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.inbox import deliver, describe, read_ready
from sim2edge.withdrawal import Event, record

SMALL = ("height=30", "width=40", "report_frames=0")


@pytest.fixture
def command(bus, monkeypatch):
    """Run the command line on a bus in memory."""
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))
    return lambda *words: cli.dispatch([str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    """A folder with names that the inbox does not take, and files that are no part of the dataset."""
    coco = make_coco(12)
    for image in coco["images"]:
        image["file_name"] = f"Büro {image['id'] % 4}/photo ({image['id']}).jpg"
    made = write_folder(tmp_path / "labels", coco)
    write_picture(made / "images" / "not listed.jpg", 99)
    (made / "README.txt").write_text("mine")
    (made / ".DS_Store").write_text("x")
    return made


def read_frames(bus, tmp_path):
    manifest = bus.find(bus.read_ref("refs/frames/office-1").target)
    return manifest, bus.fetch(manifest, tmp_path / "fetched").folder


def test_a_delivered_folder_becomes_frames_and_only_what_is_read_is_uploaded(command, bus, folder, tmp_path):
    assert command("annotate", folder, "--partition", "office-1", *SMALL) == 0
    manifest, made = read_frames(bus, tmp_path)
    rows = pq.read_table(made / "frames.parquet").to_pylist()
    assert len(rows) == 12
    assert {row["episode_id"] for row in rows} == {f"office-1.{index:04d}" for index in range(4)}
    assert {path.name for path in made.iterdir()} == {
        "frames.parquet",
        "stats.json",
        "quarantine.csv",
        "report.html",
        "fingerprints.json",
    }
    assert (manifest.kind, manifest.stage) == ("frames", "annotate")
    paths = {file.path for file in read_ready(bus, "office-1")[1].files}
    assert len(paths) == 13
    assert "images/B_ro_1/photo__1_.jpg" in paths
    assert command("annotate", folder, "--partition", "office-1", *SMALL) == 0  # the same again is cached
    assert command("annotate", "--partition", "office-1", *SMALL) == 0


@pytest.mark.slow
def test_augment_reads_the_batch_like_any_other(command, bus, folder, tmp_path):
    command("annotate", folder, "--partition", "office-1", *SMALL)
    assert command("augment", "validation=0.3", "test=0.3", "copies=1") == 0
    manifest = bus.find(bus.read_ref("refs/datasets/current").target)
    dataset = json.loads((bus.fetch(manifest, tmp_path / "dataset").folder / "dataset.json").read_text())
    assert sum(each["originals"] for each in dataset["splits"].values()) == 12
    assert dataset["lidar_beams"] is None


def test_nothing_of_a_refused_folder_is_delivered(command, bus, folder):
    coco = json.loads((folder / "annotations" / "instances_default.json").read_text())
    coco["annotations"].append(make_annotation(99, 99))
    (folder / "annotations" / "instances_default.json").write_text(json.dumps(coco))
    with pytest.raises(BadInput, match="annotation 99: image_id 99: no image has this id"):
        command("annotate", folder, "--partition", "office-1", *SMALL)
    coco["annotations"].pop()
    (folder / "annotations" / "instances_default.json").write_text(json.dumps(coco))
    for path in list(folder.glob("images/*/*"))[:8]:
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadInput, match="8 of 12 frames are bad"):
        command("annotate", folder, "--partition", "office-1", *SMALL)
    assert list(bus.list("inbox")) == list(bus.list("frames")) == []


@pytest.mark.slow
def test_two_names_that_become_one_in_the_inbox_are_refused(command, bus, folder):
    write_picture(folder / "images" / "a(1.jpg", 1)
    write_picture(folder / "images" / "a_1.jpg", 2)
    with pytest.raises(BadInput, match=r"'images/a_1.jpg': has the same name as 'images/a\(1.jpg' in the inbox"):
        command("annotate", folder, "--partition", "office-1", *SMALL)


@pytest.mark.slow
def test_a_batch_that_was_delivered_is_not_replaced(command, bus, folder):
    command("annotate", folder, "--partition", "office-1", *SMALL)
    other = write_folder(folder.parent / "other", make_coco(4))
    with pytest.raises(BadInput, match="inbox/office-1: has another delivery: name another batch"):
        command("annotate", other, "--partition", "office-1", *SMALL)


def named_anew(folder, seeds) -> Path:
    """A folder whose pictures have other names, in one drive, and the content of `seeds`."""
    coco = make_coco(len(seeds))
    for number, image in enumerate(coco["images"]):
        image["file_name"] = f"kitchen_{number:03d}.jpg"
    made = write_folder(folder, coco)
    for number, seed in enumerate(seeds):
        write_picture(made / "images" / f"kitchen_{number:03d}.jpg", seed)
    return made


SAID = {
    "all": (range(12), "has the same pictures as annotations/instances_default.json of batch 'office-1': leave it out"),
    "half": ([*range(6), *range(100, 106)], "has .*% of its pictures in common with .* of batch 'office-1': leave"),
}  # fmt: skip


@pytest.mark.parametrize(("seeds", "said"), SAID.values(), ids=SAID)
def test_pictures_of_another_batch_are_refused_until_it_is_withdrawn(command, bus, folder, tmp_path, seeds, said):
    command("annotate", folder, "--partition", "office-1", *SMALL)
    again = named_anew(tmp_path / "again", seeds)
    with pytest.raises(BadInput, match=said):
        command("annotate", again, "--partition", "office-2", *SMALL)
    assert list(bus.list("inbox/office-2")) == []
    record(bus, "office-1", Event(at="2026-11-30T12:00:00Z", by="me", reason="twice", action="withdraw"))
    assert command("annotate", again, "--partition", "office-2", *SMALL) == 0


def test_the_stage_refuses_pictures_of_another_batch_that_a_producer_uploaded(command, bus, folder, tmp_path):
    command("annotate", folder, "--partition", "office-1", *SMALL)
    again = named_anew(tmp_path / "again", range(12))
    files = sorted(path.relative_to(again).as_posix() for path in again.rglob("*.*") if path.is_file())
    deliver(bus, "office-2", again, [describe(again, path) for path in files], "annotate")
    with pytest.raises(BadInput, match=r"has the same pictures as .* of batch 'office-1'"):
        command("annotate", "--partition", "office-2", *SMALL)
    assert bus.read_ref("refs/frames/office-2") is None


def test_other_pictures_and_a_few_common_ones_are_taken(command, folder, tmp_path):
    command("annotate", folder, "--partition", "office-1", *SMALL)
    other = named_anew(tmp_path / "other", [0, 1, *range(100, 110)])
    assert command("annotate", other, "--partition", "office-2", *SMALL) == 0
