"""Labels of one frame, against images made by ray casting and geometry worked out another way."""

import math

import numpy as np
import pytest
from capture.hand_made import CAMERA, GREY, look, make_spec, solid, stand
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.footprints import make_obstacle, placed_footprints
from sim2edge.capture.labels import Labeller, camera_pose, floor_at, locate
from sim2edge.capture.obstacles import SHAPES, box
from sim2edge.capture.specs import CAMERA_AHEAD_M, Motion, Rug
from sim2edge.config import load
from sim2edge.episodes.formats import beam_angles
from sim2edge.episodes.moment import Pose

CONFIG = CaptureConfig()


def cube(instance: int, x: float, y: float, half: float, yaw: float = 0.0):
    """A crate on the floor."""
    return stand(instance, "box", x, y, solid("box", (half, half, half), (0, 0, half)), yaw=yaw)


def label(spec, config=CONFIG, view=None):
    return Labeller(spec, config).label(view or look(spec, config))


def rug(x: float, y: float, half_x: float, half_y: float, yaw: float = 0.0) -> Rug:
    return Rug(x_m=x, y_m=y, yaw_rad=yaw, half_x_m=half_x, half_y_m=half_y, style="rug", texture_seed="0")


@pytest.mark.parametrize(("x", "y"), [(1.5, 0.0), (2.2, 0.8), (1.8, -0.7)])
def test_a_crate_is_boxed_where_it_is_seen_and_wholly_visible(x, y):
    spec = make_spec([cube(0, x, y, 0.15)])
    view = look(spec, CONFIG)
    (found,) = label(spec, view=view).boxes
    rows, columns = np.nonzero(view.instances == 0)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert (found.x_min, found.y_min, found.x_max, found.y_max) == edges
    assert found.occlusion == pytest.approx(0, abs=0.04)
    assert found.truncation == 0
    assert found.distance_m == pytest.approx(math.hypot(x - 0.15 - CAMERA_AHEAD_M, max(0.0, abs(y) - 0.15)), abs=0.01)
    assert found.bearing_rad == pytest.approx(math.atan2(y, x - CAMERA_AHEAD_M), abs=1e-3)


def test_half_hidden_is_an_occlusion_of_a_half():
    """Two posts on one ray of sight: the near one, wide enough, hides the far one's left half."""
    far = stand(0, "box", 2.15, 0.0, solid("box", (0.01, 0.2, 0.2), (0, 0, 0.2)))
    screen = stand(1, "box", 1.15, 0.3, solid("box", (0.01, 0.3, 0.5), (0, 0, 0.5)))
    found = {each.instance: each for each in label(make_spec([far, screen])).boxes}
    assert found[0].occlusion == pytest.approx(0.5, abs=0.05)
    assert found[0].truncation == 0
    assert found[1].occlusion == pytest.approx(0, abs=0.05)


def test_half_outside_the_image_is_a_truncation_of_a_half():
    """The image ends to the left at atan(80 / 104) = 37.6 degrees: a post is put astride that line."""
    edge = CAMERA_AHEAD_M + 1.5, 1.5 * 80 / (60 / math.tan(math.radians(30)))
    level = CAMERA.model_copy(update={"tilt_deg": 0.0})
    spec = make_spec([stand(0, "box", *edge, solid("box", (0.001, 0.2, 0.2), (0, 0, 0.3)))], camera=level)
    (found,) = label(spec).boxes
    assert found.truncation == pytest.approx(0.5, abs=0.03)
    assert found.occlusion == pytest.approx(0, abs=0.05)


def test_a_wall_hides_too():
    spec = make_spec([cube(0, 2.0, 0.0, 0.2)])
    wall = solid("box", (0.05, 1.0, 3.0), (1.2, 1.0, 3.0))
    walled = spec.model_copy(update={"room": spec.room.model_copy(update={"walls": (*spec.room.walls, wall)})})
    assert label(walled).boxes[0].occlusion == pytest.approx(0.5, abs=0.06)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 1000),
    away=st.floats(0.6, 3.5),
    aside=st.floats(-0.5, 0.5),
    yaw=st.floats(-3.1, 3.1),
)
def test_what_nothing_hides_has_no_occlusion_whatever_its_shape(kind, seed, away, aside, yaw):
    parts = SHAPES[kind](np.random.default_rng(seed))
    obstacle = stand(0, kind, CAMERA_AHEAD_M + away * math.cos(aside), away * math.sin(aside), *parts, yaw=yaw)
    view = look(make_spec([obstacle], size=(12, 12)), CONFIG)
    boxes = label(make_spec([obstacle], size=(12, 12)), view=view).boxes
    for found in boxes:
        # A pixel is seen or not: a small silhouette is not more exact than its outline is long.
        perimeter = 2 * (found.x_max - found.x_min + found.y_max - found.y_min)
        pixels = np.count_nonzero(view.instances == 0)
        assert found.occlusion < 0.08 + 0.3 * perimeter / pixels
        assert 0 <= found.truncation <= 1


def test_hardly_visible_objects_are_not_labelled():
    config = load(CaptureConfig, "capture", overrides=["labels.min_pixels=20", "labels.min_side_pixels=3"])
    spec = make_spec([cube(0, 1, 0, 0.1), cube(1, 2, 0, 0.1)])
    view = look(spec, config)
    view.instances[:] = -1
    view.instances[2:6, 2:8] = 0
    view.instances[10:20, 4:6] = 1
    assert [found.instance for found in label(spec, config, view).boxes] == [0]


@pytest.mark.parametrize(
    ("camera", "distance", "bearing"),
    [
        (Pose(0, 0, 0), 0.8, 0.0),
        (Pose(1, 1, -math.pi / 2), 0.8, 0.0),
        (Pose(1, -1, math.pi), 0.8, -math.pi / 2),
        (Pose(0.9, 0, 0), 0, 0),
    ],
)
def test_distance_and_bearing(camera, distance, bearing):
    obstacle = cube(0, 1, 0, 0.2)
    assert locate(obstacle, obstacle.pose, camera) == pytest.approx((distance, bearing), abs=1e-3)


def test_the_bearing_is_from_where_the_camera_looks():
    spec = make_spec([cube(0, 2, 0, 0.2)], camera=CAMERA.model_copy(update={"yaw_deg": 2.0}))
    assert camera_pose(spec, Pose(1, 1, math.pi / 2)) == pytest.approx((1, 1.15, math.radians(92)))
    assert label(spec).boxes[0].bearing_rad == pytest.approx(math.radians(-2), abs=1e-3)


def test_the_distance_to_a_door_frame_is_that_to_its_nearer_jamb():
    jambs = [[box((0, side * 0.6, 1), (0.05, 0.05, 1), GREY)] for side in (-1, 1)]
    frame = make_obstacle(0, "door_frame", Pose(1.5, 0.3, 0), jambs)
    distance, bearing = locate(frame, frame.pose, Pose(0, 0, 0))
    assert distance == pytest.approx(math.hypot(1.45, 0.25), abs=1e-3)
    assert bearing == pytest.approx(math.atan2(0.3, 1.5), abs=1e-3)
    found = label(make_spec([frame])).boxes[0]
    assert found.size_m == pytest.approx((0.1, 1.3, 2.0), abs=1e-3)
    assert found.truncation > 0.3


def test_a_walker_is_labelled_where_it_is_now():
    walk = Motion(to_x_m=1.5, to_y_m=1.0, speed_m_s=0.5, phase=0.0)
    person = stand(0, "person", 1.5, -1.0, solid("cylinder", (0.15, 0.4), (0, 0, 0.4)), motion=walk)
    spec = make_spec([person])
    view = look(spec, CONFIG, [Pose(1.5, 0.4, math.pi / 2)])
    (found,) = label(spec, view=view).boxes
    assert found.position_m == pytest.approx((1.5, 0.4, 0.4), abs=1e-3)
    assert found.yaw_rad == pytest.approx(math.pi / 2, abs=1e-3)
    assert found.bearing_rad == pytest.approx(math.atan2(0.4, 1.35), abs=1e-3)
    assert found.occlusion == pytest.approx(0, abs=0.05)


@settings(max_examples=50, deadline=None)
@given(x=st.floats(-1, 1), y=st.floats(-1, 1), yaw=st.floats(-3.1, 3.1), turned=st.floats(-3.1, 3.1))
def test_the_3d_box_is_around_the_footprint_wherever_the_robot_stands(x, y, yaw, turned):
    robot = Pose(x, y, yaw)
    away = x + 1.2 * math.cos(yaw), y + 1.2 * math.sin(yaw)
    obstacle = stand(0, "box", *away, solid("box", (0.2, 0.1, 0.15), (0.05, 0, 0.15)), yaw=turned)
    (found,) = label(make_spec([obstacle], start=robot, size=(8, 8))).boxes
    (footprint,) = placed_footprints(obstacle)
    heading = yaw + found.yaw_rad
    px, py, _ = found.position_m
    middle = x + math.cos(yaw) * px - math.sin(yaw) * py, y + math.sin(yaw) * px + math.cos(yaw) * py
    sides = np.array([found.size_m[:2]] * 4) / 2 * [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    turn = np.array([[math.cos(heading), math.sin(heading)], [-math.sin(heading), math.cos(heading)]])
    corners = sides @ turn + middle
    apart = np.linalg.norm(corners[:, None] - footprint[None], axis=2)
    assert apart.min(axis=0) == pytest.approx(0, abs=1e-3)
    assert (found.position_m[2], found.size_m[2]) == pytest.approx((0.15, 0.3), abs=1e-3)


def test_the_floor_is_told_ahead_and_under_the_robot():
    spec = make_spec(rugs=[rug(0.8, 0, 0.4, 0.3)])
    labels = label(spec)
    assert (labels.floor, labels.floor_under) == ("rug", "tile")
    assert label(make_spec(rugs=[rug(0, 0, 0.3, 0.3)])).floor_under == "rug"


def test_the_floor_ahead_of_a_robot_at_the_wall_is_the_last_before_the_wall():
    spec = make_spec(rugs=[rug(2.9, 0, 0.15, 0.5)], start=Pose(2.7, 0, 0))
    assert label(spec).floor == "rug"


def test_a_rug_lies_turned():
    room = make_spec(rugs=[rug(1, 0, 1.0, 0.1, yaw=math.pi / 4)]).room
    assert floor_at(room, 1.5, 0.5) == "rug"
    assert floor_at(room, 1.5, -0.5) == "tile"
    assert floor_at(room, 1.9, 0.0) == "tile"


def test_free_distance_by_sector():
    """In a 6 x 4 m room, from the middle: 3 m ahead and behind, 2 m to the sides, less where a crate stands."""
    spec = make_spec([cube(0, 0, 1.2, 0.2)])
    config = load(CaptureConfig, "capture", overrides=["labels.sectors=8"])
    free = label(spec, config).free_m
    corner = 2 / math.sin(math.radians(44))
    expected = [corner, 2.0, 2.0, 2 / math.sin(math.radians(45)), corner, 1.0, 1.0, 2 / math.sin(math.radians(45))]
    assert free == pytest.approx(expected, abs=0.002)


def test_free_distance_is_capped_and_0_where_no_beam_looks():
    overrides = ["lidar.preset=1081_over_270", "lidar.max_range_m=2.5", "labels.sectors=16"]
    config = load(CaptureConfig, "capture", overrides=overrides)
    assert len(beam_angles(config.lidar)) == 1081
    free = label(make_spec(), config).free_m
    assert max(free) == 2.5
    assert [sector for sector in range(16) if free[sector] == 0] == [0, 1, 15]
