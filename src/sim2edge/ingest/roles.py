"""Choose the topic of each role in a log, and decide whether a log that lacks roles is worth taking.

A log is taken if it serves a recipe. Without labels it serves none, but it can be replayed. What looks like a role that
the log lacks is not lost in silence: the log is refused with the topic that has it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sim2edge.ingest.config import ROLES, IngestConfig, Role
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.messages import SCHEMAS
from sim2edge.ingest.missing_topic import describe_missing
from sim2edge.lines import one_line
from sim2edge.recipes.needs import match

if TYPE_CHECKING:
    from sim2edge.ingest.source_log import Stream, Topic

LOOKED_FOR: Sequence[Role] = ("scan", "pose", "command")
"""Roles whose schemas are looked for in other topics; detections of a robot look like labels, but are no truth."""


def choose_streams(
    streams: Mapping[str, "Stream"], topics: Mapping[str, "Topic"], config: IngestConfig
) -> dict[Role, "Stream"]:
    """Return the stream of each role that the log has: that of its first topic with messages.

    Raises:
        BadLog: a chosen topic cannot be used, the log serves no recipe, or another topic looks like an absent role.
    """
    chosen: dict[Role, Stream] = {}
    for role in ROLES:
        stream = next((streams[name] for name in config.topics.of(role) if name in streams), None)
        if stream is not None and stream.problem:
            raise BadLog(stream.problem)
        if stream is not None:
            chosen[role] = stream
    _check_needs(chosen, topics, config)
    for role in LOOKED_FOR:
        if role not in chosen and config.topics.of(role):
            _check_overlooked(role, topics, config)
    return chosen


def _check_needs(chosen: Mapping[Role, object], topics: Mapping[str, "Topic"], config: IngestConfig) -> None:
    """Refuse a log without images, or of no use to any recipe even if it had labels."""
    served, lacking = match([*chosen, "labels"])
    missing: str = "image" if "image" not in chosen else "" if served else next(iter(lacking.values()))[0]
    if not missing:
        return
    role = next(role for role in ROLES if role == missing)
    raise BadLog(describe_missing(role, config.topics.of(role), topics))


def _check_overlooked(role: Role, topics: Mapping[str, "Topic"], config: IngestConfig) -> None:
    used = {name for each in ROLES for name in config.topics.of(each)}
    looks = (name for name, topic in sorted(topics.items()) if topic.schema in SCHEMAS[role] and name not in used)
    found = next(looks, None)
    if found is not None:
        names = " or ".join(config.topics.of(role))
        raise BadLog(
            f"no messages on {names}, but {one_line(found)} is {topics[found].schema}: "
            f"set topics.{role}={one_line(found)}, or topics.{role}=[] to leave it out"
        )
