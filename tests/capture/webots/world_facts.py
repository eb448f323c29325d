"""What is known of Webots R2025a's worlds, as a check: `errors(text, folder)` is empty for a world without a fault.

Field names and types are those of `nodes.json` (from cyberbotics/webots, resources/nodes); the rules are those of the
reference manual and of the simulator's own field checks (docs/reference, src/webots/nodes in the same repository).
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from world_parser import Numbers, World, WorldError, WorldNode, parse_world

NODES: dict[str, Any] = json.loads((Path(__file__).parent / "nodes.json").read_text())
HEADER = "#VRML_SIM R2025a utf8"
LENGTHS = {"SFVec2f": 2, "SFVec3f": 3, "SFRotation": 4, "SFColor": 3, "SFFloat": 1, "SFInt32": 1}
GEOMETRIES = {"Box", "Capsule", "Cylinder", "Sphere", "Plane", "IndexedFaceSet"}
DEVICES = {"RotationalMotor", "PositionSensor", "Camera", "Lidar", "Gyro", "Accelerometer", "TouchSensor"}
SOLIDS = {"Solid", "Robot", "Camera", "Lidar", "Gyro", "Accelerometer", "TouchSensor"}
BOUNDING = {"Group", "Pose", "Shape"} | GEOMETRIES - {"IndexedFaceSet"}
PLACES = {
    "children": SOLIDS | {"Group", "Pose", "Transform", "Shape", "HingeJoint", "PointLight", "SpotLight"},
    "boundingObject": BOUNDING,
    "physics": {"Physics"},
    "geometry": GEOMETRIES,
    "appearance": {"PBRAppearance", "Appearance"},
    "device": {"RotationalMotor", "PositionSensor"},
    "endPoint": {"Solid"},
    "jointParameters": {"HingeJointParameters"},
    "recognition": {"Recognition"},
    "contactProperties": {"ContactProperties"},
    "baseColorMap": {"ImageTexture"},
    "coord": {"Coordinate"},
    "texCoord": {"TextureCoordinate"},
}
"""Which nodes a field takes."""
RANGES: dict[str, tuple[float, float]] = {
    "roughness": (0, 1),
    "metalness": (0, 1),
    "transparency": (0, 1),
    "bounce": (0, 1),
    "noise": (0, 1),
    "intensity": (0, math.inf),
    "radius": (1e-9, math.inf),
    "height": (1e-9, math.inf),
    "width": (1, math.inf),
    "maxTorque": (0, math.inf),
    "maxVelocity": (0, math.inf),
    "coulombFriction": (0, math.inf),
    "near": (1e-9, math.inf),
    "numberOfLayers": (1, math.inf),
    "horizontalResolution": (1, math.inf),
    "verticalFieldOfView": (1e-9, math.pi),
    "fieldOfView": (1e-9, math.tau + 1e-6),
    "subdivision": (1, 100),
}


def errors(text: str, folder: Path) -> list[str]:
    """Every fault of a world's text, which lies in `folder`."""
    try:
        world = parse_world(text)
    except WorldError as error:
        return [str(error)]
    found = [*_file(world), *_names(world), *_textures(world, folder)]
    found += [error for node in world.nodes for error in _places(node)]
    for node in world.walk():
        found += [f"line {node.line}: {node.kind}{error}" for error in _node(node)]
    return found


def _file(world: World) -> Iterator[str]:
    if world.header != HEADER:
        yield f"the first line is {world.header!r}"
    yield from (f"needs a download: {line}" for line in world.imports)
    kinds = [node.kind for node in world.nodes]
    for kind in ("WorldInfo", "Viewpoint", "Background"):
        if kinds.count(kind) != 1:
            yield f"{kinds.count(kind)} {kind} nodes"


def _names(world: World) -> Iterator[str]:
    defines = Counter(node.define for node in world.walk() if node.define)
    yield from (f"DEF {name} is given {count} times" for name, count in defines.items() if count > 1)
    yield from _doubles("solids side by side", [node for node in world.nodes if node.kind in SOLIDS])
    for node in world.walk():
        yield from _doubles("solids side by side", [child for child in node.nodes("children") if child.kind in SOLIDS])
        if node.kind == "Robot":
            yield from _doubles("devices", [below for below in node.walk() if below.kind in DEVICES])
    colours = Counter(
        tuple(n.texts for n in node.fields["recognitionColors"])
        for node in world.walk()
        if node.fields.get("recognitionColors")
    )
    yield from (
        f"{count} solids have the recognition colour {colour}" for colour, count in colours.items() if count > 1
    )


def _doubles(what: str, nodes: list[WorldNode]) -> Iterator[str]:
    names = Counter(node.string("name", node.kind) for node in nodes)
    yield from (f"{count} {what} are called {name!r}" for name, count in names.items() if count > 1)


def _textures(world: World, folder: Path) -> Iterator[str]:
    for node in world.walk():
        urls = node.fields.get("url", []) if node.kind == "ImageTexture" else []
        for url in urls:
            if (
                not isinstance(url, str)
                or "://" in url
                or not (folder / url).resolve().is_relative_to(folder.resolve())
            ):
                yield f"line {node.line}: the texture {url!r} is not in the world's folder"
            elif not (folder / url).is_file():
                yield f"line {node.line}: the texture {url!r} does not exist"


def _node(node: WorldNode) -> Iterator[str]:
    facts = NODES.get(node.kind)
    if not facts or node.kind.startswith("_"):
        yield " is not a base node"
        return
    yield from (f".{name} is given twice" for name in node.doubled)
    mistyped = False
    for name, value in node.fields.items():
        if name not in facts["fields"]:
            yield f" has no field {name}"
            continue
        kind, *allowed = facts["fields"][name]
        if error := _type_fault(kind, value):
            mistyped = True
            yield f".{name} is a {kind}: {error}"
        else:
            yield from _value_faults(node, name, kind, allowed)
    if mistyped:
        return
    yield from (RULES[node.kind](node) if node.kind in RULES else ())
    yield from (_solid(node) if node.kind in SOLIDS else ())


def _type_fault(kind: str, value: Any) -> str:
    if kind.startswith("MF"):
        if not isinstance(value, list):
            return "a list is due"
        return _list_fault("SF" + kind[2:], value)
    checks = {"SFBool": bool, "SFString": str, "SFNode": WorldNode | None}
    if kind in checks:
        return "" if isinstance(value, checks[kind]) else f"{value!r} is not one"
    if not isinstance(value, Numbers) or len(value.texts) != LENGTHS[kind]:
        return f"{LENGTHS[kind]} numbers are due"
    return _number_fault(kind, value.texts)


def _list_fault(kind: str, values: list[Any]) -> str:
    if kind not in LENGTHS:
        return next((fault for value in values if (fault := _type_fault(kind, value))), "")
    if not all(isinstance(value, Numbers) for value in values) or len(values) % LENGTHS[kind]:
        return f"numbers are due, {LENGTHS[kind]} by {LENGTHS[kind]}"
    return _number_fault(kind, [value.texts[0] for value in values])


def _number_fault(kind: str, texts: Any) -> str:
    if kind == "SFInt32" and any(not text.lstrip("+-").isdigit() for text in texts):
        return "a whole number is due"
    return "" if all(math.isfinite(float(text)) for text in texts) else "not a number"


def _value_faults(node: WorldNode, name: str, kind: str, allowed: list[str]) -> Iterator[str]:
    value = node.fields[name]
    if allowed and value not in allowed:
        yield f".{name} is {value!r}, not one of {allowed}"
    flat = (
        [float(t) for t in value.texts]
        if isinstance(value, Numbers)
        else [float(n.texts[0]) for n in value if isinstance(n, Numbers)] if isinstance(value, list) else []
    )
    low, high = (0, 1) if kind.endswith("Color") else RANGES.get(name, (-math.inf, math.inf))
    if any(not low <= number <= high for number in flat):
        yield f".{name} is {flat}, outside {low}..{high}"
    if kind == "SFRotation" and abs(math.hypot(*flat[:3]) - 1) > 1e-4:
        yield f".{name} has an axis of length {math.hypot(*flat[:3]):.4f}"


def _places(node: WorldNode, bounding: bool = False) -> Iterator[str]:
    """Nodes where they may not be; below a `boundingObject`, a geometry may stand without its Shape."""
    for name in node.fields:
        inside = bounding or name == "boundingObject"
        allowed = BOUNDING if bounding and name == "children" else PLACES.get(name)
        for child in node.nodes(name):
            if allowed and child.kind not in allowed:
                yield f"line {child.line}: {node.kind}.{name} takes no {child.kind}"
            yield from _places(child, inside)


def _solid(node: WorldNode) -> Iterator[str]:
    inside = [below.kind for bound in node.nodes("boundingObject") for below in bound.walk()]
    yield from (f".boundingObject holds a {kind}" for kind in sorted(set(inside) - BOUNDING - {"PBRAppearance"}))
    if node.nodes("physics"):
        if "Plane" in inside:
            yield " has Physics and a Plane as its boundingObject"
        if not inside:
            yield " has Physics and no boundingObject"


def _world_info(node: WorldNode) -> Iterator[str]:
    step = node.number("basicTimeStep", 32)
    if step <= 0 or 10 % step or 100 % step:
        yield f".basicTimeStep {step} does not divide the periods of 10 and 100 ms"
    if node.number("randomSeed", 0) < 0:
        yield ".randomSeed follows the clock"
    if node.number("optimalThreadCount", 1) != 1:
        yield ".optimalThreadCount above 1 is not repeatable"
    if node.string("coordinateSystem", "ENU") != "ENU":
        yield ".coordinateSystem is not the one that all numbers are meant in"


def _physics(node: WorldNode) -> Iterator[str]:
    density, mass = node.number("density", 1000), node.number("mass", -1)
    if (density == -1) == (mass == -1) or min(density, mass) != -1 or max(density, mass) <= 0:
        yield f" has density {density} and mass {mass}: one has to be -1"
    if values := [float(n.texts[0]) for n in node.fields.get("inertiaMatrix", [])]:
        xx, yy, zz, xy, xz, yz = values
        matrix = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        if np.linalg.eigvalsh(matrix).min() <= 0 or not node.fields.get("centerOfMass"):
            yield ".inertiaMatrix is not that of a body"


def _lidar(node: WorldNode) -> Iterator[str]:
    near, low, high = node.number("near", 0.01), node.number("minRange", 0.01), node.number("maxRange", 1)
    if not near <= low < high:
        yield f" has near {near}, minRange {low}, maxRange {high}"
    vertical, columns = node.number("verticalFieldOfView", 0.2), node.number("horizontalResolution", 512)
    layers, fov = node.number("numberOfLayers", 4), node.number("fieldOfView", 1.5708)
    if not layers < vertical * columns / fov:
        yield f" breaks numberOfLayers < verticalFieldOfView * horizontalResolution / fieldOfView: {layers}"
    if node.string("projection", "cylindrical") == "planar" and fov >= math.pi:
        yield " is planar with half a turn"


def _camera(node: WorldNode) -> Iterator[str]:
    if node.string("projection", "planar") == "planar" and node.number("fieldOfView", 0.785398) >= math.pi:
        yield " is planar with half a turn"
    far = node.number("far", 0)
    if far and far <= node.number("near", 0.01):
        yield ".far is before near"


def _joint(node: WorldNode) -> Iterator[str]:
    (parameters,), (end,) = node.nodes("jointParameters"), node.nodes("endPoint")
    if not end.nodes("physics"):
        yield ".endPoint has no Physics"
    if math.dist(parameters.numbers("anchor", "0 0 0"), end.numbers("translation", "0 0 0")) > 1e-6:
        yield ".anchor is not where the end point is"


def _robot(node: WorldNode) -> Iterator[str]:
    if not node.fields.get("supervisor", False):
        yield " is no supervisor"
    if not node.fields.get("synchronization", True):
        yield " does not wait for its controller"
    if not node.nodes("physics"):
        yield " has no Physics"


def _box(node: WorldNode) -> Iterator[str]:
    if min(node.numbers("size", "2 2 2")) <= 0:
        yield ".size is not positive"


RULES = {
    "WorldInfo": _world_info,
    "Physics": _physics,
    "Lidar": _lidar,
    "Camera": _camera,
    "HingeJoint": _joint,
    "Robot": _robot,
    "Box": _box,
    "Plane": _box,
}
