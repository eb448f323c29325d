"""`sim2edge withdraw`: three models and two devices have the batch; what is listed, offered, rolled back, retrained."""

import json
from datetime import UTC, datetime

import pytest
from withdrawn_world import BATCH, build

from sim2edge import cli, retrain, withdraw_commands
from sim2edge.affected import find_rings
from sim2edge.bus import Bus
from sim2edge.catalog import Catalog
from sim2edge.lineage import downstream
from sim2edge.retrain import make_request, submit
from sim2edge.tombstone import tombstone_key
from sim2edge.withdrawal import read_tombstone


@pytest.fixture
def world(bus):
    return build(bus)


@pytest.fixture
def run(bus, monkeypatch, capfd):
    """`run(*words) -> (exit code, standard output, standard error)`."""
    monkeypatch.setattr(Bus, "from_environment", classmethod(lambda cls, *_: bus))

    def run_command(*words):
        code = cli.main(list(words))
        told = capfd.readouterr()
        return code, told.out, told.err

    return run_command


@pytest.fixture
def withdraw(run):
    """`withdraw(*words) -> what it printed as JSON`, after it succeeded."""

    def run_command(*words):
        code, out, err = run("withdraw", BATCH, "--json", "--by", "ana", *words)
        assert code == 0, err
        return json.loads(out)

    return run_command


def requests(bus):
    return retrain.open_requests(bus, datetime.now(UTC)).requests


def request_data(bus, batch):
    return submit(bus, make_request("data", f"batch {batch}", {"frames": batch}, by="data_cleaning", batch=batch))


def test_everything_that_derives_from_the_batch_is_listed_the_past_included(world, withdraw):
    found = withdraw("--reason", "shifted labels")
    expected = {
        kind: sorted(world[f"{kind}-{number}"] for number in (2, 3, 4))
        for kind in ("dataset", "model", "verdict", "release", "rollout")
    }
    expected |= {kind: [world[f"{kind}-2"]] for kind in ("episodes", "frames")}
    assert found["artifacts"] == expected
    assert found["withdrawn"] is True
    assert [event["reason"] for event in found["history"]] == ["shifted labels"]


def test_each_device_that_runs_had_or_may_have_had_such_a_release_is_listed(world, withdraw):
    one, two = withdraw("--reason", "shifted labels")["devices"]
    assert (one["device"], one["runs"], one["previous"], one["offered"]) == (
        "pi-1", world.release(3), None, [world.release(3)],
    )  # fmt: skip
    assert (two["device"], two["runs"], two["previous"], two["offered"]) == (
        "pi-2", world.release(4), world.release(2), [world.release(2), world.release(4)],
    )  # fmt: skip


def test_each_ring_is_told_the_newest_earlier_release_without_the_batch_or_that_there_is_none(world, withdraw):
    found = withdraw("--reason", "shifted labels")
    canary, stable = found["rings"]
    assert (canary["ring"], canary["back_to"], canary["command"]) == ("canary", None, None)
    assert (stable["ring"], stable["back_to"]) == ("stable", world["release-1"])
    assert stable["command"] in found["commands"]
    assert found["champion"] == {"model": world["model-4"], "back_to": world["model-1"]}


def test_a_later_batch_takes_one_ring_and_the_champion_back_by_one_release(world, run):
    found = json.loads(run("withdraw", "lab-3", "--reason", "broken sensor", "--json")[1])
    assert [(ring["ring"], ring["back_to"]) for ring in found["rings"]] == [("canary", world["release-2"])]
    assert found["champion"] == {"model": world["model-4"], "back_to": world["model-3"]}


def test_the_ring_with_the_newest_release_is_rolled_back_last_as_it_names_the_champion(world):
    world.add_training(5, [3], "canary")
    world.add_training(6, [2, 3], "stable")
    catalog = Catalog(world.bus)
    catalog.refresh()
    known = {each.reference: each for each in catalog.records()}
    current = {"canary": world["rollout-5"], "stable": world["rollout-6"]}
    rings = find_rings(known, {world["release-5"]}, current)
    assert [(ring.ring, ring.back_to) for ring in rings] == [
        ("stable", world["release-3"]), ("canary", world["release-4"]),
    ]  # fmt: skip


def test_a_person_reads_the_same_in_lines(world, run):
    _, out, _ = run("withdraw", BATCH, "--reason", "shifted labels", "--by", "ana")
    assert f"batch '{BATCH}' was withdrawn on " in out
    assert f"ring canary: {world['release-4']}, there is no earlier release without a withdrawn batch" in out
    assert f"ring stable: {world['release-3']}, could go back to {world['release-1']}" in out
    assert f"device pi-2: runs {world.release(4)}; has in its other slot {world.release(2)}" in out


def test_nothing_goes_back_to_a_release_of_another_withdrawn_batch(world, run, withdraw):
    assert run("withdraw", "lab-1", "--reason", "broken sensor")[0] == 0
    found = withdraw("--reason", "shifted labels")
    assert [ring["back_to"] for ring in found["rings"]] == [None, None]
    assert found["champion"]["back_to"] is None


def test_a_dry_run_lists_the_same_and_changes_nothing(world, withdraw):
    before = sorted(world.bus.list(""))
    listed = withdraw("--dry-run", "--erase", "--retrain", "--roll-back")
    assert sorted(world.bus.list("")) == before
    done = withdraw("--reason", "shifted labels")
    assert {key: listed[key] for key in ("artifacts", "rings", "devices", "champion")} == {
        key: done[key] for key in ("artifacts", "rings", "devices", "champion")
    }


def test_a_repetition_changes_nothing_and_needs_no_reason(world, withdraw):
    withdraw("--reason", "shifted labels")
    before = world.bus.get(tombstone_key(BATCH))
    assert withdraw()["history"] == withdraw("--reason", "another")["history"]
    assert world.bus.get(tombstone_key(BATCH)) == before


def test_its_open_requests_are_dropped_and_others_stay(world, withdraw):
    request_data(world.bus, BATCH)
    request_data(world.bus, "lab-3")
    (line,) = withdraw("--reason", "shifted labels")["requests"]
    assert f"(batch {BATCH})" in line
    assert [request.batch for request in requests(world.bus)] == ["lab-3"]
    request_data(world.bus, BATCH)
    found = retrain.open_requests(world.bus, datetime.now(UTC))
    (line,) = found.dropped.values()
    assert f"batch '{BATCH}' was withdrawn on " in line
    retrain.clear_leftovers(world.bus, found)
    assert len(list(world.bus.list(retrain.OPEN))) == 1


def test_a_training_without_it_is_requested_once_and_learns_from_the_others(world, withdraw):
    for _ in range(2):
        withdraw("--reason", "shifted labels", "--retrain")
    (request,) = requests(world.bus)
    assert (request.kind, request.reason, request.by) == (
        "manual", f"batch {BATCH} was withdrawn: shifted labels", "ana",
    )  # fmt: skip
    assert retrain.current_frames(world.bus) == [world["frames-1"], world["frames-3"]]
    assert retrain.newest_batch(world.bus) == "lab-3"


def test_the_offered_command_submits_that_request(world, run, withdraw):
    import shlex

    offered = next(words for words in withdraw("--reason", "it's wrong")["commands"] if "retrain" in words)
    assert run(*shlex.split(offered)[1:])[0] == 0
    withdraw("--retrain")
    assert len(requests(world.bus)) == 1


def test_the_newest_batch_that_counts_is_not_a_withdrawn_one(world, run):
    run("withdraw", "lab-3", "--reason", "broken sensor")
    assert retrain.newest_batch(world.bus) == BATCH


def test_rolling_back_publishes_the_earlier_release_and_moves_the_champion(world, withdraw, monkeypatch):
    pushed = []
    monkeypatch.setattr(withdraw_commands, "push", lambda release, ring: pushed.append((release, ring)))
    withdraw("--reason", "shifted labels", "--roll-back")
    assert pushed == [(world["release-1"], "stable")]
    assert world.bus.read_ref("refs/models/champion").target == world["model-1"]


def test_undoing_brings_it_back_with_its_history(world, withdraw, run):
    withdraw("--reason", "shifted labels")
    code, _, err = run("withdraw", BATCH, "--undo")
    assert (code, "--reason is missing" in err) == (2, True)
    found = withdraw("--undo", "--reason", "labels are fine", "--retrain")
    assert found["withdrawn"] is False
    assert [event["action"] for event in found["history"]] == ["withdraw", "lift"]
    assert world["frames-2"] in retrain.current_frames(world.bus)
    assert requests(world.bus)[0].reason == f"batch {BATCH} is back: labels are fine"
    assert withdraw("--reason", "shifted after all")["withdrawn"] is True


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lab-9", "--reason", "typo"], "batch 'lab-9': nothing of it is on the bus"),
        ([BATCH], "--reason is missing"),
        ([BATCH, "--reason", "two\nlines"], "--reason: expected one line"),
        ([BATCH, "--reason", "x" * 301], "--reason: String should have at most 300"),
        ([BATCH, "--undo", "--reason", "x"], f"batch '{BATCH}' is not withdrawn"),
        (["../x", "--reason", "x"], "partition '../x'"),
        ([BATCH, "--reason", "a wish", "--erase"], "confirm with --yes"),
        ([BATCH, "--reason", "x", "--undo", "--erase", "--yes"], "--undo: not together with --erase"),
        ([BATCH, "--reason", "x", "--keep-models"], "--keep-models: only together with --erase"),
    ],
)
def test_bad_words_are_one_line_and_change_nothing(world, run, words, line):
    before = sorted(world.bus.list(""))
    code, _, err = run("withdraw", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert line in err
    assert sorted(world.bus.list("")) == before


def test_a_delivery_that_nothing_was_made_from_yet_can_be_withdrawn(bus, run):
    bus.put("inbox/farm.1/run.mcap", b"x")
    assert run("withdraw", "farm.1", "--reason", "a wish")[0] == 0
    assert read_tombstone(bus, "farm.1")[0].withdrawn


def test_a_folder_is_not_delivered_under_a_withdrawn_batch(world, run, tmp_path):
    run("withdraw", BATCH, "--reason", "a wish")
    (tmp_path / "run.mcap").write_bytes(b"again")
    before = sorted(world.bus.list("inbox"))
    code, _, err = run("ingest", str(tmp_path), "--partition", BATCH)
    assert (code, f"ingest: batch '{BATCH}' was withdrawn on " in err) == (2, True)
    assert sorted(world.bus.list("inbox")) == before


def test_the_lineage_names_devices_that_run_it_and_those_that_had_it(world):
    Catalog(world.bus).refresh()
    found = downstream(world.bus, world["model-2"])
    assert found["devices_before"] == ["pi-2"]
    assert "devices" not in found
    assert downstream(world.bus, world["frames-2"])["devices"] == ["pi-1", "pi-2"]
