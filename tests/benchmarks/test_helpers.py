"""The benchmark's own arithmetic: ratios, verdicts, medians by turns."""

import pytest
from benchmarks.results import Result, make_table, show
from benchmarks.timing import take_turns
from rich.console import Console

from sim2edge.augment.split import split_of


def test_a_result_below_its_least_ratio_is_over():
    slow = Result("train.loop", 80.0, "images/s", "bare step", 100.0, least=0.9)
    assert (slow.ratio, slow.wanted, slow.verdict) == (0.8, ">= 0.9", "over")
    assert Result("train.loop", 95.0, "images/s", "bare step", 100.0, least=0.9).verdict == "ok"


def test_a_result_above_its_limit_is_over():
    assert Result("overhead.clean", 1.2, "s", "limit", 1.0, most=1.0).verdict == "over"
    assert Result("overhead.clean", 0.2, "s", "limit", 1.0, most=1.0).verdict == "ok"


def test_a_result_that_is_for_information_has_no_verdict():
    assert Result("detector.http", 4.0, "ms", "bare", 1.0).verdict == ""
    assert Result("detector.http", 4.0, "ms").ratio is None


def test_json_names_the_command_that_repeats_the_measurement():
    line = Result("overhead.clean_hit", 0.71234, "s", "start", 0.5).to_json()
    assert line["command"] == "python -m benchmarks overhead"
    assert (line["value"], line["ratio"]) == (0.7123, 1.425)


def test_the_table_shows_every_result():
    console = Console(width=160)
    with console.capture() as shown:
        console.print(make_table([Result("ota.check", 12.0, "ms", "python-tuf", 10.0)], "title"))
    text = shown.get()
    assert "ota.check" in text
    assert "1.2" in text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (1234.5, "1234"), (0.1234, "0.123"), (99.94, "99.9")])
def test_numbers_are_short(value, text):
    assert show(value) == text


def test_contestants_take_turns_and_the_first_round_is_not_counted():
    calls: list[str] = []
    seconds = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert "".join(calls) == "ababab"
    assert set(seconds) == {"a", "b"}


def test_the_batch_has_episodes_for_every_split():
    from benchmarks.workplace import BATCH

    splits = [split_of(f"{BATCH}.{index:04d}", validation=0.25, test=0.25) for index in range(4)]
    assert sorted(splits) == ["test", "train", "train", "validation"]


def test_every_declared_stage_can_be_run_on_the_inputs_it_declares():
    from benchmarks.workplace import INPUTS, QUICK

    from sim2edge.stages import get_stage, stage_names

    assert sorted(INPUTS) == sorted(stage_names())
    for name in stage_names():
        stage = get_stage(name)
        given = set(INPUTS[name])
        assert given <= set(stage.inputs), name
        assert not {key for key, each in stage.inputs.items() if not each.optional} - given, name
    assert set(QUICK) <= set(INPUTS)
