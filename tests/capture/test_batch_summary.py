"""`sim2edge summarize`: what it prints of a batch, of its shards, and of what is no batch."""

import pytest
from rich.console import Console

from sim2edge import cli
from sim2edge.bus import Bus
from sim2edge.capture.batch_summary import Batch, print_batch, read_batch
from sim2edge.episodes.table import read_table
from sim2edge.errors import BadInput


@pytest.fixture
def printed(capsys):
    """`printed(batch)`: the text that a wide terminal shows."""

    def show(batch: Batch) -> str:
        print_batch(Console(width=200, highlight=False, force_terminal=False), batch)
        return capsys.readouterr().out

    return show


def table_row(text: str, first: str) -> list[str]:
    """The cells behind the first that reads `first`."""
    (line,) = (line for line in text.splitlines() if line.startswith(first))
    return line.removeprefix(first).split()


def test_the_newest_batch_is_summarised(batch, printed):
    bus, manifest, folder = batch
    text = printed(read_batch(bus, None))
    results = read_table(folder / "aggregated_results.csv")
    assert text.startswith(f"once  {manifest.reference}")
    assert "2 episodes" in text
    mean = sum(result.path_length_m for result in results) / 2
    assert table_row(text, "path")[0] == f"{mean:.2f}"
    assert table_row(text, "box")[0] == str(manifest.summary["boxes"]["box"])
    assert "labels: 2 frames checked against geometry, 0 errors" in text


def test_by_name_reference_and_id_it_is_the_same(batch, printed):
    bus, manifest, _ = batch
    names = ("once", "refs/batches/once", manifest.reference, manifest.id)
    assert len({printed(read_batch(bus, name)) for name in names}) == 1


def test_shards_are_summarised_before_and_after_they_are_gathered(bus, capture_batch, printed):
    first = capture_batch(bus, "cut", "episodes=3", shard="1/2")
    assert printed(read_batch(bus, "cut")).startswith("cut  shards 1/2, not gathered")
    assert "2 episodes" in printed(read_batch(bus, first.reference))
    capture_batch(bus, "cut", "episodes=3", shard="2/2")
    both = printed(read_batch(bus, "cut"))
    assert "shards 1/2, 2/2" in both
    gathered = capture_batch(bus, "cut", "episodes=3", gather=2)
    whole = printed(read_batch(bus, "cut"))
    assert whole.startswith(f"cut  {gathered.reference}, 2 shards")
    assert whole.splitlines()[1:] == both.splitlines()[1:]
    assert "3 episodes" in whole


def test_failures_are_told_with_what_was_touched(batch, printed):
    bus, manifest, _ = batch
    rows = [dict(row) for row in read_batch(bus, None).rows]
    rows[0] |= {"success": "False", "failure_reason": "collision", "collided_with": "chair;wall"}
    rows[1] |= {"success": "True", "failure_reason": "", "collided_with": ""}
    text = printed(Batch("once", [manifest], rows))
    assert "50.0 % successful" in text
    assert "failed: collision 1  (touched: chair 1, wall 1)" in text


def test_a_batch_from_before_layouts_is_told_as_far_as_it_goes(batch, printed):
    bus, manifest, _ = batch
    kept = ("episode_id", "success", "failure_reason", "frames", "path_length_m", "floor")
    rows = [{name: row[name] for name in kept} for row in read_batch(bus, None).rows]
    old = manifest.model_copy(update={"summary": {"boxes": {"box": 3}}})
    text = printed(Batch("once", [old], rows))
    assert table_row(text, "box")[:2] == ["3", "100.0"]
    assert "labels were not checked" in text


def test_what_is_no_batch_is_refused_in_one_line(batch, bus):
    with pytest.raises(BadInput, match="no batch is on the bus yet"):
        read_batch(bus, None)
    with pytest.raises(BadInput, match="demo-9: no such batch"):
        read_batch(batch[0], "demo-9")


def test_it_is_a_command(batch, monkeypatch, capsys):
    monkeypatch.setattr(Bus, "from_environment", lambda: batch[0])
    assert cli.main(["summarize", "once"]) == 0
    assert "episodes" in capsys.readouterr().out
    assert cli.main(["summarize", "none"]) == 2
