"""Convert colours and lamps so that Webots renders a room about as bright as MuJoCo.

MuJoCo multiplies a surface's colour by the light on it, both as given. Webots computes in linear light: base
colours and sky are taken as linear, textures are converted, a lamp counts by the square of its intensity over pi, and
the picture is `(1 - exp(-light)) ** (1 / 2.2)` (cyberbotics/webots: resources/wren/shaders/pbr.frag, hdr_resolve.frag).
So colours are written as linear, and light so strong that a medium surface is right in the shade and below lamps.
"""

import math
from collections.abc import Sequence

from sim2edge.capture.specs import Light, Vector
from sim2edge.capture.webots.vrml import Node

GAMMA = 2.2
DIFFUSE = 0.96
"""Share of the light that a non-metallic surface scatters."""
GAIN = 1.25
"""Compensates the exposure's exponential for a medium surface."""


def linear(rgb: Vector) -> Vector:
    """Convert a colour to linear light."""
    red, green, blue = (float(channel) ** GAMMA for channel in rgb)
    return red, green, blue


def appearance(rgb: Vector) -> Node:
    """Return a matt surface of one colour; Webots' default is a mirror."""
    return Node("PBRAppearance", baseColor=linear(rgb), roughness=1.0, metalness=0.0)


def textured(url: str) -> Node:
    """Return a matt surface with a picture, not repeated."""
    picture = Node("ImageTexture", url=[url], repeatS=False, repeatT=False)
    return Node("PBRAppearance", baseColorMap=picture, roughness=1.0, metalness=0.0)


def sky(ambient: float) -> Node:
    """Return the ambient light, which surfaces in the shade get."""
    strength = min(1.0, _linear_light(ambient))
    return Node("Background", skyColor=[(strength, strength, strength)])


def lamps(lights: Sequence[Light], ambient: float, shadows: bool) -> list[Node]:
    """Return the lamps of a room; the first one may cast shadows."""
    strengths = [max(*light.rgb, 1e-6) for light in lights]
    together = sum(strengths)
    needed = _linear_light(ambient + together) - _linear_light(ambient)
    return [
        _lamp(light, needed * strength / together, shadows and index == 0)
        for index, (light, strength) in enumerate(zip(lights, strengths, strict=True))
    ]


def _linear_light(light: float) -> float:
    strength: float = GAIN * light**GAMMA / DIFFUSE
    return strength


def _lamp(light: Light, strength: float, shadows: bool) -> Node:
    brightest = max(*light.rgb, 1e-6)
    red, green, blue = (channel / brightest for channel in light.rgb)
    x, y, z = (float(value) for value in light.position)
    return Node(
        "PointLight",
        location=(x, y, z),
        color=linear((red, green, blue)),
        intensity=math.sqrt(math.pi * strength),
        castShadows=shadows,
    )
