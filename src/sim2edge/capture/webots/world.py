"""Build the Webots world of an episode: base nodes only, so that nothing is downloaded, and one texture file.

    text = episode_world(spec, config, task="/somewhere/task.json")

The controller finds the nodes it moves and hides by `DEF` names; recognition colours distinguish obstacles.
"""

from sim2edge.capture.config import CaptureConfig
from sim2edge.capture.specs import EpisodeSpec, Obstacle, RoomSpec
from sim2edge.capture.webots.colours import instance_colour
from sim2edge.capture.webots.geometry import bounding, visible
from sim2edge.capture.webots.robot_node import CASTER_MATERIAL, WHEEL_MATERIAL, robot_node
from sim2edge.capture.webots.shading import lamps, sky, textured
from sim2edge.capture.webots.vrml import Node, turned, world_text

STEP_MS = 5
"""Time step of the physics; the control tick and the inertial unit's period are multiples."""
FLOOR, DECORATIONS = "FLOOR", "DECORATIONS"
FLOOR_MATERIAL = "floor"
TEXTURE = "textures/floor.png"
"""Relative to the world's file."""
VIEW_HEIGHT_M = 12.0
NEVER_S = 1e6
"""Time after which a body at rest is taken out of the physics; 0 would mean at once."""
ROLLS_FREELY = 0.0
RUBS = 1.0


def episode_world(spec: EpisodeSpec, config: CaptureConfig, task: str) -> str:
    """Return the text of the world; `task` is the path passed to the controller."""
    room = spec.room
    nodes = [
        _world_info(spec),
        Node("Viewpoint", orientation=(0.0, 1.0, 0.0, 1.5707963), position=(0.0, 0.0, VIEW_HEIGHT_M)),
        sky(room.ambient),
        *lamps(room.lights, room.ambient, config.camera.shadows),
        _floor(room),
        _walls(room),
        Node("Group", define=DECORATIONS, children=[visible(part, shadows=False) for part in room.decorations]),
        *(_obstacle(obstacle) for obstacle in room.obstacles),
        robot_node(spec, config, task),
    ]
    return world_text(nodes)


def obstacle_name(instance: int) -> str:
    """Return the DEF name of an obstacle."""
    return f"OBSTACLE_{instance}"


def random_seed(seed: str) -> int:
    """Return the seed of Webots' own generator: fixed, and not its default."""
    return int(seed[:8], 16) % (2**31 - 1) + 1


def _world_info(spec: EpisodeSpec) -> Node:
    wheels = _contact(WHEEL_MATERIAL, FLOOR_MATERIAL, float(spec.robot.wheel_friction))
    return Node(
        "WorldInfo",
        title=spec.episode_id,
        basicTimeStep=float(STEP_MS),
        optimalThreadCount=1,
        physicsDisableTime=NEVER_S,
        randomSeed=random_seed(spec.seed),
        contactProperties=[
            wheels,
            _contact(CASTER_MATERIAL, FLOOR_MATERIAL, ROLLS_FREELY),
            _contact("default", "default", RUBS),
        ],
    )


def _contact(one: str, other: str, friction: float) -> Node:
    return Node("ContactProperties", material1=one, material2=other, coulombFriction=[friction], bounce=0.0)


def _floor(room: RoomSpec) -> Node:
    x, y = room.width_m / 2, room.length_m / 2
    # Explicit corners place the picture: the orientation on a Plane is undocumented.
    square = Node(
        "IndexedFaceSet",
        coord=Node("Coordinate", point=[(-x, -y, 0.0), (x, -y, 0.0), (x, y, 0.0), (-x, y, 0.0)]),
        texCoord=Node("TextureCoordinate", point=[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]),
        coordIndex=[0, 1, 2, 3, -1],
        texCoordIndex=[0, 1, 2, 3, -1],
    )
    return Node(
        "Solid",
        define=FLOOR,
        name="floor",
        contactMaterial=FLOOR_MATERIAL,
        children=[Node("Shape", appearance=textured(TEXTURE), geometry=square)],
        boundingObject=Node("Plane", size=(float(room.width_m), float(room.length_m))),
        locked=True,
    )


def _walls(room: RoomSpec) -> Node:
    parts = list(room.walls)
    children = [visible(part) for part in parts]
    return Node("Solid", name="walls", children=children, boundingObject=bounding(parts), locked=True)


def _obstacle(obstacle: Obstacle) -> Node:
    parts = list(obstacle.parts)
    return Node(
        "Solid",
        define=obstacle_name(obstacle.instance),
        translation=(float(obstacle.x_m), float(obstacle.y_m), 0.0),
        rotation=turned(obstacle.yaw_rad),
        name=f"obstacle {obstacle.instance}",
        model=obstacle.label,
        recognitionColors=[instance_colour(obstacle.instance)],
        children=[visible(part) for part in parts],
        boundingObject=bounding(parts),
    )
