"""Stands in for the `controller` package of Webots: the same classes, names and signatures, driven by MuJoCo.

Only what sim2edge uses is there. `test_standin.py` compares every signature with those recorded from Webots (api.json).
"""

# The names and signatures are Webots'.
# ruff: noqa: N802, N803

import math
import os
import sys
from pathlib import Path

import standin_engine as engine


class Device:
    def __init__(self, name):
        self._engine = engine.current
        self._node = name
        self._name = name.string("name")

    def getName(self):
        return self._name


class Sensor(Device):
    def __init__(self, name, sampling_period=None):
        super().__init__(name)
        self._period = 0
        self._value = None

    def enable(self, p):
        self._engine.every(p, self._sample)
        self._period = p

    def getSamplingPeriod(self):
        return self._period

    def _sample(self):
        self._value = self._read()

    def _read(self):
        raise NotImplementedError


class PositionSensor(Sensor):
    def _read(self):
        return float(self._engine.data.qpos[self._engine.world.joints[self._name]])

    def getValue(self):
        return math.nan if self._value is None else self._value


class _ThreeValues(Sensor):
    def _read(self):
        return [float(value) for value in self._engine.data.sensor(self._name).data]

    def getValues(self):
        return [math.nan] * 3 if self._value is None else list(self._value)


class Gyro(_ThreeValues):
    pass


class Accelerometer(_ThreeValues):
    pass


class Lidar(Sensor):
    def _read(self):
        return self._engine.scan(self._node)

    def getRangeImage(self):
        return None if self._value is None else list(self._value)

    def getNumberOfLayers(self):
        return int(self._node.number("numberOfLayers", 4))

    def getHorizontalResolution(self):
        return int(self._node.number("horizontalResolution", 512))


class Camera(Sensor):
    def __init__(self, name, sampling_period=None):
        super().__init__(name)
        self._recognising, self._segmenting = 0, False
        self._segmentation = None

    def _read(self):
        image, segmentation = self._engine.draw(self._node)
        if self._recognising and self._segmenting:
            self._segmentation = segmentation
        return image

    def getImage(self):
        return self._value

    def getWidth(self):
        return int(self._node.number("width", 64))

    def getHeight(self):
        return int(self._node.number("height", 64))

    def hasRecognition(self):
        return bool(self._node.nodes("recognition"))

    def recognitionEnable(self, sampling_period):
        if not self.hasRecognition():
            self._engine.refuse("recognitionEnable: the camera has no Recognition")
            return
        if sampling_period != self._period:
            raise ValueError("the stand-in draws both images at once: enable them with one period")
        self._recognising = sampling_period

    def enableRecognitionSegmentation(self):
        (recognition,) = self._node.nodes("recognition") or [None]
        if not recognition or not recognition.fields.get("segmentation", False):
            self._engine.refuse("enableRecognitionSegmentation: Recognition.segmentation is FALSE")
            return
        self._segmenting = True

    def getRecognitionSegmentationImage(self):
        return self._segmentation


class Motor(Device):
    def __init__(self, name):
        super().__init__(name)
        self._position, self._velocity = 0.0, self._node.number("maxVelocity", 10)

    def setPosition(self, position):
        self._position = float(position)
        self._queue()

    def setVelocity(self, velocity):
        limit = self._node.number("maxVelocity", 10)
        if abs(velocity) > limit:
            self._engine.refuse(f"setVelocity: {velocity} exceeds the motor's {limit}")
        self._velocity = max(-limit, min(limit, float(velocity)))
        self._queue()

    def getMaxVelocity(self):
        return self._node.number("maxVelocity", 10)

    def _queue(self):
        self._engine.pending.append(self._apply)

    def _apply(self):
        if math.isfinite(self._position):
            raise NotImplementedError("the stand-in has no position control: setPosition(inf) comes first")
        self._engine.data.ctrl[self._engine.world.motors[self._name]] = self._velocity


class ContactPoint:
    def __init__(self, point):
        self.point, self.node_id = point, 1

    def getPoint(self):
        return self.point

    def getNodeId(self):
        return self.node_id


class Field:
    def __init__(self, ref):
        self._node, self._name = ref
        self._engine = engine.current

    def getName(self):
        return self._name

    def getSFVec3f(self):
        return [float(value) for value in self._node.numbers(self._name, "0 0 0")]

    def getSFRotation(self):
        return [float(value) for value in self._node.numbers(self._name, "0 0 1 0")]

    def setSFVec3f(self, value):
        self._set("setSFVec3f", value, 3)

    def setSFRotation(self, value):
        self._set("setSFRotation", value, 4)

    def _set(self, method, value, length):
        if type(value) is not list or len(value) != length or any(type(number) is not float for number in value):
            self._engine.refuse(f"{method}: a list of {length} floats is due, not {value!r}")
            return
        self._engine.pending.append(lambda: self._apply(list(value)))

    def _apply(self, value):
        mocap, data = self._engine.world.mocap[self._node.define], self._engine.data
        if self._name == "translation":
            data.mocap_pos[mocap] = value
        else:
            x, y, z, angle = value
            sine = math.sin(angle / 2)
            data.mocap_quat[mocap] = [math.cos(angle / 2), x * sine, y * sine, z * sine]
        self._node.fields[self._name] = type(self._node.fields[self._name])(tuple(repr(number) for number in value))


class Node:
    def __init__(self, DEF=None, tag=None, id=None, selected=None, ref=None):  # noqa: A002
        self._engine = engine.current
        self._node = ref

    def getDef(self):
        return self._node.define

    def getTypeName(self):
        return self._node.kind

    def getField(self, fieldName):
        return Field((self._node, fieldName)) if fieldName in self._node.fields else None

    def getPosition(self):
        return [float(value) for value in self._body().xpos]

    def getOrientation(self):
        return [float(value) for value in self._body().xmat]

    def _body(self):
        return self._engine.data.body(self._node.define)

    def enableContactPointsTracking(self, samplingPeriod, includeDescendants=False):
        self._engine.every(samplingPeriod, lambda: None)

    def getContactPoints(self, includeDescendants=False):
        if self._node.kind != "Robot" or not includeDescendants:
            raise NotImplementedError("the stand-in knows the contacts of the whole robot only")
        return [ContactPoint(point) for point in self._engine.contacts()]

    def setVisibility(self, fromNode, visible):
        viewer = fromNode._node
        if viewer.kind not in ("Camera", "Lidar", "RangeFinder", "Viewpoint"):
            self._engine.refuse(f"setVisibility: nothing is seen from a {viewer.kind}")
            return
        hidden = self._engine.hidden.setdefault(viewer.define, set())
        group = {self._engine.world.groups[self._node.define]}
        self._engine.pending.append(lambda: hidden.difference_update(group) if visible else hidden.update(group))


DEVICES = {
    "Camera": Camera,
    "Lidar": Lidar,
    "Gyro": Gyro,
    "Accelerometer": Accelerometer,
    "RotationalMotor": Motor,
    "PositionSensor": PositionSensor,
}


class Robot:
    def __init__(self):
        if engine.current is None:
            engine.load(Path(os.environ["STANDIN_WORLD"]))
        self._engine = engine.current
        if getattr(self._engine, "controlled", False):
            raise RuntimeError("only one Robot object a process")
        self._engine.controlled = True
        found = (node for node in self._engine.robot.walk() if node.kind in DEVICES)
        self.devices = {node.string("name"): DEVICES[node.kind](node) for node in found}

    def getDevice(self, name):
        if name not in self.devices:
            print(f'Device "{name}" was not found on robot', file=sys.stderr)
        return self.devices.get(name)

    def getBasicTimeStep(self):
        return float(self._engine.step_ms)

    def getTime(self):
        return self._engine.time_ms / 1000

    def step(self, time_step=None):
        return self._engine.step(self._engine.step_ms if time_step is None else time_step)


class Supervisor(Robot):
    SIMULATION_MODE_PAUSE, SIMULATION_MODE_REAL_TIME, SIMULATION_MODE_FAST = 0, 1, 2

    def getFromDef(self, d):
        node = self._engine.world.world.defined(d)
        return None if node is None else Node(ref=node)

    def getSelf(self):
        return Node(ref=self._engine.robot)

    def simulationQuit(self, status):
        self._engine.quit_status = status
