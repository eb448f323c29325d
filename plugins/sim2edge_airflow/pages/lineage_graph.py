"""Lay out the boxes and lines of a lineage graph. Pure: artifacts and their inputs in, coordinates out.

graph = draw(focus, nodes, edges)       # columns by kind, few boxes a column, "and 960 more" for the rest
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sim2edge.stages import kinds

COLUMNS = ("shard", *kinds(), "device")
MAXIMUM = 8
"""Boxes a column before the rest collapses."""
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN, HEAD = 130, 46, 34, 12, 12, 28


@dataclass(frozen=True)
class Node:
    """An artifact or a device, before it has a place."""

    key: str
    column: str
    title: str
    subtitle: str = ""
    href: str = ""
    state: str = ""
    """A class of the style sheet: `refused`, `champion`."""
    order: float = 0.0
    """Seconds since 1970; nodes with higher values are shown first."""


@dataclass(frozen=True)
class Box:
    """A node, or a group of collapsed nodes, with its position in pixels."""

    node: Node
    x: int
    y: int
    focus: bool = False
    more: int = 0
    """Number of collapsed nodes it stands for; 0: a single node."""


@dataclass(frozen=True)
class Graph:
    """The laid-out graph, ready to draw."""

    width: int
    height: int
    heads: Sequence[tuple[str, int]]
    """Name of a column and the x of its left edge."""
    boxes: Sequence[Box]
    lines: Sequence[str]
    """SVG paths."""
    box_width: int = WIDTH
    box_height: int = HEIGHT


@dataclass
class _Column:
    kept: list[Node] = field(default_factory=list)
    rest: int = 0


def draw(focus: str, nodes: Iterable[Node], edges: Collection[tuple[str, str]], more_href: str = "") -> Graph:
    """Lay out a graph.

    Args:
        focus: key of the central node.
        nodes: all nodes.
        edges: pairs of keys, from input to output.
        more_href: link of a box of collapsed nodes.
    """
    by_key = {node.key: node for node in nodes}
    columns = _choose(focus, by_key, edges)
    place = {node.key: node.key for column in columns.values() for node in column.kept}
    collapsed = {key: place.get(key, f"more:{node.column}") for key, node in by_key.items()}
    lines = {(collapsed[a], collapsed[b]) for a, b in edges if a in collapsed and b in collapsed}
    lines = reduce({(a, b) for a, b in lines if a != b})
    return _place(focus, columns, lines, more_href)


def _choose(focus: str, by_key: Mapping[str, Node], edges: Collection[tuple[str, str]]) -> dict[str, _Column]:
    """Return the nodes to show in each column, from the focus outwards, neighbours of shown nodes first."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    for one, other in edges:
        neighbours[one].add(other)
        neighbours[other].add(one)
    present = [name for name in COLUMNS if any(node.column == name for node in by_key.values())]
    middle = present.index(by_key[focus].column)
    rank: dict[str, int] = {}

    def weight(node: Node) -> tuple[bool, int, float, str]:
        tied = [rank[key] for key in neighbours[node.key] if key in rank]
        return node.key != focus, min(tied, default=MAXIMUM), -node.order, node.key

    chosen: dict[str, _Column] = {}
    for name in sorted(present, key=lambda each: abs(present.index(each) - middle)):
        found = sorted((node for node in by_key.values() if node.column == name), key=weight)
        most = MAXIMUM if len(found) <= MAXIMUM else MAXIMUM - 1
        chosen[name] = _Column(found[:most], max(len(found) - most, 0))
        rank.update({node.key: place for place, node in enumerate(found[:most])})
    return {name: chosen[name] for name in present}


def reduce(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the transitive reduction: without edges that a longer path implies."""
    after: dict[str, set[str]] = defaultdict(set)
    for one, other in edges:
        after[one].add(other)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        pending = [start]
        while pending:
            for each in after[pending.pop()] - seen:
                seen.add(each)
                pending.append(each)
        return seen

    below = {key: reached(key) for key in list(after)}
    return {
        (one, other)
        for one, other in edges
        if not any(other in below.get(between, ()) for between in after[one] if between != other)
    }


def _place(focus: str, columns: Mapping[str, _Column], edges: set[tuple[str, str]], more_href: str) -> Graph:
    tallest = max(len(column.kept) + bool(column.rest) for column in columns.values())
    height = HEAD + tallest * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    boxes: dict[str, Box] = {}
    heads = []
    for index, (name, column) in enumerate(columns.items()):
        x = MARGIN + index * (WIDTH + GAP_X)
        heads.append((name, x))
        shown = list(column.kept)
        if column.rest:
            words = f"and {column.rest:,} more"
            shown.append(Node(f"more:{name}", name, words, "listed below", more_href, "more"))
        top = HEAD + MARGIN + (tallest - len(shown)) * (HEIGHT + GAP_Y) // 2
        for place, node in enumerate(shown):
            stands_for = column.rest if node.state == "more" else 0
            boxes[node.key] = Box(node, x, top + place * (HEIGHT + GAP_Y), node.key == focus, stands_for)
    width = 2 * MARGIN + len(columns) * (WIDTH + GAP_X) - GAP_X
    lines = [_line(boxes[one], boxes[other]) for one, other in sorted(edges)]
    return Graph(width, height, heads, list(boxes.values()), lines)


def _line(one: Box, other: Box) -> str:
    x1, y1, x2, y2 = one.x + WIDTH, one.y + HEIGHT // 2, other.x, other.y + HEIGHT // 2
    bend = max((x2 - x1) // 2, 12)
    return f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
