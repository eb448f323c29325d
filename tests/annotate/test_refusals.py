"""Wrong annotations: what refuses the batch, in one line that names the place, and what costs its image only."""

import json

import cv2
import numpy as np
import pytest
from annotate.labelled_folder import HEIGHT, WIDTH, make_annotation, make_coco, write_folder, write_picture

from sim2edge.errors import BadInput

FILE = "annotations/instances_default.json"


def refusal(annotate, folder, **fields) -> str:
    with pytest.raises(BadInput) as caught:
        annotate(folder, **fields)
    message = str(caught.value)
    assert "\n" not in message
    return message


def changed(coco, part, index, **changes):
    coco[part][index] |= changes
    return coco


WRONG = {
    "file_name '../a.jpg': leads out": lambda c: changed(c, "images", 1, file_name="../a.jpg"),
    "file_name 'x/../../a.jpg': leads out": lambda c: changed(c, "images", 1, file_name="x/../../a.jpg"),
    "file_name '/etc/a.jpg': absolute": lambda c: changed(c, "images", 1, file_name="/etc/a.jpg"),
    "file_name 'C:\\\\a.jpg': absolute": lambda c: changed(c, "images", 1, file_name="C:\\a.jpg"),
    "file_name 'https://x/a.jpg': absolute": lambda c: changed(c, "images", 1, file_name="https://x/a.jpg"),
    "image 2: file_name: missing": lambda c: changed(c, "images", 1, file_name=None),
    "image 1: id: another image has it": lambda c: changed(c, "images", 1, id=1),
    "image '1': id: another image has it": lambda c: changed(c, "images", 1, id="1"),
    "image True: id: missing": lambda c: changed(c, "images", 1, id=True),
    "file_name 'a_001.jpg': an image of": lambda c: changed(c, "images", 1, file_name="a_001.jpg"),
    "annotation 2: image_id 99: no image": lambda c: changed(c, "annotations", 1, image_id=99),
    "annotation 2: category_id 99: no category": lambda c: changed(c, "annotations", 1, category_id=99),
    "category 'sofa' is not one of: box": lambda c: changed(c, "categories", 0, name="sofa"),
    "category 1: id: another category": lambda c: changed(c, "categories", 1, id=1),
    "bbox: all are within 0..1": lambda c: c | {
        "annotations": [make_annotation(n, n, bbox=[0.1, 0.1, 0.4, 0.4]) for n in (1, 2, 3, 4)]
    },
    "bbox: 1 of 5 are within 0..1.5": lambda c: c | {
        "annotations": [*c["annotations"], make_annotation(9, 1, bbox=[-0.01, 0.1, 1.02, 0.4])]
    },
    "annotations: expected a list": lambda c: c | {"annotations": {}},
    "images: entry 0 is not an object": lambda c: c | {"images": [3]},
    "images: none": lambda c: c | {"images": []},
    "categories: expected a list": lambda c: {key: c[key] for key in ("images", "annotations")},
}  # fmt: skip


@pytest.mark.parametrize("expected", WRONG)
def test_what_is_ambiguous_refuses_the_batch(tmp_path, annotate, expected):
    folder = write_folder(tmp_path / "labels", make_coco())
    (folder / FILE).write_text(json.dumps(WRONG[expected](make_coco())))
    message = refusal(annotate, folder)
    assert message.startswith(FILE)
    assert expected in message


def test_fewer_tiny_boxes_are_taken(tmp_path, annotate):
    coco = make_coco()
    boxes = [make_annotation(10 + n, 1 + n % 4, bbox=[10 + n, 20, 30, 30]) for n in range(8)]
    coco["annotations"] += [*boxes, make_annotation(30, 1, bbox=[0, 0, 1, 1.5])]
    assert len(annotate(write_folder(tmp_path / "labels", coco), max_quarantined_fraction=1).rows) >= 3


def test_a_folder_without_coco_says_what_to_do(tmp_path, annotate):
    folder = tmp_path / "labels"
    write_picture(folder / "a.jpg", 1)
    assert "no .json file, but 'a.jpg': export the labels as COCO" in refusal(annotate, folder)
    (folder / "shapes.json").write_text('{"shapes": []}')
    assert refusal(annotate, folder).startswith("no COCO annotation file: export the labels as COCO")
    (folder / "broken.json").write_text('{"images": [')
    assert refusal(annotate, folder).startswith("broken.json: not JSON: ")
    assert refusal(annotate, folder).endswith(": export it again")
    (folder / "broken.json").write_bytes('{"images": ["Büro"]}'.encode("latin-1"))
    assert refusal(annotate, folder) == "broken.json: byte 14: neither UTF-8 nor UTF-16: save it as UTF-8"
    assert refusal(annotate, folder, annotations=["x.json"]) == "annotations: 'x.json': the folder has no such file"
    assert refusal(annotate, folder, annotations=["shapes.json"]).startswith("shapes.json: not COCO: ")


def test_pictures_elsewhere_or_of_one_name_are_refused(tmp_path, annotate):
    folder = write_folder(tmp_path / "labels", make_coco())
    (folder / "images" / "a_001.jpg").rename(folder / "images" / "b.jpg")
    (folder / "images" / "a_001.jpg").symlink_to(folder / "images" / "b.jpg")
    assert refusal_of_link(folder) == "'images/a_001.jpg': a symbolic link: put the file itself there"
    (folder / "images" / "a_001.jpg").unlink()
    for side in "xy":
        write_picture(folder / side / "a_001.jpg", 1)
    assert "may be 'x/a_001.jpg' and 'y/a_001.jpg': name it with its folder" in refusal(annotate, folder)


def refusal_of_link(folder) -> str:
    from sim2edge.annotate.find_files import list_folder

    with pytest.raises(BadInput) as caught:
        list_folder(folder)
    return str(caught.value)


def test_classes_and_floors_are_mapped_by_the_config(tmp_path, annotate):
    coco = make_coco(categories=[{"id": 1, "name": "Stuhl"}, {"id": 2, "name": "sofa: big"}])
    coco["annotations"].append(make_annotation(9, 1, category_id=2))
    coco["images"][0]["floor"] = "Parkett"
    folder = write_folder(tmp_path / "labels", coco)
    made = annotate(folder, classes={"Stuhl": "chair", "sofa: big": ""}, floors={"Parkett": "wood"})
    assert [[box["class"] for box in row["boxes"]] for row in made.rows] == [["chair"]] * 4
    assert {row["floor"] for row in made.rows} == {"wood"}
    with pytest.raises(ValueError, match="classes: 'Stuhl': 'stool' is not one of"):
        annotate(folder, classes={"Stuhl": "stool"})
    with pytest.raises(ValueError, match="floors: 'Parkett': '' is not one of"):
        annotate(folder, floors={"Parkett": ""})


DEFECTS = {
    "labels_wrong_type: bbox": {"bbox": ["1", 2, 3, 4]},
    "labels_wrong_type: bbox [nan": {"bbox": [float("nan"), 2, 30, 40]},
    "labels_wrong_type: an annotation has neither": {"bbox": None},
    "box_degenerate": {"bbox": [10, 10, 0, 30]},
    "box_degenerate: no area": {"bbox": [60, 60, -30, 30]},
    "box_outside": {"bbox": [100, 10, 80, 30]},
    "crowd": {"iscrowd": 1},
    "distance_out_of_range": {"distance_m": -1},
    "bearing_out_of_range": {"bearing_rad": 4},
}


def test_a_wrong_label_costs_its_image(tmp_path, annotate):
    coco = make_coco(len(DEFECTS) + 1)
    for each, defect in zip(coco["annotations"], DEFECTS.values(), strict=False):
        each |= defect
    made = annotate(write_folder(tmp_path / "labels", coco), max_quarantined_fraction=1)
    for number, (line, reason) in enumerate(zip(made.quarantine, DEFECTS, strict=True)):
        assert line.strip('"').startswith(f"toy.0000,{number},"), line
        assert reason in line
    assert [row["frame"] for row in made.rows] == [len(DEFECTS)]


def write_turned(path, size, orientation):
    """A JPEG whose EXIF data say how to turn it."""
    write_picture(path, 3, size, marked=True)
    data = path.read_bytes()
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation]) + bytes(6)
    exif = b"Exif\x00\x00" + tiff
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])


def corner(row):
    """Which corner of the frame is white: 0 is the upper left one, then clockwise."""
    image = cv2.imdecode(np.frombuffer(row["image"], np.uint8), cv2.IMREAD_GRAYSCALE)
    high, wide = image.shape[0] // 2, image.shape[1] // 2
    parts = (image[:high, :wide], image[:high, wide:], image[high:, wide:], image[high:, :wide])
    return max(range(4), key=lambda index: parts[index].mean())


@pytest.mark.slow
@pytest.mark.parametrize(("size", "white"), [((HEIGHT, WIDTH), 1), ((WIDTH, HEIGHT), 0), (None, 1)])
def test_a_turned_picture_is_taken_as_it_was_annotated(tmp_path, annotate, size, white):
    coco = make_coco(2)
    coco["images"][0].update({"width": size[0], "height": size[1]} if size else {"width": None, "height": None})
    folder = write_folder(tmp_path / "labels", coco)
    write_turned(folder / "images" / "a_001.jpg", (WIDTH, HEIGHT), 6)  # turn right to see it upright
    made = annotate(folder)
    assert made.quarantine == []
    assert corner(made.rows[0]) == white


def spoil(folder, name, how):
    path = folder / "images" / name
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>404</html>")
    elif how == "small":
        write_picture(path, 2, (80, 60))
    elif how == "blank":
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    else:
        path.write_bytes((folder / "images" / "a_001.jpg").read_bytes())


BAD = {
    "missing": "image_missing: not in the folder",
    "cut": "image_undecodable: cut off",
    "empty": "image_undecodable",
    "text": "image_undecodable: not a picture",
    "small": "image_size: is 80x60, but 160x120 in the annotations",
    "blank": "image_blank",
    "twin": "twin: has the content of a_001.jpg",
}


def test_a_bad_picture_costs_itself(tmp_path, annotate):
    folder = write_folder(tmp_path / "labels", make_coco(len(BAD) + 1))
    for number, how in enumerate(BAD, 2):
        spoil(folder, f"a_{number:03d}.jpg", how)
    made = annotate(folder, max_quarantined_fraction=1)
    for number, (line, reason) in enumerate(zip(made.quarantine, BAD.values(), strict=True), 1):
        assert line.strip('"').startswith(f"toy.0000,{number},"), line
        assert reason in line
    assert made.summary["frames"] == 1


def test_a_png_cut_off_and_a_jpeg_with_bytes_after_its_end(tmp_path, annotate):
    coco = make_coco()
    coco["images"][1]["file_name"] = "b.png"
    folder = write_folder(tmp_path / "labels", coco)
    picture, jpeg = folder / "images" / "b.png", folder / "images" / "a_001.jpg"
    picture.write_bytes(picture.read_bytes()[:-30])
    jpeg.write_bytes(jpeg.read_bytes() + b"\0" * 500 + b"GPS")
    made = annotate(folder, group="folder")
    assert ["image_undecodable: cut off" in line for line in made.quarantine] == [True]


def test_too_many_bad_pictures_refuse_the_batch(tmp_path, annotate):
    folder = write_folder(tmp_path / "labels", make_coco())
    for number in (1, 2, 3):
        (folder / "images" / f"a_00{number}.jpg").unlink()
    assert "3 of 4 frames are bad, over max_quarantined_fraction=0.5 (image_missing 3)" in refusal(annotate, folder)
    (folder / "images" / "a_004.jpg").unlink()
    assert "no picture of 4 images is in the folder" in refusal(annotate, folder)


def test_a_floor_is_in_the_image_a_category_or_the_config(tmp_path, annotate):
    coco = make_coco(5)
    for image in coco["images"]:
        del image["floor"]
    coco["images"][0]["attributes"] = {"floor": "carpet"}
    coco["categories"] = [*coco["categories"], {"id": 5, "name": "Tile", "supercategory": "floor"}]
    coco["categories"].append({"id": 6, "name": "lawn", "supercategory": "floor"})
    coco["annotations"] += [
        make_annotation(10, 2, category_id=5), make_annotation(11, 3, category_id=6),
        make_annotation(12, 4, category_id=5), make_annotation(13, 4, category_id=6),
    ]  # fmt: skip
    made = annotate(write_folder(tmp_path / "labels", coco), floor="wood")
    assert [(row["frame"], row["floor"]) for row in made.rows] == [(0, "carpet"), (1, "tile"), (4, "wood")]
    assert [len(row["boxes"]) for row in made.rows] == [1, 1, 1]
    assert ["unknown_floor: floor lawn" in made.quarantine[0], "several: lawn, tile" in made.quarantine[1]] == [
        True
    ] * 2
    made = annotate(tmp_path / "labels", max_quarantined_fraction=0.7)
    assert "unknown_floor: not annotated: name one with floor=" in made.quarantine[-1]


@pytest.mark.slow
def test_images_of_one_video_folder_or_name_are_one_drive(tmp_path, annotate):
    def drives(changes, **fields):
        coco = make_coco(6)
        for image, change in zip(coco["images"], changes, strict=True):
            image.update(change)
        made = annotate(write_folder(tmp_path / f"labels{len(list(tmp_path.iterdir()))}", coco), **fields)
        found: dict[str, list[int]] = {}
        for row in made.rows:
            found.setdefault(row["episode_id"], []).append(row["frame"])
        return list(found.values())

    assert drives([{"video_id": n % 2} for n in range(6)]) == [[0, 1, 2]] * 2
    assert drives([{"file_name": f"drive{n % 3}/images/{n}.jpg"} for n in range(6)]) == [[0, 1]] * 3
    assert drives([{"file_name": f"run{'ab'[n % 2]}_{n:04d}.jpg"} for n in range(6)]) == [[0, 1, 2]] * 2
    assert drives([{}] * 6, block=4) == [[0, 1, 2, 3], [0, 1]]
    assert drives([{}] * 6, group="image") == [[0]] * 6
    names = [f"IMG1_jpg.rf.0123456789abcde{n}.jpg" for n in range(5)] + ["IMG2_jpg.rf.0123456789abcdef.jpg"]
    assert drives([{"file_name": name} for name in names], block=2) == [[0, 1, 2, 3, 4], [0]]


def test_no_annotation_means_nothing_is_there_and_a_box_twice_is_one(tmp_path, annotate):
    coco = make_coco()
    coco["annotations"] = [make_annotation(1, 1), make_annotation(2, 1), make_annotation(3, 2, bbox=[1, 1, 20, 20])]
    made = annotate(write_folder(tmp_path / "labels", coco))
    assert [len(row["boxes"]) for row in made.rows] == [1, 1, 0, 0]
