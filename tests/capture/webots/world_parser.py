"""Reads a Webots world text into plain nodes, strictly: what it does not understand is an error with its line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(
    r"""(?P<space>[\s,]+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\])*")|(?P<sign>[{}\[\]])"""
    r"""|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<word>[A-Za-z_][\w.<>-]*)""",
    re.VERBOSE,
)


class WorldError(Exception):
    """The text is not a world."""


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int


@dataclass
class WorldNode:
    """A node; a number is kept as its text, because `1` and `1.0` are of different types."""

    kind: str
    define: str
    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    doubled: list[str] = field(default_factory=list)

    def numbers(self, name: str, default: str = "") -> tuple[float, ...]:
        """A field of numbers."""
        value = self.fields.get(name, Numbers(tuple(default.split())))
        return tuple(float(text) for text in value.texts)

    def number(self, name: str, default: float) -> float:
        """A field of one number."""
        return self.numbers(name, str(default))[0]

    def string(self, name: str, default: str = "") -> str:
        value = self.fields.get(name, default)
        assert isinstance(value, str)
        return value

    def nodes(self, name: str) -> list["WorldNode"]:
        """The nodes of an MFNode field, or the one of an SFNode field."""
        value = self.fields.get(name, [])
        values = value if isinstance(value, list) else [value]
        return [node for node in values if isinstance(node, WorldNode)]

    def walk(self) -> "Iterator[WorldNode]":
        """This node and all below."""
        yield self
        for value in self.fields.values():
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, WorldNode):
                    yield from child.walk()


@dataclass(frozen=True)
class Numbers:
    """Numbers outside brackets."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class World:
    header: str
    imports: list[str]
    nodes: list[WorldNode]

    def walk(self) -> Iterator[WorldNode]:
        for node in self.nodes:
            yield from node.walk()

    def find(self, kind: str) -> WorldNode:
        """The only node of a kind."""
        (node,) = [node for node in self.walk() if node.kind == kind]
        return node

    def defined(self, define: str) -> WorldNode | None:
        return next((node for node in self.walk() if node.define == define), None)


def parse_world(text: str) -> World:
    """Parse a whole file."""
    lines = text.split("\n")
    imports = [line for line in lines if re.match(r"\s*(IMPORTABLE\s+)?EXTERNPROTO\b", line)]
    body = "\n".join("" if line in imports else line for line in lines[1:])
    return World(lines[0], imports, _Parser(_tokens("\n" + body)).world())


def _tokens(text: str) -> list[Token]:
    tokens, position, line = [], 0, 1
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match or not match.lastgroup:
            raise WorldError(f"line {line}: cannot read {text[position:position + 20]!r}")
        if match.lastgroup != "space":
            tokens.append(Token(match.lastgroup, match.group(), line))
        line += match.group().count("\n")
        position = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at = tokens, 0

    def world(self) -> list[WorldNode]:
        nodes = []
        while self._peek() is not None:
            nodes.append(self._node())
        return nodes

    def _peek(self, ahead: int = 0) -> Token | None:
        return self._tokens[self._at + ahead] if self._at + ahead < len(self._tokens) else None

    def _take(self, kind: str, text: str = "") -> Token:
        token = self._peek()
        if token is None or token.kind != kind or (text and token.text != text):
            found = f"line {token.line}: {token.text!r}" if token else "the end"
            raise WorldError(f"{found} where {text or 'a ' + kind} is due")
        self._at += 1
        return token

    def _node(self) -> WorldNode:
        define = ""
        if (token := self._peek()) and token.text == "DEF":
            self._at += 1
            define = self._take("word").text
        head = self._take("word")
        node = WorldNode(head.text, define, head.line)
        self._take("sign", "{")
        while (token := self._peek()) and token.text != "}":
            name = self._take("word").text
            if name in node.fields:
                node.doubled.append(name)
            node.fields[name] = self._value()
        self._take("sign", "}")
        return node

    def _value(self) -> Any:
        token = self._peek()
        if token is None:
            raise WorldError("the end where a value is due")
        if token.text == "[":
            return self._list()
        if token.kind == "number":
            return Numbers(tuple(self._numbers()))
        return self._single(token)

    def _numbers(self) -> Iterator[str]:
        while (token := self._peek()) and token.kind == "number":
            self._at += 1
            yield token.text

    def _single(self, token: Token) -> Any:
        if token.kind == "string":
            self._at += 1
            return re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if token.text in ("TRUE", "FALSE", "NULL"):
            self._at += 1
            return {"TRUE": True, "FALSE": False, "NULL": None}[token.text]
        if token.kind == "word":
            return self._node()
        raise WorldError(f"line {token.line}: {token.text!r} where a value is due")

    def _list(self) -> list[Any]:
        self._take("sign", "[")
        values: list[Any] = []
        while (token := self._peek()) and token.text != "]":
            if token.kind == "number":
                self._at += 1
                values.append(Numbers((token.text,)))
            else:
                values.append(self._single(token))
        self._take("sign", "]")
        return values
