"""Report on each log in `ingest_report.json`, and as a table for operators.

print("\n".join(table(Report.model_validate_json(path.read_bytes()))))
"""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from sim2edge.ingest.place import Clock
from sim2edge.ingest.read_log import Cut
from sim2edge.ingest.understand import Understood
from sim2edge.manifest import File
from sim2edge.recipes.needs import ROLES, match


class TopicReport(BaseModel):
    """A topic of a log."""

    model_config = ConfigDict(frozen=True)

    schema_name: str
    encoding: str
    messages: int
    role: str | None
    """The role of the topic; None: not used."""


class ClockReport(BaseModel):
    """The map from log time to stamps, by which messages without stamps are placed."""

    model_config = ConfigDict(frozen=True)

    topic: str
    """The topic it was learned from."""
    pieces: int
    """Number of stretches in which it is certain."""
    rate: float
    """Seconds of stamps in a second of log time, the median."""
    residual_ms: float
    """Largest distance of a stamp from the map."""


class LogReport(BaseModel):
    """The result of one log."""

    model_config = ConfigDict(frozen=True)

    file: str
    sha256: str
    bytes: int
    refused: str | None = None
    """Why the log is not in the batch; the fields below are empty then."""
    episode_id: str | None = None
    topics: dict[str, TopicReport] = {}
    clock: str = ""
    clock_reason: str = ""
    """Why the stamps were not used."""
    unstamped: tuple[str, ...] = ()
    """Topics without stamps: their log time was used, converted to the stamps' clock."""
    clock_map: ClockReport | None = None
    """None: no map is known, or the stamps were not used."""
    late_ms: dict[str, float] = {}
    """By role, how much later after its stamp a message is logged than on the quickest topic, the median."""
    out_of_order: dict[str, int] = {}
    """Messages left out because of their times, by topic."""
    duration_s: float = 0.0
    ticks: int = 0
    dropped: dict[str, int] = {}
    """Dropped ticks, by the role they lack; `clock`: the command in force was not certain."""
    farthest_ms: dict[str, float] = {}
    """By role, the largest distance of a message from its image; for the image, from its tick."""
    broken_images: int = 0
    nan_scans: int = 0
    absent: tuple[str, ...] = ()
    """Roles that the log has no topic for."""
    mounting: str = ""
    """How the scanner is mounted, and how that is known."""
    returns: float | None = None
    """Share of the beams with a return, over all scans."""
    notes: tuple[str, ...] = ()
    """What an operator should know."""
    labelled: bool = False
    boxes: dict[str, int] = {}
    """Labelled boxes by class."""
    floor: str = ""
    salvaged: Cut | None = None
    """What was salvaged of a truncated log."""
    drive: str | None = None
    """The drive that the log is a piece of; None: it is one of its own."""


class Report(BaseModel):
    """`ingest_report.json`."""

    model_config = ConfigDict(frozen=True)

    batch: str
    logs: tuple[LogReport, ...]

    @property
    def refused(self) -> Sequence[LogReport]:
        """The refused logs."""
        return [log for log in self.logs if log.refused is not None]


def report_refused(source: File, reason: str) -> LogReport:
    """Return the report on a log that was refused."""
    return LogReport(file=source.path, sha256=source.sha256, bytes=source.bytes, refused=reason)


def report_log(source: File, episode_id: str, understood: Understood, floor: str) -> LogReport:
    """Return the report on a log that became an episode."""
    log, ticks, clock = understood.log, understood.ticks, understood.clock
    roles = {stream.topic: role for role, stream in log.streams.items()}
    return LogReport(
        file=source.path,
        sha256=source.sha256,
        bytes=source.bytes,
        episode_id=episode_id,
        topics={
            name: TopicReport(
                schema_name=topic.schema, encoding=topic.encoding, messages=topic.messages, role=roles.get(name)
            )
            for name, topic in sorted(log.topics.items())
        },
        clock=clock.name,
        clock_reason=clock.reason,
        unstamped=tuple(sorted(s.topic for s in log.streams.values() if clock.name == "stamps" and not s.stamped)),
        clock_map=_report_map(clock),
        late_ms={role: round(late / 1e6, 3) for role, late in sorted(understood.placed.late_ns.items())},
        out_of_order=dict(sorted(understood.placed.left_out.items())),
        duration_s=round(understood.duration_s, 3),
        ticks=len(ticks),
        dropped=dict(ticks.dropped),
        farthest_ms={role: round(far / 1e6, 3) for role, far in ticks.farthest_ns.items()},
        broken_images=log.streams["image"].values.count(None),
        nan_scans=sum(value is None for value in log.streams["scan"].values) if "scan" in log.streams else 0,
        absent=log.absent,
        mounting=str(log.scanner.mounting) if log.scanner else "",
        returns=round(log.scanner.seen.returns, 4) if log.scanner else None,
        notes=understood.notes,
        labelled=log.labelled,
        boxes=count_boxes(understood),
        floor=floor,
        salvaged=log.cut,
    )


def _report_map(clock: Clock) -> ClockReport | None:
    if clock.map is None:
        return None
    residual_ms = round(clock.map.residual_ns / 1e6, 3)
    return ClockReport(
        topic=clock.reference, pieces=clock.map.pieces, rate=round(clock.map.rate, 4), residual_ms=residual_ms
    )


def count_boxes(understood: Understood) -> dict[str, int]:
    """Return the number of labelled boxes by class over the ticks of an episode."""
    if not understood.log.labelled:
        return {}
    labels = understood.log.streams["labels"].values
    chosen = understood.ticks.chosen["labels"].tolist()
    return dict(sorted(Counter(box.label for number in chosen for box in labels[number].boxes).items()))


ODD_RATE = 0.01
MAX_DETAILED = 10
"""Largest number of logs that are logged in detail; the file always has all details."""
HEADER = ("file", "episode", "seconds", "ticks", "dropped", "clock", "truth", "floor")


def table(report: Report) -> list[str]:
    """Return the report as lines.

    A table of the logs, the refused ones with their reasons and, for few logs, the details of each.
    """
    rows = [HEADER, *(_row(log) for log in report.logs if log.refused is None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    detailed = report.logs if len(report.logs) <= MAX_DETAILED else report.refused
    return [*lines, *(note for log in detailed for note in _notes(log))]


def _row(log: LogReport) -> tuple[str, ...]:
    dropped = ", ".join(f"{role} {count}" for role, count in log.dropped.items()) or "0"
    truth = "labels" if log.labelled else "none"
    clock = f"{log.clock} ({log.clock_reason})" if log.clock_reason else log.clock
    numbers = f"{log.duration_s:.1f}", str(log.ticks)
    return log.file, log.episode_id or "", *numbers, dropped, clock, truth, log.floor or "-"


def _uses(log: LogReport) -> list[str]:
    """Return which recipes a log serves, and what it lacks for each other; nothing if it has all that was measured."""
    if not set(log.absent) - {"labels"}:
        return []
    served, lacking = match([role for role in ROLES if role not in log.absent])
    others = [f"{name} (no {', no '.join(missing)})" for name, missing in lacking.items()]
    text = f"serves {', '.join(served) or 'no recipe'}" + (f"; not {', '.join(others)}" if others else "")
    return [f"{log.file}: without {', '.join(log.absent)}: {text}"]


def _clock_notes(log: LogReport) -> list[str]:
    lines = []
    if log.unstamped:
        lines.append(f"{log.file}: no stamps, log time used: {', '.join(log.unstamped)}")
    if log.clock_map and log.unstamped and (log.clock_map.pieces > 1 or abs(log.clock_map.rate - 1) > ODD_RATE):
        found = log.clock_map
        lines.append(
            f"{log.file}: stamps run {found.rate:g} times as fast as the log time, in {found.pieces} pieces "
            f"(within {found.residual_ms:g} ms, from {found.topic})"
        )
    if log.out_of_order:
        left_out = ", ".join(f"{topic} {count}" for topic, count in log.out_of_order.items())
        lines.append(f"{log.file}: messages whose times are out of order, left out: {left_out}")
    return lines


def _notes(log: LogReport) -> list[str]:
    if log.refused is not None:
        return [f"{log.file}: refused: {log.refused}"]
    used = [f"{t.role} {name} ({t.schema_name}, {t.messages})" for name, t in log.topics.items() if t.role]
    spare = [f"{name} ({t.schema_name or t.encoding}, {t.messages})" for name, t in log.topics.items() if not t.role]
    lines = [f"{log.file}: {', '.join(used)}"]
    if log.returns is not None:
        lines.append(f"{log.file}: mounting of the scanner: {log.mounting}; {log.returns:.1%} of beams have a return")
    lines += [f"{log.file}: {note}" for note in log.notes]
    if spare:
        lines.append(f"{log.file}: not used: {', '.join(spare)}")
    lines += _clock_notes(log)
    if log.broken_images or log.nan_scans:
        lines.append(f"{log.file}: {log.broken_images} broken images, {log.nan_scans} scans of NaN left out")
    if log.drive:
        lines.append(f"{log.file}: a piece of the drive {log.drive}")
    if cut := log.salvaged:
        read = f"{cut.seconds:g} s, {cut.messages} messages, {cut.bytes} of {cut.of_bytes} bytes"
        lines.append(f"{log.file}: {cut.reason}: salvaged {read}")
    lines += _uses(log)
    if not log.labelled:
        lines.append(f"{log.file}: without ground truth: kept for replay, but clean leaves it out of training")
    return lines
