"""Labels that were not made for the pictures of their log, and right ones that only look so."""

import pytest
from ingest.foreign_logs import BOX, FOXGLOVE_TOPICS, write_foxglove

from sim2edge.config import load
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.label_check import drop_wrong_labels, labels_note
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.messages import Labels
from sim2edge.ingest.understand import understand

SIZE = (640, 480)
LEFT = BOX | {"x_min": 100.0, "y_min": 200.0, "x_max": 180.0, "y_max": 300.0, "bearing_rad": 0.4}
RIGHT = LEFT | {"x_min": 500.0, "x_max": 600.0, "bearing_rad": -0.4}
AHEAD = LEFT | {"x_min": 250.0, "x_max": 400.0, "bearing_rad": -0.05}


def labels(*boxes: dict) -> Labels:
    return Labels.model_validate({"floor": "tile", "boxes": boxes})


def check(*boxes: dict, messages: int = 12) -> list[Labels | None]:
    return drop_wrong_labels("/labels", [labels(*boxes)] * messages, SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_min": 0.2, "y_min": 0.4, "x_max": 0.3, "y_max": 1.0}, "expected pixels, these look like fractions"),
        ({"x_min": 900.0, "x_max": 1000.0}, "outside the image of 640 x 480: were they made for another size"),
        ({"y_min": 500.0, "y_max": 700.0}, "outside the image of 640 x 480"),
        ({"x_min": -90.0, "x_max": -10.0}, "outside the image"),
        ({"x_max": 80.0}, "the last two are larger"),
        ({"x_min": 180.0, "x_max": 100.0}, "the last two are larger"),
        ({"distance_m": 0.0}, "distance_m is 0: expected metres from the camera, more than 0"),
        ({"distance_m": -1.0}, "distance_m is -1"),
        ({"distance_m": 1500.0}, "distance_m is 1500: expected metres"),
        ({"bearing_rad": 23.0}, "bearing_rad is 23: expected radians from the camera's direction, at most 2;"),
        ({"bearing_rad": 5.9}, "bearing_rad is 5.9: expected radians"),
        ({"bearing_rad": 2.7}, "bearing_rad is 2.7: expected radians"),
        ({"bearing_rad": 3.3, "truncation": 0.9}, "bearing_rad is 3.3: expected radians .* at most 3.14"),
    ],
)
def test_labels_in_another_convention(change, message):
    with pytest.raises(BadLog, match=message) as refused:
        check(RIGHT, LEFT | change)
    assert str(refused.value).startswith("/labels: message 0: boxes.1: ")
    assert str(refused.value).endswith("so in 12 of 12 messages with boxes")


def test_one_wrong_box_costs_its_message_only():
    many = [labels(LEFT)] * 20
    many[7] = labels(LEFT, LEFT | {"distance_m": 0.0})
    kept = drop_wrong_labels("/labels", many, SIZE)
    assert [number for number, label in enumerate(kept) if label is None] == [7]


def test_a_box_that_is_twice_in_a_message_counts_once():
    near = LEFT | {"x_max": 181.0}
    (kept,) = check(LEFT, near, LEFT, messages=1)
    assert kept == labels(LEFT, near)


def test_few_messages_with_boxes_count_among_themselves():
    with pytest.raises(BadLog, match="so in 3 of 3 messages with boxes"):
        drop_wrong_labels("/labels", [labels()] * 300 + [labels(LEFT | {"distance_m": 0.0})] * 3, SIZE)


@pytest.mark.parametrize(
    "box",
    [
        LEFT,
        RIGHT,
        AHEAD,
        AHEAD | {"bearing_rad": 0.05},
        LEFT | {"x_min": -30.0},  # beyond the edge: clean decides
        LEFT | {"x_min": 0.0, "y_min": 0.0, "x_max": 640.0, "y_max": 480.0},
        LEFT | {"x_min": 0.0, "y_min": 0.0, "x_max": 12.0, "y_max": 2.0},
        LEFT | {"bearing_rad": 1.9},  # a wide fisheye camera
        LEFT | {"bearing_rad": 3.1416, "truncation": 0.9},  # its middle is behind the robot
        LEFT | {"distance_m": 0.05},
    ],
)
def test_right_labels(box):
    assert None not in check(box)


def test_bearings_positive_to_the_right():
    mirrored = [box | {"bearing_rad": -box["bearing_rad"]} for box in (LEFT, RIGHT)]
    with pytest.raises(
        BadLog, match=r"message 0: bearing_rad is -0.4 of a box from x 100 to 180: expected positive to"
    ):
        check(*mirrored)
    with pytest.raises(BadLog, match="expected positive to the left"):
        check(AHEAD | {"x_min": 100.0, "x_max": 310.0, "bearing_rad": -0.3})


def test_an_object_nearly_outside_has_its_middle_elsewhere():
    """Most of a door frame is outside; what is visible is on the other side than its middle."""
    assert None not in check(LEFT | {"bearing_rad": -0.7, "truncation": 0.96})
    assert None not in check(LEFT | {"bearing_rad": -0.3, "occlusion": 0.6})
    assert None not in drop_wrong_labels("/labels", [labels(LEFT | {"bearing_rad": -0.7}), *[labels(LEFT)] * 11], SIZE)


def test_all_boxes_in_one_quarter_are_told():
    small = [labels(LEFT | {"y_min": 100.0, "y_max": 200.0})] * 120
    assert labels_note(small, SIZE).startswith("all 120 boxes are in the top left quarter of the images")
    assert labels_note([*small, labels(RIGHT)], SIZE) == ""
    assert labels_note(small[:50], SIZE) == ""


def test_a_log_whose_labels_are_fractions_is_refused(tmp_path):
    config = load(IngestConfig, "ingest", overrides=list(FOXGLOVE_TOPICS))
    box = BOX | {"x_min": 0.1, "y_min": 0.2, "x_max": 0.5, "y_max": 0.6}
    path = write_foxglove(tmp_path / "a.mcap", labels={"floor": "tile", "boxes": [box]})
    with pytest.raises(BadLog, match=r"/truth: message 0: boxes.0: \(0.1, 0.2, 0.5, 0.6\): expected pixels"):
        understand(path, config)
