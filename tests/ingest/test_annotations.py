"""Boxes of other tools as ground truth: Foxglove's annotations and ROS's detections."""

import json
import math
from types import SimpleNamespace as Some

import foxglove
import pytest
from foxglove import channels, messages
from ingest.foreign_logs import HEIGHT, START_NS, TICK_NS, WIDTH, Sent, header, picture, robot_drive, write_bag

from sim2edge.ingest.annotations import Outline, read_annotations, read_detections
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.source_log import read_source
from sim2edge.ingest.understand import understand

LOOP, STRIP, LIST, POINTS = 2, 3, 4, 1
CORNERS = ((8.0, 9.0), (30.0, 9.0), (30.0, 33.0), (8.0, 33.0))


def outline(*points: tuple[float, float], kind: int = LOOP, **metadata: str) -> Some:
    pairs = [Some(key=key, value=value) for key, value in metadata.items()]
    return Some(type=kind, points=[Some(x=x, y=y) for x, y in points], metadata=pairs)


def text(words: str, x: float, y: float) -> Some:
    return Some(text=words, position=Some(x=x, y=y))


def drawn(*parts: Some) -> list[Outline]:
    points, texts = [part for part in parts if hasattr(part, "type")], [part for part in parts if hasattr(part, "text")]
    return read_annotations(Some(points=points, texts=texts))


def box(left: float, top: float, **other) -> Some:
    return outline((left, top), (left + 10, top), (left + 10, top + 10), (left, top + 10), **other)


def test_a_loop_and_its_text():
    assert drawn(outline(*CORNERS), text("chair", 8, 9)) == [("chair", 8, 9, 30, 33)]


@pytest.mark.parametrize("key", ["label", "Label", "class", "class_name", "category", "name"])
def test_metadata_names_the_class_and_counts_more_than_a_text(key):
    assert drawn(outline(*CORNERS, **{key: "plant", "score": "0.5"}), text("chair", 8, 9))[0].name == "plant"


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("chair 1.5 m", "chair"), ("chair: 0.93", "chair"), ("chair (87%)", "chair"), ("chair 87 %", "chair"),
        ("chair #3", "chair"), ("chair [2]", "chair"), ("traffic light", "traffic light"), ("class_3", "class_3"),
        ("box2", "box2"), (" door_frame ", "door_frame"), ("chair:0.93", "chair"),
    ],
)  # fmt: skip
def test_figures_after_the_class_are_no_part_of_it(caption, name):
    assert drawn(outline(*CORNERS), text(caption, 8, 9))[0].name == name


def test_texts_belong_to_the_nearest_outlines_whatever_their_order():
    found = drawn(box(0, 0), box(40, 0), box(0, 30), text("c", 1, 29), text("a", 0, 0), text("b", 45, 12))
    assert [each.name for each in found] == ["a", "b", "c"]


def test_a_text_inside_two_outlines_belongs_to_the_one_with_its_number():
    found = drawn(outline((0, 0), (50, 0), (50, 50), (0, 50)), box(20, 20), text("table", 0, 0), text("shoe", 20, 20))
    assert [each.name for each in found] == ["table", "shoe"]


def test_polygons_and_closed_strips_become_the_boxes_around_them():
    star = ((5.0, 0.0), (10.0, 7.0), (0.0, 3.0))
    assert drawn(outline(*star, label="plant")) == [("plant", 0, 0, 10, 7)]
    assert drawn(outline(*CORNERS, CORNERS[0], kind=STRIP, label="chair"))[0][1:] == (8, 9, 30, 33)


def test_points_lines_and_open_strips_are_decoration():
    kinds = [outline(*CORNERS, kind=kind) for kind in (0, POINTS, STRIP, LIST)]
    assert drawn(*kinds, outline((1, 1)), text("frame 12", 0, 0)) == []


def test_an_outline_without_a_name_is_named():
    with pytest.raises(ValueError, match="points 1: an outline without a text"):
        drawn(box(0, 0), box(40, 0), text("chair", 0, 0))


def hypothesis(name: object, score: float) -> Some:
    return Some(hypothesis=Some(class_id=name, score=score))


def detection(*results: Some, x=20.0, y=10.0, wide=8.0, high=4.0, theta=0.0) -> Some:
    centre = Some(position=Some(x=x, y=y), theta=theta)
    return Some(results=list(results), bbox=Some(center=centre, size_x=wide, size_y=high))


def test_a_detection_has_its_most_likely_class():
    found = read_detections(Some(detections=[detection(hypothesis("shoe", 0.2), hypothesis("chair", 0.7))]))
    assert found == [("chair", 16, 8, 24, 12)]


def test_detections_of_older_versions():
    result = Some(id=56, score=0.9)
    older = Some(results=[result], bbox=Some(center=Some(x=20.0, y=10.0, theta=0.0), size_x=8.0, size_y=4.0))
    assert read_detections(Some(detections=[older])) == [("56", 16, 8, 24, 12)]


def test_a_turned_box_becomes_the_upright_one_around_it():
    (found,) = read_detections(Some(detections=[detection(hypothesis("chair", 1), theta=math.pi / 2)]))
    assert found[1:] == pytest.approx((18, 6, 22, 14))


def test_a_detection_without_a_class_is_named():
    with pytest.raises(ValueError, match="detections 1: results: no class"):
        read_detections(Some(detections=[detection(hypothesis("chair", 1)), detection()]))


def write_annotated(
    path,
    words: str = "Chair 0.9",
    ticks: int = 5,
    empty: tuple[int, ...] = (),
    late_ns: int = 0,
    stamp_late_ns: int = 0,
):
    """A Foxglove log with its own annotations and nothing else but images; `empty` ticks have no object.

    Annotations are logged, and stamped, so late.
    """
    context = foxglove.Context()
    with foxglove.open_mcap(path, context=context, allow_overwrite=True):
        image = channels.RawImageChannel("/camera/image", context=context)
        notes = channels.ImageAnnotationsChannel("/camera/annotations", context=context)
        for tick in range(ticks):
            now = START_NS + tick * TICK_NS
            stamp = messages.Timestamp(now // 10**9, now % 10**9)
            data = picture(tick)[..., ::-1].tobytes()
            raw = messages.RawImage(
                timestamp=stamp, width=WIDTH, height=HEIGHT, encoding="bgr8", step=WIDTH * 3, data=data
            )
            image.log(raw, log_time=now)
            corners = [messages.Point2(x=x, y=y) for x, y in CORNERS]
            stamp = messages.Timestamp((now + stamp_late_ns) // 10**9, (now + stamp_late_ns) % 10**9)
            loop = messages.PointsAnnotation(
                timestamp=stamp, type=messages.PointsAnnotationType.LineLoop, points=corners
            )
            caption = messages.TextAnnotation(timestamp=stamp, position=corners[0], text=words)
            shown = ([], []) if tick in empty else ([loop], [caption])
            notes.log(messages.ImageAnnotations(points=shown[0], texts=shown[1]), log_time=now + late_ns)
    return path


TOPICS = {"labels": "/camera/annotations"}
MAPPED = {"map": {"Chair": "chair"}}


def test_foxglove_annotations_are_labels_at_their_stamps(tmp_path):
    log = read_source(write_annotated(tmp_path / "a.mcap"), IngestConfig(topics=TOPICS, classes=MAPPED))
    labels = log.streams["labels"]
    assert labels.stamps == [START_NS + tick * TICK_NS for tick in range(5)]
    (found,) = labels.values[3].boxes
    assert (found.label, found.distance_m, found.bearing_rad) == ("chair", None, None)
    assert (found.x_min, found.y_min, found.x_max, found.y_max) == (8, 9, 30, 33)


@pytest.mark.parametrize("mapped", [{}, {"chair": "chair"}, {"Table": "table"}])
def test_unknown_classes_are_named(tmp_path, mapped):
    with pytest.raises(BadLog) as error:
        read_source(write_annotated(tmp_path / "a.mcap"), IngestConfig(topics=TOPICS, classes={"map": mapped}))
    assert str(error.value).startswith("/camera/annotations: class 'Chair': not one of box, cylinder, chair")
    assert """classes.map='{"Chair": <class>}' maps one""" in str(error.value)


def test_boxes_of_a_class_that_maps_to_nothing_are_left_out(tmp_path):
    config = IngestConfig(topics=TOPICS, classes={"map": {"Chair": ""}})
    log = read_source(write_annotated(tmp_path / "a.mcap"), config)
    assert {values.boxes for values in log.streams["labels"].values} == {()}


@pytest.mark.parametrize(("late_ns", "kept"), [(0, 12), (40_000_000, 8)])
def test_images_without_an_object_have_labels_without_a_stamp(tmp_path, late_ns, kept):
    """They belong to the image with their log time; where it has another one, they are left out, never shifted."""
    log = write_annotated(tmp_path / "a.mcap", ticks=12, empty=(0, 4, 5, 11), late_ns=late_ns)
    episode = understand(log, IngestConfig(topics=TOPICS, classes=MAPPED, floor="wood"))
    labels, images = episode.log.streams["labels"], episode.log.streams["image"]
    chosen = zip(episode.ticks.chosen["image"].tolist(), episode.ticks.chosen["labels"].tolist(), strict=True)
    pairs = [(images.stamps[image], bool(labels.values[number].boxes)) for image, number in chosen]
    assert len(pairs) == kept
    assert all(found == ((stamp - START_NS) // TICK_NS not in (0, 4, 5, 11)) for stamp, found in pairs)


def test_a_map_to_what_is_no_class_is_refused(folder, ingest):
    write_annotated(folder / "a.mcap")
    said = ingest(folder, "topics.labels=/camera/annotations", "classes.map={Chair: seat}")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "'seat' is not one of: box, cylinder, chair" in said.err


def test_a_log_of_images_and_annotations_becomes_an_episode(folder, ingest, fetch, partition):
    write_annotated(folder / "a.mcap")
    topics = ("topics.labels=/camera/annotations", "classes.map={Chair: chair}")
    assert "floor: missing: name it with floor=<name>" in ingest(folder, *topics).err
    said = ingest(folder, *topics, "floor=wood")
    _, made = fetch(said)
    assert json.loads((made / f"{partition}.0000" / "result.json").read_text())["success"]
    assert "a.mcap: without scan, pose, command: serves perception" in said.lines


def test_ros_detections_are_labels(tmp_path):
    def hypotheses(name):
        return [{"hypothesis": {"class_id": name, "score": 0.9}}]

    centre = {"position": {"x": 20.0, "y": 10.0}, "theta": 0.0}
    found = {"results": hypotheses("56"), "bbox": {"center": centre, "size_x": 8.0, "size_y": 4.0}}
    truth: list[Sent] = [
        ("/truth", "vision_msgs/msg/Detection2DArray", now, {"header": header(now), "detections": [found]})
        for now in (START_NS + tick * TICK_NS for tick in range(4))
    ]
    log = write_bag(tmp_path / "a.mcap", sorted([*robot_drive(4), *truth], key=lambda sent: sent[2]))
    config = IngestConfig(topics={"labels": "/truth"}, classes={"map": {56: "chair"}}, floor="wood")
    (box,) = read_source(log, config).streams["labels"].values[2].boxes
    assert (box.label, box.x_min, box.y_max) == ("chair", 16, 12)


def test_annotations_of_foxglove_sent_by_ros_are_labels(tmp_path):
    def message(now):
        stamp = {"sec": now // 10**9, "nanosec": now % 10**9}
        points = [{"x": x, "y": y} for x, y in CORNERS]
        caption = {"timestamp": stamp, "position": points[0], "text": "chair 0.8"}
        return {"points": [{"timestamp": stamp, "type": LOOP, "points": points}], "texts": [caption]}

    truth: list[Sent] = [
        ("/truth", "foxglove_msgs/msg/ImageAnnotations", now, message(now))
        for now in (START_NS + tick * TICK_NS for tick in range(4))
    ]
    log = write_bag(tmp_path / "a.mcap", sorted([*robot_drive(4), *truth], key=lambda sent: sent[2]))
    stream = read_source(log, IngestConfig(topics={"labels": "/truth"}, floor="wood")).streams["labels"]
    assert stream.stamps == [sent[2] for sent in truth]
    assert [(box.label, box.x_max) for box in stream.values[1].boxes] == [("chair", 30)]
