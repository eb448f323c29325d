"""The stand-in for Webots' `controller` package has Webots' own signatures, and is as strict."""

import inspect
import json
import math
from pathlib import Path

import controller
import pytest
import standin_engine as engine

from sim2edge.capture.room_simulator import draw_episode
from sim2edge.capture.webots.project import write_project

API = json.loads((Path(__file__).parent / "api.json").read_text())
CLASSES = [name for name in API if not name.startswith("_")]


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_are_those_of_webots(name):
    kind, recorded = getattr(controller, name), API[name]
    assert [base.__name__ for base in inspect.getmro(kind)[1:2] if not base.__name__.startswith("_")] in (
        recorded["bases"],
        ["object"],
        [],
    )
    for method, function in vars(kind).items():
        if (method.startswith("_") and method != "__init__") or not callable(function):
            continue
        assert method in recorded["methods"], f"Webots has no {name}.{method}"
        parameters = list(inspect.signature(function).parameters.values())[1:]
        ours = [f"{p.name}={p.default!r}" if p.default is not p.empty else p.name for p in parameters]
        assert ours == recorded["methods"][method], f"{name}.{method}"


def test_constants_are_those_of_webots():
    for name, value in API["Supervisor"]["constants"].items():
        assert getattr(controller.Supervisor, name) == value


@pytest.fixture
def supervisor(config, tmp_path):
    spec, _ = draw_episode(config, "standin", 1)
    engine.load(write_project(tmp_path / "project", spec, config).world)
    return controller.Supervisor()


def test_a_step_is_a_multiple_of_the_worlds(supervisor):
    assert supervisor.step(10) == 0
    for duration in (7, 10.0, 0):
        with pytest.raises(ValueError, match="multiple"):
            supervisor.step(duration)


def test_sensors_give_nothing_before_their_first_whole_period(supervisor):
    camera, lidar, wheel = (supervisor.getDevice(name) for name in ("camera", "lidar", "left wheel sensor"))
    supervisor.step(100)
    assert (camera.getImage(), lidar.getRangeImage()) == (None, None)
    assert math.isnan(wheel.getValue())
    for sensor in (camera, lidar, wheel):
        sensor.enable(100)
    supervisor.step(95)
    assert lidar.getRangeImage() is None
    supervisor.step(5)
    assert lidar.getRangeImage() is not None
    assert camera.getImage() is not None
    assert not math.isnan(wheel.getValue())


def test_segmentation_wants_both_calls(supervisor):
    camera = supervisor.getDevice("camera")
    camera.enable(100)
    camera.recognitionEnable(100)
    supervisor.step(100)
    assert camera.getRecognitionSegmentationImage() is None
    camera.enableRecognitionSegmentation()
    supervisor.step(100)
    assert camera.getRecognitionSegmentationImage() is not None


@pytest.mark.parametrize("value", [(1.0, 1.0, 0.0), [1, 1.0, 0.0], [1.0, 1.0]])
def test_fields_refuse_wrong_types(supervisor, value):
    supervisor.getFromDef("OBSTACLE_0").getField("translation").setSFVec3f(value)
    assert len(engine.current.refusals) == 1


def test_fields_change_with_the_next_step(supervisor):
    node = supervisor.getFromDef("OBSTACLE_0")
    before = node.getPosition()
    node.getField("translation").setSFVec3f([9.0, 9.0, 0.0])
    assert node.getPosition() == before
    supervisor.step(10)
    assert node.getPosition() == [9.0, 9.0, 0.0]


def test_unknown_names_give_none(supervisor):
    assert supervisor.getDevice("sonar") is None
    assert supervisor.getFromDef("NOBODY") is None


def test_the_end_is_a_step_of_minus_one(supervisor):
    supervisor.simulationQuit(0)
    assert supervisor.step(10) == -1
