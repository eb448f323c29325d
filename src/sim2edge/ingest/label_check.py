"""Find labels that were not made for the pictures of their log: pure functions.

    labels = drop_wrong_labels("/labels", labels, (640, 480))      # None for each message with a wrong box

A single message with a wrong box costs its tick. Where more are wrong, so is the convention: fractions for pixels, the
size of another image, width and height for corners, degrees for radians. Bearings that are positive to the right show
only over a whole log: of an object that is nearly outside of the image, the visible part may be on the other side than
its middle.
"""

from collections.abc import Sequence

from sim2edge.ingest.images import Size
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.messages import LabelledBox, Labels

MAX_WRONG_SHARE = 0.1
"""Share of the messages with boxes that may be wrong."""
FRACTION_PX = 1.5
"""Corners up to this are fractions of the image: no box is that small, and so near to the image's corner."""
SIDE_SHARE, SIDE_RAD = 0.1, 0.1
"""A box whose middle is this far from the image's, as a share of its width, and a bearing this large have a side."""
MAX_HIDDEN = 0.3
"""Of an object of which more is hidden or outside the image the visible part may be on the other side."""
MIN_SIDED, MAX_CONTRARY = 5, 0.5
"""Bearings are refused if more than this share of at least so many contradict the side of their box."""
MAX_BEARING_RAD = 2.0
"""Of an object in the image, of a wide fisheye camera, too; of one that is mostly hidden, half a turn."""
HALF_TURN_RAD = 3.1417
MAX_DISTANCE_M = 1000.0
MANY_BOXES = 100
QUARTER = 0.51


def drop_wrong_labels(topic: str, labels: Sequence[Labels | None], size: Size) -> list[Labels | None]:
    """Return the labels, None for each message with a wrong box; `size` is that of the images.

    A box that is twice in a message is there once.

    Raises:
        BadLog: more than `MAX_WRONG_SHARE` of the messages with boxes are wrong; names the first box.
    """
    problems = [labels_problem(label, size) if label is not None else "" for label in labels]
    boxed, wrong = sum(bool(label and label.boxes) for label in labels), sum(map(bool, problems))
    if wrong > MAX_WRONG_SHARE * boxed:
        number, problem = next((number, problem) for number, problem in enumerate(problems) if problem)
        raise BadLog(f"{topic}: message {number}: {problem}; so in {wrong} of {boxed} messages with boxes")
    kept = [None if problem else _without_doubles(label) for label, problem in zip(labels, problems, strict=True)]
    check_sides(topic, kept, size)
    return kept


def _without_doubles(labels: Labels | None) -> Labels | None:
    boxes = tuple(dict.fromkeys(labels.boxes)) if labels is not None else ()
    return labels if labels is None or len(boxes) == len(labels.boxes) else labels.model_copy(update={"boxes": boxes})


def check_sides(topic: str, labels: Sequence[Labels | None], size: Size) -> None:
    """Check that bearings are on the side of their boxes: positive to the left.

    Raises:
        BadLog: most are not; names the first.
    """
    sides = [
        (number, box, side * bearing < 0)
        for number, label in enumerate(labels)
        for box in (label.boxes if label is not None else ())
        if (bearing := box.bearing_rad) is not None
        if (side := side_of(box, size)) and abs(bearing) > SIDE_RAD
    ]
    contrary = [(number, box) for number, box, is_contrary in sides if is_contrary]
    if len(sides) >= MIN_SIDED and len(contrary) > MAX_CONTRARY * len(sides):
        number, box = contrary[0]
        here = f"bearing_rad is {box.bearing_rad:g} of a box from x {box.x_min:g} to {box.x_max:g}"
        raise BadLog(
            f"{topic}: message {number}: {here}: expected positive to the left of the camera's direction; "
            f"so in {len(contrary)} of {len(sides)} boxes"
        )


def side_of(box: LabelledBox, size: Size) -> int:
    """Return 1 for a box left of the image's middle, -1 for one on the right, 0 if that is not certain."""
    if _mostly_hidden(box):
        return 0
    middle = (box.x_min + box.x_max) / 2 / size[0]
    return int(middle < 0.5 - SIDE_SHARE) - int(middle > 0.5 + SIDE_SHARE)


def _mostly_hidden(box: LabelledBox) -> bool:
    return max(box.occlusion, box.truncation) > MAX_HIDDEN


def labels_problem(labels: Labels, size: Size) -> str:
    """Return what is wrong with the first wrong box; empty if all are right."""
    for number, box in enumerate(labels.boxes):
        if problem := box_problem(box, size):
            return f"boxes.{number}: {problem}"
    return ""


def box_problem(box: LabelledBox, size: Size) -> str:
    """Return what is wrong with a box; empty if nothing is."""
    return _corner_problem(box, size) or _place_problem(box)


def _corner_problem(box: LabelledBox, size: Size) -> str:
    corners = ", ".join(f"{value:g}" for value in (box.x_min, box.y_min, box.x_max, box.y_max))
    if max(box.x_min, box.y_min, box.x_max, box.y_max) <= FRACTION_PX:
        return f"({corners}): expected pixels, these look like fractions of the image"
    if box.x_max <= box.x_min or box.y_max <= box.y_min:
        return f"({corners}): expected x_min, y_min, x_max, y_max, of which the last two are larger"
    if not (0 <= box.x_min + box.x_max <= 2 * size[0] and 0 <= box.y_min + box.y_max <= 2 * size[1]):
        return f"({corners}): outside the image of {size[0]} x {size[1]}: were they made for another size?"
    return ""


def _place_problem(box: LabelledBox) -> str:
    if box.distance_m is not None and not 0 < box.distance_m <= MAX_DISTANCE_M:
        return f"distance_m is {box.distance_m:g}: expected metres from the camera, more than 0"
    most = HALF_TURN_RAD if _mostly_hidden(box) else MAX_BEARING_RAD
    if abs(box.bearing_rad or 0) > most:
        return f"bearing_rad is {box.bearing_rad:g}: expected radians from the camera's direction, at most {most:.3g}"
    return ""


def labels_note(labels: Sequence[Labels | None], size: Size) -> str:
    """Return a note if all of many boxes are in one quarter of the images; empty if not."""
    boxes = [box for label in labels if label is not None for box in label.boxes]
    near = all(box.x_max <= QUARTER * size[0] and box.y_max <= QUARTER * size[1] for box in boxes)
    if len(boxes) < MANY_BOXES or not near:
        return ""
    return f"all {len(boxes)} boxes are in the top left quarter of the images: were they made for smaller ones?"
