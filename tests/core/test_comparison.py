"""Two artifacts side by side."""

import json

import pytest

from sim2edge import cli, runner
from sim2edge import plan as plans
from sim2edge.bus import Bus
from sim2edge.comparison import Line, compare, direction
from sim2edge.errors import BadInput
from sim2edge.progress import JsonProgress


def make(bus, name="capture", batch="demo-1", *overrides):
    return runner.execute(bus, plans.plan(bus, name, batch, None, overrides), JsonProgress("toy"))


@pytest.fixture
def two(bus, toy_stages, monkeypatch):
    """Two batches, the second with more lines, on the bus of the command line."""
    monkeypatch.setattr(Bus, "from_environment", staticmethod(lambda *_: bus))
    return make(bus), make(bus, "capture", "demo-2", "lines=5")


def values(lines):
    return {(line.part, line.name): (line.first, line.second) for line in lines if line.differs}


def test_what_differs_is_named_with_both_values(two):
    found = values(compare(*two))
    assert found["config", "lines"] == (3, 5)
    assert found["result", "lines"] == (3, 5)
    assert ("config", "range.low") not in found
    assert ("files", "lines.txt") in found
    line = next(each for each in compare(*two) if (each.part, each.name) == ("result", "lines"))
    assert line.difference == 2


def test_an_artifact_does_not_differ_from_itself(two):
    assert values(compare(two[0], two[0])) == {}


def test_artifacts_of_different_kinds_are_refused(two, bus):
    with pytest.raises(BadInput, match="are of different kinds: nothing to compare"):
        compare(two[0], make(bus, "clean"))


def test_the_command(two, capsys):
    names = [manifest.reference for manifest in two]
    capsys.readouterr()
    assert cli.main(["compare", *names]) == 0
    out = capsys.readouterr().out
    assert "lines" in out
    assert "+2" in out
    assert cli.main(["compare", *names, "--json"]) == 0
    assert {"part": "config", "name": "lines", "first": 3, "second": 5} in json.loads(capsys.readouterr().out)
    assert cli.main(["compare", names[0], names[0]]) == 0
    assert "config" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("map_50", 1),
        ("map50", 1),
        ("floor_accuracy", 1),
        ("ap_50.cable", 1),
        ("success_rate", 1),
        ("distance_error_m", -1),
        ("latency_ms", -1),
        ("train_total_loss", -1),
        ("bundle_bytes", -1),
        ("frames", 0),
        ("best_epoch", 0),
        ("mapped", 0),
        ("rate", 0),
    ],
)
def test_the_name_of_a_figure_tells_which_is_better(name, sign):
    assert direction(name) == sign


def test_better_is_said_of_results_and_costs_that_differ_only():
    assert Line("result", "map_50", 0.4, 0.5).better == "second"
    assert Line("cost", "wall_s", 10.0, 12.0).better == "first"
    assert Line("result", "map_50", 0.4, 0.4).better is None
    assert Line("result", "map_50", None, 0.4).better is None
    assert Line("config", "loss_weight", 1, 2).better is None, "a setting is neither"
