"""The command line: exit codes, one-line messages, and what each verb prints."""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sim2edge import cli
from sim2edge import plan as plans
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Conflict, Unavailable
from sim2edge.manifest import Manifest


@pytest.fixture
def command(s3, toy_stages, partition, capsys):
    """Run a command line on the real S3 server; gives exit code, standard output and standard error."""

    def run(*words):
        code = cli.main([word.format(partition=partition) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def events(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_stage_commits_then_finds_it_there(command):
    for hit in (False, True):
        code, out, _ = command("capture", "--partition", "{partition}", "lines=2")
        committed = events(out)[-1]
        assert code == 0
        assert (committed["event"], committed["cached"]) == ("committed", hit)


def test_a_refusal_is_exit_code_3_each_time(command):
    for _ in range(2):
        code, out, err = command("capture", "--partition", "{partition}", "refuse=true")
        assert code == 3
        assert err == "sim2edge: refused: too many lines\n"
        assert events(out)[-1]["event"] == "error"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "'fly' is not a command"),
        (["capture"], "--partition is missing"),
        (["capture", "--partition", "{partition}", "colour=red"], "capture.colour: unknown key"),
        (["capture", "--partition", "{partition}", "lines=many"], "capture.lines: input should be a valid integer"),
        (["capture", "--partition", "{partition}", "--preset", "huge"], "preset 'huge' is not one of: default, demo"),
        (["capture", "--partition", "{partition}", "fail=bad"], "lines.txt: row 7: expected a number"),
        (["clean", "--partition", "{partition}", "--input", "episodes"], "--input 'episodes': expected role=reference"),
        (["show", "0000000000000000"], "no artifact on the bus has this id"),
        (["lineage", "refs/models/nobody"], "no such ref on the bus"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(command, words, message):
    code, _, err = command(*words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("row 3"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "/scratch/x"), 2),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2),
        (Unavailable("s3 is gone"), 75),
        (Conflict("someone was first"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_foreseen_error_has_its_exit_code(error, code, capsys):
    def fail():
        raise error

    assert cli.guard(fail) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_reproduce_without_a_server_has_not_found_a_difference(command, monkeypatch):
    command("capture", "--partition", "{partition}")

    def fail(*_: object) -> None:
        raise Unavailable("s3 is gone")

    monkeypatch.setattr(Bus, "open", fail)
    assert command("reproduce", "refs/batches/{partition}")[0] == cli.EXIT_RETRY == 75


def test_a_bug_shows_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.guard(lambda: 1 // 0)


def test_show_ls_and_lineage_lead_back_to_the_source(command, partition):
    command("capture", "--partition", "{partition}")
    _, out, _ = command("clean", "--partition", "{partition}")
    reference = events(out)[-1]["reference"]
    manifest = Manifest.model_validate_json(command("show", reference)[1])
    source = manifest.inputs["episodes"][0]
    assert command("show", f"refs/batches/{partition}")[1].count(source.rpartition("/")[2]) == 1
    assert set(json.loads(command("lineage", reference, "--json")[1])) == {reference, source}
    assert source in command("lineage", reference)[1]
    assert partition in command("ls", "episodes")[1]
    assert f"refs/batches/{partition}" in command("ls", "refs")[1].replace("\n", "")


def test_reproduce_finds_identical_bytes(command, partition):
    command("capture", "--partition", "{partition}")
    code, out, _ = command("reproduce", "refs/batches/{partition}")
    assert code == 0
    assert "2 of 2 files identical" in out


def test_reproduce_compares_figures_where_no_bytes_are_promised(command, toy_stages, monkeypatch):
    wavers = replace(toy_stages["capture"], deterministic=lambda _: False, tolerances={"lines": 1})
    monkeypatch.setitem(toy_stages, "capture", wavers)
    command("capture", "--partition", "{partition}")
    assert Manifest.model_validate_json(command("show", "refs/batches/{partition}")[1]).same_bytes is False
    for more, code in ((1, 0), (2, 1)):
        monkeypatch.setenv("TOY_STAGE_MORE", str(more))
        ended, out, _ = command("reproduce", "refs/batches/{partition}")
        assert ended == code
        assert f"within tolerances: {1 - code} of 1 figures agree (lines 1); of the bytes, " in out
    assert "differs: lines (3, now 5)" in out


def test_reproduce_finds_a_gate_that_decides_otherwise(command, monkeypatch):
    assert command("capture", "--partition", "{partition}", "refuse=true")[0] == 3
    assert command("reproduce", "refs/batches/{partition}")[0] == 0
    monkeypatch.setenv("TOY_STAGE_MORE", "0")
    code, out, _ = command("reproduce", "refs/batches/{partition}")
    assert code == 1
    assert "differs: refused (too many lines, now no)" in out


def test_reproduce_finds_what_differs(command, monkeypatch):
    command("capture", "--partition", "{partition}")
    monkeypatch.setenv("TOY_STAGE_CHANGED", "yes")
    code, out, _ = command("reproduce", "refs/batches/{partition}")
    assert code == 1
    assert "differs: lines.txt" in out
    assert "1 of 2 files identical" in out


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_reproduce_reads_the_payload_on_the_bus(command, s3, partition, damage):
    command("capture", "--partition", "{partition}")
    manifest = s3.open(s3.resolve(f"refs/batches/{partition}"))
    key = f"{manifest.reference}/{manifest.attempt}/lines.txt"
    s3.delete([key])
    if damage == "changed":
        s3.put(key, b"other")
    code, out, _ = command("reproduce", manifest.reference)
    assert code == 1
    assert "damaged: lines.txt (its bytes on the bus do not match the manifest)" in out


@pytest.mark.parametrize(
    "forged", [{"id": "0123456789abcdef"}, {"shard": "1/2"}, {"inputs": {"episodes": []}}, {"partition": "other"}]
)
def test_reproduce_finds_a_manifest_whose_id_is_not_that_of_what_it_says(command, s3, partition, forged):
    command("capture", "--partition", "{partition}")
    manifest = s3.open(s3.resolve(f"refs/batches/{partition}")).model_copy(update=forged)
    s3.put(f"{manifest.reference}/manifest.json", manifest.to_json())
    code, out, _ = command("reproduce", manifest.reference)
    assert code == 1
    assert f"differs: manifest.json (its id is {manifest.id}, its content gives" in out


@pytest.mark.parametrize("name", ["refs//b", "refs/../../x", "refs/.", "refs/batches/b\n"])
def test_a_ref_that_can_have_no_such_name_is_one_clear_line(command, name):
    code, _, err = command("show", name)
    assert (code, err.count("\n")) == (2, 1)
    assert "not a valid object name" in err


@pytest.mark.parametrize("target", [None, 7, "../../x", "frames/b"])
def test_a_ref_to_nothing_is_named(command, s3, partition, target):
    s3.put(f"refs/batches/{partition}", json.dumps({"target": target, "previous": None}).encode())
    code, _, err = command("clean", "--partition", "{partition}")
    assert (code, err) == (2, f"sim2edge: refs/batches/{partition}: names no artifact\n")


def test_a_partition_that_would_be_ignored_is_refused(command, s3, partition):
    command("capture", "--partition", "{partition}")
    inputs = ("--input", "episodes=refs/batches/{partition}")
    code, _, err = command("clean", "--partition", "other", *inputs)
    assert (code, err.count("\n")) == (2, 1)
    assert f"clean: --partition other: its inputs are of {partition}: use that, or omit it" in err
    assert not s3.folders(f"frames/{partition}")
    assert [command("clean", *words, *inputs)[0] for words in ([], ["--partition", "{partition}"])] == [0, 0]


def test_a_scheduler_may_name_the_batch_of_its_run(command, s3, partition):
    command("capture", "--partition", "{partition}")
    given = {"episodes": [f"refs/batches/{partition}"]}
    expected = plans.plan(s3, "clean", "other", inputs=given).reference
    words = ("--input", "episodes=refs/batches/{partition}", "--expect", expected)
    assert command("clean", "--partition", "other", *words)[0] == 0


@pytest.mark.parametrize("circle", [1, 2])
@pytest.mark.parametrize("verb", ["lineage", "reproduce"])
def test_an_artifact_that_is_a_part_of_itself_is_one_clear_line(command, s3, partition, circle, verb):
    outs = [command("capture", "--partition", "{partition}", "--replace", f"lines={n}")[1] for n in range(circle)]
    manifests = [s3.open(events(out)[-1]["reference"]) for out in outs]
    for number, manifest in enumerate(manifests):
        part = manifests[(number + 1) % circle].reference
        s3.put(f"{manifest.reference}/manifest.json", manifest.model_copy(update={"parts": [part]}).to_json())
    code, _, err = command(verb, manifests[0].reference)
    assert (code, err.count("\n")) == (2, 1)
    assert "itself" in err


def test_what_is_piped_on_is_not_wrapped(command, partition, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    reference = events(command("capture", "--partition", "{partition}")[1])[-1]["reference"]
    assert reference in command("ls", "episodes", "--partition", partition)[1]
    assert reference in command("ls", "refs")[1]
    assert reference in command("lineage", reference)[1].splitlines()[0]


@pytest.fixture
def gathered(command, partition):
    """A batch gathered from three shards: its reference and theirs."""
    outs = [command("capture", "--partition", "{partition}", *cut) for cut in CUTS]
    assert [code for code, _, _ in outs] == [0] * len(CUTS)
    *shards, whole = [events(out)[-1]["reference"] for _, out, _ in outs]
    return whole, shards


CUTS = [("--shard", "1/3"), ("--shard=2/3",), ("--shard=3/3",), ("--gather", "3")]


def test_a_gathered_batch_is_shown_with_its_shards(command, partition, gathered, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    whole, shards = gathered
    assert Manifest.model_validate_json(command("show", whole)[1]).parts == shards
    lineage = command("lineage", f"refs/batches/{partition}")[1]
    assert [f"{shard}  shard {n}/3, capture v1" in lineage for n, shard in enumerate(shards, 1)] == [True] * 3
    assert json.loads(command("lineage", "--json", whole)[1])[shards[0]]["shard"] == "1/3"
    assert "shard 2/3  lines=3" in command("ls", "episodes", "--partition", partition)[1]


def test_a_shard_and_what_was_gathered_are_reproduced(command, gathered, monkeypatch):
    whole, shards = gathered
    for reference in (whole, shards[1]):
        code, out, _ = command("reproduce", reference)
        assert (code, out.splitlines()[-1]) == (0, f"{reference}: compared byte by byte: 2 of 2 files identical")
    monkeypatch.setenv("TOY_STAGE_CHANGED", "yes")
    assert command("reproduce", whole)[0] == command("reproduce", shards[1])[0] == 1


def test_gc_leaves_parts_alone(command, s3, gathered):
    before = {key for reference in (gathered[0], *gathered[1]) for key in s3.list(reference)}
    command("gc", "--grace-hours", "-1")
    assert {key for reference in (gathered[0], *gathered[1]) for key in s3.list(reference)} == before


def test_gathering_what_is_not_there_is_one_line_that_names_it(command, partition):
    command("capture", "--partition", "{partition}", "--shard", "2/3")
    code, _, err = command("capture", "--partition", "{partition}", "--gather", "3")
    assert code == 2
    assert err.startswith(f"sim2edge: capture of {partition}: 2 of 3 shards are missing (1/3, 3/3): ")
    assert err.count("\n") == 1


def test_gc_says_what_it_deleted(command, s3, partition):
    s3.put(f"frames/{partition}/{'b' * 16}/attempt/half", b"half")
    assert "0 objects deleted" in command("gc")[1]
    assert f"frames/{partition}/{'b' * 16}/attempt/half" in command("gc", "--grace-hours", "-1")[1]


def test_config_lists_fields_with_their_meaning(command):
    out = command("config", "capture")[1]
    assert "lines to write" in out
    assert "word" in out


def test_the_published_schema_is_the_real_one(command):
    published = Path(cli.__file__).parents[2] / "docs" / "manifest.schema.json"
    assert published.read_text() == command("schema")[1]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "", "/root.json"), 2, "/root.json: permission denied"),
        (OSError(errno.EROFS, "", "/data"), 2, "/data: read-only file system"),
        (OSError(errno.ENOSPC, "", None), 2, "the scratch folder (SIM2EDGE_SCRATCH): no space left on device"),
    ],
)
def test_trouble_with_a_file_is_one_line_that_names_it(error: OSError, code: int, said: str, capsys) -> None:
    def fail() -> int:
        raise error

    assert cli.guard(fail) == code
    assert f"sim2edge: {said}\n" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    piped = f"{sys.executable} -m sim2edge schema | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", piped], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("{")
