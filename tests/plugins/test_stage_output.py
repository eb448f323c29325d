"""A stage's JSON events become a log for people; whatever else it prints is kept as it is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sim2edge_airflow.operators.stage_output import StageOutput, parse_event


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    error = info


def hear(*lines, clock=lambda: 0.0):
    log = Log()
    output = StageOutput(log, clock)
    for line in lines:
        output.hear(line if isinstance(line, str) else json.dumps(line))
    return output, log.lines


def test_events_become_sentences():
    output, lines = hear(
        {"event": "log", "stage": "clean", "message": "2 episodes set aside", "reason": "failed"},
        {"event": "progress", "stage": "clean", "done": 3, "total": 3, "kept": 120, "loss": 0.123456},
        {"event": "committed", "reference": "frames/b/1", "summary": {"frames": 120, "classes": ["chair"]}},
    )
    assert lines == [
        "2 episodes set aside  reason=failed",
        "3/3  kept=120  loss=0.1235",
        "committed frames/b/1  frames=120",
    ]
    assert output.committed == "frames/b/1"


def test_progress_is_shown_every_two_seconds_and_at_the_end():
    times = iter(range(100))
    events = [{"event": "progress", "done": done, "total": 9} for done in range(1, 10)]
    _, lines = hear(*events, clock=lambda: next(times) / 2)
    assert lines[0] == "1/9"
    assert lines[-1] == "9/9"
    assert len(lines) < 6


def test_what_went_wrong_is_the_error_event_or_else_the_last_lines():
    said, _ = hear("Traceback ...", {"event": "error", "message": "clean.width: too small", "code": 2})
    assert said.error == "clean.width: too small"
    not_said, lines = hear("Traceback (most recent call last):", '  File "x.py", line 1', "", "ValueError: x")
    assert not_said.error.endswith("ValueError: x")
    assert len(lines) == 3
    assert hear()[0].error == "it printed no reason"


@given(st.one_of(st.text(), st.recursive(st.integers() | st.text(), st.lists).map(json.dumps)))
def test_any_line_can_be_heard(line):
    output, _ = hear(line)
    assert parse_event(line) is None
    assert output.committed is None


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
    st.sampled_from(["log", "progress", "error", "x"]),
)
def test_any_event_can_be_heard(fields, kind):
    hear({**fields, "event": kind})
