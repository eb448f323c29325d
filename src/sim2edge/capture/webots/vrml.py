"""Write Webots' world language: nodes as plain data, with reproducible text.

    Node("Box", size=(0.1, 0.2, 0.3)).text()      # Box { size 0.1 0.2 0.3 }

The type of a value decides how it is written: a float is an SFFloat, a tuple of numbers a vector, rotation or colour, a
list has several of them, a `Node` is an SFNode. Webots is strict about types, and so is this module.
"""

from collections.abc import Sequence
from typing import Union

HEADER = "#VRML_SIM R2025a utf8"
DECIMALS = 7
INDENT = "  "

Numbers = tuple[float, ...]
Value = Union[
    bool, int, float, str, Numbers, "Node", Sequence["Node"], Sequence[str], Sequence[float], Sequence[Numbers]
]
Rotation = tuple[float, float, float, float]
"""Axis (x, y, z) and angle in radians."""


class Node:
    """One node: its kind, its fields in the given order, and a name by which the controller finds it (`DEF`)."""

    def __init__(self, kind: str, define: str = "", **fields: Value) -> None:
        self.kind, self.define, self.fields = kind, define, fields

    def text(self, indent: str = "") -> str:
        """Return the node's text in a world file."""
        inner = indent + INDENT
        name = f"DEF {self.define} " if self.define else ""
        lines = [f"{inner}{field} {format_value(value, inner)}" for field, value in self.fields.items()]
        return "\n".join([f"{name}{self.kind} {{", *lines, f"{indent}}}"])


def world_text(nodes: Sequence[Node]) -> str:
    """Return the text of a world file."""
    return "\n".join([HEADER, *(node.text() for node in nodes)]) + "\n"


def format_value(value: Value, indent: str = "") -> str:
    """Return the text of a field's value; `indent` is that of its line.

    Raises:
        TypeError: no field has a value of that type.
    """
    if isinstance(value, Node):
        return value.text(indent)
    if isinstance(value, list):
        return _format_list(value, indent)
    if isinstance(value, tuple):
        return " ".join(format_number(number) for number in value)
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return format_number(value)
    if isinstance(value, str):
        return quote(value)
    raise TypeError(f"a world has no value like {value!r}")


def _format_list(values: Sequence[Value], indent: str) -> str:
    if not values:
        return "[]"
    inner = indent + INDENT
    if isinstance(values[0], Node):
        return "\n".join(["[", *(inner + format_value(value, inner) for value in values), f"{indent}]"])
    separator = ", " if isinstance(values[0], tuple) else " "
    return f"[ {separator.join(format_value(value) for value in values)} ]"


def format_number(number: float) -> str:
    """Return a number without exponent, trailing zeros or negative zero."""
    if isinstance(number, int):
        return str(number)
    text = f"{number:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def quote(text: str) -> str:
    """Return a string in quotes, escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def turned(yaw_rad: float) -> Rotation:
    """Return a rotation around the upright axis."""
    return 0.0, 0.0, 1.0, float(yaw_rad)
