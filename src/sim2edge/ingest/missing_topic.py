"""Write the line about a topic that a log lacks: it names the topics that the log has, those that fit first."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sim2edge.ingest.config import Role
from sim2edge.ingest.messages import SCHEMAS
from sim2edge.lines import one_line

if TYPE_CHECKING:
    from sim2edge.ingest.source_log import Topic

MAX_TOPICS = 12
MAX_WORD = 60
"""Longest name or type that is shown in full, characters."""


def describe_missing(role: Role, wanted: Sequence[str], topics: Mapping[str, "Topic"]) -> str:
    """Return in one line which topics a role may have, which ones the log has, and how to choose one."""
    names = sorted(topics, key=lambda name: (topics[name].schema not in SCHEMAS[role], name))
    shown = [f"{_short(name)} ({_short(topics[name].schema or topics[name].encoding)})" for name in names[:MAX_TOPICS]]
    more = f" and {len(names) - MAX_TOPICS} more" if len(names) > MAX_TOPICS else ""
    missing = f"no messages on {' or '.join(wanted) or 'any topic'}: topics.{role} names where it is"
    return f"{missing}; the file has {', '.join(shown) or 'no messages'}{more}"


def _short(word: str) -> str:
    shown = one_line(word)
    return shown if len(shown) <= MAX_WORD else f"{shown[:MAX_WORD]}..."
