"""Worlds: every one that a hundred seeds give is without a fault, and the check that says so finds faults."""

import pytest
from world_facts import errors
from world_parser import parse_world

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.webots.project import write_project
from sim2edge.capture.webots.vrml import format_number, quote
from sim2edge.capture.webots.world import episode_world
from sim2edge.config import load

LAYOUTS = ("rectangle", "l", "corridor", "two_rooms", "clutter")


def test_a_hundred_worlds_of_all_layouts_have_no_fault(config, tmp_path):
    spec, _ = draw_episode(config, "facts", 0)
    folder = write_project(tmp_path / "project", spec, config).world.parent
    layouts, walkers = set(), 0
    for index in range(100):
        spec, _ = draw_episode(config, "facts", index)
        assert errors(episode_world(spec, config, "/task.json"), folder) == [], spec.episode_id
        layouts.add(spec.room.layout)
        walkers += sum(obstacle.motion is not None for obstacle in spec.room.obstacles)
    assert layouts == set(LAYOUTS)
    assert walkers > 0


@pytest.mark.parametrize(
    "override",
    [
        "lidar.preset=1081_over_270",
        "lidar={beams: 8, fov_deg: 355}",
        "lidar={beams: 4096, fov_deg: 10}",
        "lidar_3d={enabled: true, layers: 128, columns: 16, vertical_fov_deg: 2}",
        "camera={width: 1920, height: 24, fov_deg: 120}",
    ],
)
def test_extreme_sensors_make_worlds_without_a_fault(override, tmp_path):
    config = load(CaptureConfig, "capture", overrides=[override])
    spec, _ = draw_episode(config, "extreme", 0)
    project = write_project(tmp_path / "project", spec, config)
    assert errors(project.world.read_text(), project.world.parent) == []


@pytest.fixture(scope="module")
def faultless(tmp_path_factory):
    """The text of a world without a fault, and its folder."""
    config = load(CaptureConfig, "capture")
    spec, _ = draw_episode(config, "mutants", 3)
    project = write_project(tmp_path_factory.mktemp("mutants") / "project", spec, config)
    return project.world.read_text(), project.world.parent


MUTATIONS = [
    ("unknown field", '  name "floor"', '  name "floor"\n  colour 1 0 0', "no field colour"),
    ("unknown node", "PointLight {", "Lamp {", "not a base node"),
    ("text for a number", "basicTimeStep 5", 'basicTimeStep "5"', "SFFloat"),
    ("fraction for a whole number", "optimalThreadCount 1", "optimalThreadCount 1.5", "whole number"),
    ("number for a truth", "supervisor TRUE", "supervisor 1", "SFBool"),
    ("two numbers for three", "axis 0 1 0", "axis 0 1", "3 numbers"),
    ("one string for a list", 'url [ "textures/floor.png" ]', 'url "textures/floor.png"', "a list is due"),
    ("no header", "#VRML_SIM R2025a utf8\n", "\n", "first line"),
    ("header of another release", "R2025a", "R2023b", "first line"),
    ("a download", "utf8\n", 'utf8\nEXTERNPROTO "https://example.org/Wall.proto"\n', "needs a download"),
    ("a proto without import", "Viewpoint {", "TexturedBackground {\n}\nViewpoint {", "not a base node"),
    ("scanner with too few columns", "horizontalResolution 360", "horizontalResolution 100", "numberOfLayers <"),
    ("range that ends before it starts", "maxRange 9", "maxRange 0.001", "maxRange"),
    ("DEF given twice", "DEF OBSTACLE_1 ", "DEF OBSTACLE_0 ", "2 times"),
    ("name given twice", 'name "obstacle 1"', 'name "obstacle 0"', "are called"),
    ("device name given twice", 'name "gyro"', 'name "camera"', "devices are called"),
    ("colour out of range", "roughness 1", "roughness 1.5", "outside"),
    ("axis that is none", "rotation 0 0 1", "rotation 0 0 2", "axis of length"),
    ("Physics under Plane", "boundingObject Plane {", "physics Physics {\n}\n  boundingObject Plane {", "a Plane"),
    ("scale on a Solid", 'name "walls"', 'name "walls"\n  scale 2 2 2', "no field scale"),
    ("texture outside", "textures/floor.png", "../floor.png", "not in the world's folder"),
    ("texture from the web", "textures/floor.png", "https://example.org/floor.png", "not in the world's folder"),
    ("texture that is not there", "textures/floor.png", "textures/flour.png", "does not exist"),
    ("value not allowed", 'projection "cylindrical"', 'projection "spherical"', "not one of"),
    ("step that does not divide", "basicTimeStep 5", "basicTimeStep 32", "does not divide"),
    ("seed from the clock", "randomSeed ", "randomSeed -", "clock"),
    ("mass that is ignored", "density -1", "density 1000", "one has to be -1"),
    (
        "two obstacles of one colour",
        "recognitionColors [ 0 0 0.4 ]",
        "recognitionColors [ 0 0 0.2 ]",
        "recognition colour",
    ),
    ("brace missing", "Background {", "Background", "due"),
    ("light as a device", "device [", "device [\n PointLight {\n }", "takes no PointLight"),
]


@pytest.mark.parametrize(("old", "new", "error"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS])
def test_a_fault_is_found(faultless, old, new, error):
    text, folder = faultless
    assert errors(text, folder) == []
    assert old in text
    assert any(error in found for found in errors(text.replace(old, new, 1), folder))


def test_the_same_episode_gives_the_same_text(config):
    spec, _ = draw_episode(config, "same", 0)
    assert episode_world(spec, config, "/task.json") == episode_world(spec.model_copy(deep=True), config, "/task.json")


def test_numbers_and_strings_are_written_plainly():
    written = [format_number(number) for number in (1.0, -0.0, -1e-9, 0.1 + 0.2, 1e-7, 360, 123456.5)]
    assert written == ["1", "0", "0", "0.3", "0.0000001", "360", "123456.5"]
    text = 'a "quoted" \\ path'
    world = parse_world("#VRML_SIM R2025a utf8\nSolid {\n name " + quote(text) + "\n}\n")
    assert world.nodes[0].string("name") == text
