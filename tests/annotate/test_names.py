"""Which picture an entry means, when the name in the file is not quite that of the picture."""

import json

import pytest
from annotate.labelled_folder import make_annotation, make_coco, write_folder

from sim2edge.annotate.coco_reader import load, read_content
from sim2edge.annotate.config import AnnotateConfig
from sim2edge.annotate.find_files import Pictures, safe_name
from sim2edge.errors import BadInput

FILE = "annotations/instances_default.json"


def find(name, *paths, annotations=FILE):
    return Pictures({safe_name(path): path for path in paths}).find(name, annotations)


def test_a_name_as_in_a_url_means_the_decoded_one_unless_there_is_one_as_it_is():
    assert find("my%20photo.jpg", "images/my photo.jpg", "images/b.jpg") == "images/my photo.jpg"
    assert find("B%C3%BCro/a%281%29.jpg", "Büro/a(1).jpg") == "Büro/a(1).jpg"
    assert find("50%25.jpg", "50%.jpg") == "50%.jpg"
    assert find("a%20b.jpg", "images/a b.jpg", "images/a%20b.jpg") == "images/a%20b.jpg"
    assert find("%2e%2e/secret.jpg", "a.jpg") is None


def test_the_case_of_a_name_matters_only_if_both_are_there():
    assert find("a.jpg", "images/a.JPG") == "images/a.JPG"
    assert find("Photo.JPEG", "raw/photo.jpeg") == "raw/photo.jpeg"
    assert find("site/a.jpg", "Site/A.JPG", "other/A.JPG") == "Site/A.JPG"
    assert find("a.jpg", "x/a.jpg", "y/A.JPG") == "x/a.jpg"
    assert find("a.png", "images/a.jpg") is None
    with pytest.raises(BadInput, match=r"file_name 'a.jpg': may be 'x/A.jpg' and 'y/a.JPG': name it with its folder"):
        find("a.jpg", "x/A.jpg", "y/a.JPG")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_an_annotation_file_may_be_in_any_unicode_encoding(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(json.dumps({"images": ["Büro"]}, ensure_ascii=False).encode(encoding))
    assert load(tmp_path / "a.json", "a.json") == {"images": ["Büro"]}


def test_boxes_written_as_text_say_what_to_write(tmp_path, annotate):
    coco = make_coco()
    coco["annotations"] = [make_annotation(n, n, bbox=["16", "12", "64", "48"]) for n in (1, 2, 3, 4)]
    with pytest.raises(BadInput) as caught:
        annotate(write_folder(tmp_path / "labels", coco))
    line = str(caught.value)
    assert "\n" not in line
    assert "bbox ['16', '12', '64', '48']: write x, y, width, height as numbers, in pixels (a_001.jpg)" in line


def test_half_a_surrogate_pair_in_the_name_of_a_video_is_no_bug():
    coco = make_coco(1)
    coco["images"][0]["video"] = "clip\ud800"
    (image,) = read_content(coco, "coco.json", AnnotateConfig())
    assert image.sequence == "clip?"
