"""A log that was read in pieces is the log that was read at once, wherever the connection broke."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from sim2edge_airflow.runtimes.docker_logs import OVERLAP_S, LogPosition, Message

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(microseconds: int) -> str:
    return (START + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds").replace("+00:00", "000Z")


def interleave(first: list[Message], second: list[Message], choices: list[bool]) -> list[Message]:
    """Both in their own order, mixed as `choices` say, but none behind one that is much later: as the engine does."""
    queues, mixed, wished = [list(first), list(second)], [], iter(choices)
    while all(queues):
        apart_s = seconds(queues[1][0]) - seconds(queues[0][0])
        chosen = next(wished, apart_s < 0) if abs(apart_s) < OVERLAP_S - 1 else apart_s < 0
        mixed.append(queues[chosen].pop(0))
    return mixed + queues[0] + queues[1]


def seconds(message: Message) -> float:
    return datetime.fromisoformat(message.time).timestamp()


@st.composite
def mixed_logs(draw):
    """Two streams as the engine keeps them: each in order of time, the parts of a long line at the same time."""
    streams = []
    for stream in (1, 2):
        time, messages = 0, []
        for number in range(draw(st.integers(0, 8))):
            time += draw(st.integers(1, 3_000_000))
            parts = draw(st.integers(1, 3))
            for part in range(parts):
                end = "\n" if part == parts - 1 else ""
                messages.append(Message(stream, at(time), f"{stream}.{number}.{part}{end}".encode()))
        streams.append(messages)
    return interleave(*streams, draw(st.lists(st.booleans(), max_size=60)))


@given(mixed_logs(), st.lists(st.integers(0, 60), max_size=5))
def test_nothing_is_lost_and_nothing_is_repeated(log, breaks):
    whole = LogPosition()
    expected = [*whole.read(iter(log)), *whole.end()]
    position, lines = LogPosition(), []
    for count in [*sorted(breaks), len(log)]:
        since = float(position.since or 0)
        sent = [message for message in log[:count] if seconds(message) >= since]
        lines += position.read(iter(sent))
    lines += position.end()
    assert lines == expected


def test_parts_of_long_lines_of_two_streams_do_not_mix():
    position = LogPosition()
    log = [Message(1, at(1), b"long "), Message(2, at(2), b"warning\n"), Message(1, at(1), b"line\n")]
    assert list(position.read(iter(log))) == ["warning", "long line"]


def test_the_engine_is_asked_for_a_little_more_than_what_is_new():
    position = LogPosition()
    assert position.since is None
    list(position.read(iter([Message(1, at(0), b"x\n")])))
    assert float(position.since) == START.timestamp() - 5


def test_a_time_late_in_its_second_is_not_rounded_up():
    position = LogPosition()
    list(position.read(iter([Message(1, at(900_000), b"x\n")])))
    assert float(position.since) == START.timestamp() - OVERLAP_S
