"""What a run was told to make: the same plan goes on, any other one is refused with what differs."""

from dataclasses import replace

import pytest
import toy_stage

from sim2edge import cli, runner
from sim2edge import plan as plans
from sim2edge.errors import BadInput
from sim2edge.expectation import UNNAMED, Expectation, check_expected, parse_expectation
from sim2edge.progress import JsonProgress


def plan(bus, name="capture", overrides=(), **more):
    return plans.plan(bus, name, "demo-1", None, overrides, **more)


def refusal(planned, here):
    """Why `here`, which is the plan at the stage, is refused when `planned` was planned."""
    with pytest.raises(BadInput) as caught:
        check_expected(here, parse_expectation(Expectation.of(planned).to_word()))
    return str(caught.value).partition(f"{planned.reference} was planned, but this run makes {here.reference}: ")[2]


def test_the_plan_itself_is_expected(bus, toy_stages):
    for planned in (plan(bus), plan(bus, shard="2/3"), plan(bus, gather=3)):
        check_expected(planned, parse_expectation(Expectation.of(planned).to_word()))
        check_expected(planned, parse_expectation(planned.reference))


def test_how_the_work_is_done_may_differ(bus, toy_stages):
    check_expected(plan(bus, overrides=["workers=7"]), Expectation.of(plan(bus)))


def test_another_version_is_named(bus, toy_stages):
    planned = plan(bus)
    here = plan(bus)
    ahead = replace(toy_stage.SOURCE, version=2)
    here = replace(here, stage=ahead, reference=planned.reference[:-16] + "0" * 16)
    assert refusal(planned, here) == "version is 2 (planned: 1)"


def test_config_fields_are_named_with_both_values_and_the_rest_counted(bus, toy_stages):
    here = plan(bus, overrides=["lines=4", "range.low=0.5"])
    both = "config field 'lines' is 4 (planned: 3), config field 'range.low' is 0.5 (planned: 0.0)"
    assert refusal(plan(bus), here) == both
    known, newer = Expectation.of(plan(bus)), {f"new{n}": n for n in range(6)}
    said = refusal(plan(bus, overrides=["lines=5"]), plan(bus))
    assert said == "config field 'lines' is 3 (planned: 5)"
    with pytest.raises(BadInput, match=r"config field 'new0' is not there \(planned: 0\).*, and 3 more$"):
        check_expected(here, known.model_copy(update={"config": {**known.config, **newer, "lines": 4}}))


def test_another_input_is_named_by_its_role(bus, toy_stages):
    plans_ = [plan(bus, overrides=[f"lines={n}"]) for n in (1, 2)]
    made = [runner.execute(bus, each, JsonProgress("toy")).reference for each in plans_]
    one, two = (plan(bus, "clean", inputs={"episodes": [each]}) for each in made)
    assert refusal(one, two) == "input 'episodes' is another one"


def test_another_batch_or_shard_is_refused(bus, toy_stages):
    other = plans.plan(bus, "capture", "demo-2")
    assert refusal(plan(bus), other) == UNNAMED
    assert refusal(plan(bus, shard="1/3"), plan(bus, shard="2/3")) == UNNAMED


def test_a_shard_whose_batch_came_about_meanwhile_is_still_the_expected_one(bus, toy_stages):
    expected = Expectation.of(plan(bus, shard="1/3"))
    whole = runner.execute(bus, plan(bus), JsonProgress("toy"))
    here = plan(bus, shard="1/3")
    check_expected(here, expected)
    assert here.manifest == plans.find_made(bus, here) == whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--expect '': not an artifact reference"),
        ("frames/demo-1", "--expect 'frames/demo-1': not an artifact reference"),
        ("{", "--expect: plan: Invalid JSON"),
        ("{}", "--expect: reference: Field required"),
        ('{"reference": "../../etc/passwd"}', "--expect '../../etc/passwd': not an artifact reference"),
        ('{"reference": "frames/a/0123456789abcdef", "version": "new"}', "--expect: version: Input should be"),
        ('{"reference": "frames/a/0123456789abcdef", "more": 1}', "--expect: more: Extra inputs"),
        ('{"a":' * 5000, "--expect: plan: Invalid JSON"),
    ],
)
def test_what_is_no_expectation_is_one_clear_line(text, message):
    with pytest.raises(BadInput) as caught:
        parse_expectation(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_makes_what_is_expected_and_refuses_what_is_not(bus, toy_stages, monkeypatch, capsys):
    monkeypatch.setattr("sim2edge.bus.Bus.from_environment", lambda: bus)
    reference = plan(bus).reference
    run = ["capture", "--partition=demo-1", f"--expect={reference}"]
    assert cli.main([*run, "lines=9"]) == 2
    assert f"sim2edge: capture: {reference} was planned, but" in capsys.readouterr().err
    assert list(bus.artifacts()) == []
    assert cli.main(run) == 0
    assert bus.exists(reference)
