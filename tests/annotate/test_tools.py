"""Folders as labelling tools export them: each becomes the same frames, without a setting."""

import json

import pytest
from annotate.labelled_folder import (
    CATEGORIES,
    HEIGHT,
    WIDTH,
    make_coco,
    write_folder,
    write_picture,
)  # fmt: skip


def cvat(folder):
    """CVAT: annotations/ and images/default/, category ids from 1, attributes, info of empty strings."""
    coco = make_coco(info={"contributor": "", "date_created": "", "version": "", "year": ""}, licenses=[{"id": 0}])
    for image in coco["images"]:
        image |= {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0, "floor": None}
        del image["floor"]
    for each in coco["annotations"]:
        each |= {"segmentation": [], "attributes": {"occluded": False, "rotation": 0.0}}
    write_folder(folder, coco, images="images/default")


def label_studio(folder):
    """Label Studio: result.json, ids from 0, a random head, width and height behind, spaces in names."""
    coco = make_coco(categories=[{"id": 0, "name": "Chair"}, {"id": 1, "name": "Person"}])
    for number, image in enumerate(coco["images"]):
        image.update(id=number, file_name=f"images\\{number:07x}a-My photo ({number}).jpg")
        del image["floor"]
    for number, each in enumerate(coco["annotations"]):
        each.update(id=number, image_id=number, category_id=0, ignore=0, segmentation=[])
    names = [image["file_name"].replace("\\", "/") for image in coco["images"]]
    (folder / "result.json").write_text(json.dumps(coco))
    for seed, name in enumerate(names):
        write_picture(folder / name, seed)


def roboflow(folder):
    """Roboflow: a folder a split, each with _annotations.coco.json; a superclass of id 0; ids again in each split."""
    number = 0
    for split in ("train", "valid"):
        coco = make_coco(2, categories=[
            {"id": 0, "name": "furniture-AbCd", "supercategory": "none"},
            {"id": 1, "name": "chair", "supercategory": "furniture-AbCd"},
        ])  # fmt: skip
        for index, image in enumerate(coco["images"]):
            image.update(id=index, file_name=f"IMG{number}_jpg.rf.0123456789abcdef0123456789abcde{number}.jpg")
            image["extra"] = {"name": f"IMG{number}.jpg"}
            write_picture(folder / split / image["file_name"], number)
            number += 1
        for index, each in enumerate(coco["annotations"]):
            each.update(id=index, image_id=index)
        (folder / split / "_annotations.coco.json").write_text(json.dumps(coco))


def labelme(folder):
    """labelme2coco: JPEGImages/, polygons, a byte order mark, and a .json of another form besides."""
    coco = make_coco()
    for image in coco["images"]:
        image["file_name"] = f"JPEGImages/{image['file_name']}"
    for each in coco["annotations"]:
        each["segmentation"] = [[16, 12, 80, 12, 80, 60, 16, 60]]
        del each["bbox"], each["area"], each["iscrowd"]
    write_folder(folder, coco, "annotations.json", images="")
    (folder / "annotations.json").write_bytes(b"\xef\xbb\xbf" + (folder / "annotations.json").read_bytes())
    (folder / "a_001.json").write_text(json.dumps({"version": "5.0", "shapes": [], "imagePath": "a_001.jpg"}))


def fiftyone(folder):
    """FiftyOne: labels.json beside data/, ids as numbers, iscrowd and score, supercategory null."""
    coco = make_coco(categories=[{"id": 7, "name": "chair", "supercategory": None}])
    for each in coco["annotations"]:
        each.update(category_id=7, score=None)
    write_folder(folder, coco, "labels.json", images="data")


def string_ids(folder):
    """Scripts of data engineers: ids of images are strings, of annotations UUIDs."""
    coco = make_coco()
    for image, each in zip(coco["images"], coco["annotations"], strict=True):
        image["id"], each["image_id"], each["id"] = str(image["id"]), image["id"], f"c0ffee-{image['id']}"
        each["category_id"] = "1"
    write_folder(folder, coco)


def masks(folder):
    """Segment Anything and COCO itself: run-length encoded masks, no box."""
    coco = make_coco()
    for each in coco["annotations"]:
        zeros, ones = 16 * HEIGHT + 12, 48
        counts = [zeros, *([ones, HEIGHT - ones] * 64)]
        counts[-1] += 0
        rest = WIDTH * HEIGHT - sum(counts)
        each.update(segmentation={"size": [HEIGHT, WIDTH], "counts": [*counts[:-1], counts[-1] + rest]}, bbox=[])
    write_folder(folder, coco)


def nested(folder):
    """A dump of a server: pictures deep in folders, names with the folders, upper case ends."""
    coco = make_coco()
    for image in coco["images"]:
        image["file_name"] = f"site 1/2024-05-06/cam0/{image['id']:05d}.JPG"
    write_folder(folder, coco, "export/v2/coco.json", images="raw")


def bare(folder):
    """The least that is COCO: no sizes, no areas, floats in place of ids, images without labels besides."""
    coco = {
        "images": [{"id": float(n), "file_name": f"a_{n:03d}.jpg"} for n in range(1, 5)],
        "annotations": [{"image_id": n, "category_id": 1.0, "bbox": [16.0, 12.0, 64.0, 48.0]} for n in range(1, 5)],
        "categories": CATEGORIES,
    }
    write_folder(folder, coco, "coco.json", images="")


def supervisely(folder):
    """Supervisely and VoTT: PNG, annotations beside the pictures, gaps in ids, extra lists."""
    coco = make_coco(videos=[], tracks=[], type="instances")
    for image, each in zip(coco["images"], coco["annotations"], strict=True):
        image.update(id=image["id"] * 1000 + 7, file_name=f"{image['id']}.png")
        each.update(id=each["id"] * 13, image_id=image["id"], track_id=4, segmentation=None)
    write_folder(folder, coco, "ds/ann/instances.json", images="ds/img")


TOOLS = (cvat, label_studio, roboflow, labelme, fiftyone, string_ids, masks, nested, bare, supervisely)


@pytest.mark.parametrize("export", TOOLS, ids=lambda export: export.__name__)
def test_the_export_of_a_tool_becomes_the_same_frames(tmp_path, annotate, export):
    folder = tmp_path / "labels"
    folder.mkdir()
    export(folder)
    made = annotate(folder, floor="wood")
    assert made.quarantine == []
    assert len(made.rows) == 4
    for row in made.rows:
        (box,) = row["boxes"]
        corners = [box[side] for side in ("x_min", "y_min", "x_max", "y_max")]
        assert (box["class"], row["floor"], row["lidar"], row["x_m"]) == ("chair", "wood", None, None)
        assert corners == pytest.approx([0.1, 0.1, 0.5, 0.5], abs=1e-6)


def test_what_was_exported_by_sim2edge_keeps_what_it_says(tmp_path, annotate):
    coco = make_coco(2)
    for image, each in zip(coco["images"], coco["annotations"], strict=True):
        image.update(episode_id="demo-1.0001", frame=9 - image["id"], floor="rug")
        each.update(distance_m=1.5, bearing_rad=-0.25)
    rows = annotate(write_folder(tmp_path / "labels", coco)).rows
    assert [(row["floor"], row["boxes"][0]["distance_m"], row["boxes"][0]["bearing_rad"]) for row in rows] == [
        ("rug", 1.5, -0.25)
    ] * 2
