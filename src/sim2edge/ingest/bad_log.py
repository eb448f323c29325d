"""Define the errors of logs, and describe what libraries raise on damaged ones."""

import sqlite3
import struct

import zstandard
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from mcap.exceptions import EndOfFile, McapError
from rosbags.rosbag1 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError

from sim2edge.lines import join_lines

DAMAGE = (
    *(McapError, DecodeError, zstandard.ZstdError, struct.error, sqlite3.Error, ReaderError, SerdeError, TypesysError),
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, EOFError, MemoryError),
    *(NotImplementedError, AssertionError),
)
"""Exceptions of the libraries on damaged files, whose sizes, names and types they do not verify."""

MAX_RECORD = 1 << 30
"""Largest record or unpacked chunk, bytes: far above what writers produce."""


class BadLog(Exception):
    """A log cannot become an episode; the message names the topic or field and the reason."""


class Truncated(BadLog):
    """A log ends too early; the messages up to there are readable."""

    def __init__(self, reason: str, readable: int, size: int) -> None:
        super().__init__(f"truncated ({reason})")
        self.readable = readable
        """Bytes up to the end of the last whole record, of the unpacked file."""
        self.size = size
        """Bytes of the file as delivered."""


def words_of(error: BaseException) -> str:
    """Return the error of a library in a few words."""
    text = join_lines(error, 160) or "ends too early"
    return text if type(error) in (ValueError, EndOfFile, ReaderError) else f"{type(error).__name__}: {text}"
