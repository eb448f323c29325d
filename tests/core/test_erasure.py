"""`sim2edge withdraw --erase`: no byte of the batch is left, whatever is killed when, and what is kept proves it."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
import withdrawn_world
from obstore.store import MemoryStore
from withdrawn_world import BATCH, PATTERN, WEIGHTS, build, search

from sim2edge import cli, erasure, withdraw_commands
from sim2edge import plan as plans
from sim2edge.bus import Bus
from sim2edge.erasure import erased_names, find_leftovers, tracked_folder
from sim2edge.errors import BadInput, Erased
from sim2edge.manifest import entry_key
from sim2edge.notes import Change, edit, read_note
from sim2edge.registry import choose_champion
from sim2edge.tombstone import Event, erasure_key, parse_erasure
from sim2edge.withdrawal import read_tombstone

ERASE = ("--reason", "a wish", "--by", "ana", "--erase", "--yes", "--force")


@pytest.fixture
def world(bus):
    return build(bus)


@pytest.fixture
def command(monkeypatch, capfd):
    """`command(bus, *words) -> (exit code, standard error)`."""

    def run(bus, *words):
        monkeypatch.setattr(Bus, "from_environment", classmethod(lambda cls, *_: bus))
        code = cli.main([*words])
        return code, capfd.readouterr().err

    return run


@pytest.fixture
def erase(world, command):
    """`erase(*words)` erases the batch, whatever uses it."""

    def run(*words):
        code, err = command(world.bus, "withdraw", BATCH, *(words or ERASE))
        assert code == 0, err

    return run


def leave_behind(bus):
    """Put what a killed run and a running one leave: under the batch, and under a later one."""
    bus.put(f"frames/{BATCH}/{'9' * 16}/attempt/frames.parquet", PATTERN)
    bus.put(f"model/{BATCH}/{'8' * 16}/checkpoints/last.pt", WEIGHTS)


def test_no_byte_of_the_batch_is_left_in_the_bucket_and_every_other_byte_is(world, erase):
    leave_behind(world.bus)
    before = {key: world.bus.get(key) for key in world.bus.list("")}
    assert len(search(world.bus, PATTERN)) >= 12
    assert len(search(world.bus, WEIGHTS)) >= 10
    erase()
    assert search(world.bus, PATTERN) == set()
    assert search(world.bus, WEIGHTS) == set()
    kept = {key: content for key, content in before.items() if world.bus.get_tagged(key)}
    assert {key: world.bus.get(key) for key in kept} == kept
    lost = {key.split("/")[0] for key in before.keys() - kept.keys()}
    assert lost == {"episodes", "frames", "dataset", "model", "verdict", "release", "inbox", "mlflow", "ota"}


def test_no_byte_is_left_on_a_real_server(s3, command):
    build(s3)
    leave_behind(s3)
    assert search(s3, PATTERN)
    code, err = command(s3, "withdraw", BATCH, *ERASE)
    assert code == 0, err
    assert search(s3, PATTERN) == search(s3, WEIGHTS) == set()


def test_what_people_noted_on_its_artifacts_goes_and_other_notes_stay(world, erase):
    frames = next(each for each in world.bus.artifacts("frames", BATCH))
    other = next(each for each in world.bus.artifacts("frames") if f"/{BATCH}/" not in each)
    for reference in (frames, other):
        edit(world.bus, reference, Change(text="the driver's name is Ann"), "ann", datetime.now(UTC))
    erase()
    assert read_note(world.bus, frames) is None
    assert read_note(world.bus, other)


def test_manifests_stay_and_each_deleted_file_is_recorded_with_its_hash(world, erase):
    leave_behind(world.bus)
    before = {key: world.bus.get(key) for key in world.bus.list("")}
    erase()
    gone = {key for key in before if world.bus.get_tagged(key) is None}
    recorded = {}
    for name in erased_names(world.bus):
        record = parse_erasure(world.bus.get(erasure_key(name)), name)
        assert (record.batch, record.reason, record.by) == (BATCH, "a wish", "ana")
        assert datetime.now(UTC) - record.at < timedelta(minutes=1)
        recorded |= {file.key: file for file in record.files}
    assert gone <= recorded.keys()
    for key in gone:
        assert recorded[key].sha256 == hashlib.sha256(before[key]).hexdigest()
        assert recorded[key].bytes == len(before[key])
    for name in ("episodes-2", "dataset-3", "model-4"):
        assert world.bus.open(world[name]) == world.made[name]


def test_models_and_releases_can_be_kept_and_erased_later(world, erase):
    erase("--reason", "a wish", "--erase", "--yes", "--keep-models")
    assert search(world.bus, PATTERN) == set()
    kept = search(world.bus, WEIGHTS)
    assert {key.split("/")[0] for key in kept} == {"model", "release", "mlflow", "ota"}
    erase("--erase", "--yes", "--force")
    assert search(world.bus, WEIGHTS) == set()


def test_a_repetition_deletes_and_writes_nothing(world, erase, monkeypatch):
    erase()
    before = {key: world.bus.get(key) for key in world.bus.list("")}
    monkeypatch.setattr(Bus, "delete", lambda _, keys: pytest.fail(f"deleted {keys}") if list(keys) else None)
    erase()
    assert {key: world.bus.get(key) for key in world.bus.list("")} == before


def test_what_comes_late_is_erased_by_the_next_run_and_added_to_the_record(world, erase):
    erase()
    late = f"{world['model-2']}/checkpoints/last.pt"
    world.bus.put(late, WEIGHTS)
    erase()
    record = parse_erasure(world.bus.get(erasure_key(world["model-2"])), world["model-2"])
    assert late in [file.key for file in record.files]
    assert search(world.bus, WEIGHTS) == set()


# Killed


class Killed(BaseException):
    """The process is gone."""


class MortalBus(Bus):
    """A bus whose process is killed before or after its n-th object is deleted, or written."""

    def __init__(self, store, at, after=False, writes=False):
        super().__init__(store)
        self.left, self.after, self.writes = at, after, writes

    def delete(self, keys):
        for key in list(keys):
            self._step(lambda key=key: super(MortalBus, self).delete([key]), not self.writes)

    def put(self, key, data, **how):
        self._step(lambda: super(MortalBus, self).put(key, data, **how), self.writes)

    def _step(self, act, counts):
        if counts and self.left == 0 and not self.after:
            raise Killed
        act()
        self.left -= counts
        if counts and self.left < 0:
            raise Killed


def copy_of(bus):
    """Return a store with the same objects."""
    store = MemoryStore()
    for key in bus.list(""):
        Bus(store).put(key, bus.get(key))
    return store


@pytest.mark.parametrize("writes", [False, True], ids=["delete", "write"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_delete_or_write_it_is_completed_by_the_next_run(world, command, after, writes, monkeypatch):
    leave_behind(world.bus)
    content = {key: world.bus.get(key) for key in world.bus.list("")}
    monkeypatch.setattr(erasure, "in_threads", lambda function, items: [function(item) for item in items])
    for at in range(1000):
        store = copy_of(world.bus)
        try:
            command(MortalBus(store, at, after, writes), "withdraw", BATCH, *ERASE)
        except Killed:
            pass
        else:
            break
        bus = Bus(store)
        if search(bus, PATTERN) != search(world.bus, PATTERN):  # something is gone: its record is there
            assert read_tombstone(bus, BATCH)[0].erased
        check_recorded(bus, content)
        assert command(bus, "withdraw", BATCH, *ERASE)[0] == 0
        assert search(bus, PATTERN) == search(bus, WEIGHTS) == set()
        check_recorded(bus, content)
    assert at >= (12 if writes else 25)


def check_recorded(bus, content):
    """Check that every object that is gone is in a record, with its hash."""
    recorded = {}
    for name in erased_names(bus):
        recorded |= {file.key: file.sha256 for file in parse_erasure(bus.get(erasure_key(name)), name).files}
    for key in content.keys() - set(bus.list("")):
        assert recorded[key] == hashlib.sha256(content[key]).hexdigest(), key


# In use


def test_it_refuses_while_a_ring_a_device_or_the_champion_uses_a_model_of_the_batch(world, command):
    before = search(world.bus, PATTERN)
    code, err = command(world.bus, "withdraw", BATCH, "--reason", "a wish", "--erase", "--yes")
    assert code == 2
    assert err.startswith(f"sim2edge: --erase: {world['model-4']} is champion and 4 more: --roll-back first")
    assert search(world.bus, PATTERN) == before
    assert read_tombstone(world.bus, BATCH) is None, "what is refused changes nothing"


def test_a_device_that_still_runs_it_is_enough_to_refuse(world, command, monkeypatch):
    def push(release, ring):
        world.bus.move_ref(f"refs/rings/{ring}", world["rollout-1"])

    monkeypatch.setattr(withdraw_commands, "push", push)
    world.bus.delete(["refs/rings/canary"])
    world.report("pi-2", "canary", release=1)
    words = ("withdraw", BATCH, "--reason", "a wish", "--roll-back", "--erase", "--yes")
    code, err = command(world.bus, *words)
    assert (code, err.splitlines()[-1]) == (
        2,
        f"sim2edge: --erase: device pi-1 runs release {world.release(3)}: "
        "--roll-back first and wait for the devices, --keep-models, or --force",
    )
    world.report("pi-1", "stable", release=1)
    assert command(world.bus, *words)[0] == 0
    assert search(world.bus, WEIGHTS) == set()


def test_it_refuses_where_a_stage_is_not_installed_whose_artifacts_may_derive_from_the_batch(world, command):
    made = world.made["dataset-2"].model_copy(update={"kind": "embeddings"})
    world.bus.put(entry_key(made.reference, made.finished), b"")
    words = ("withdraw", BATCH, "--reason", "a wish", "--erase", "--yes", "--keep-models")
    code, err = command(world.bus, *words)
    assert (code, "no stage installed here makes embeddings" in err) == (2, True)
    assert search(world.bus, PATTERN)
    assert command(world.bus, *words, "--force")[0] == 0


# Readers


def test_a_reader_is_told_when_by_whom_and_why(world, erase, tmp_path):
    erase()
    for name in ("episodes-2", "frames-2", "dataset-3", "model-4", "release-2"):
        with pytest.raises(Erased, match=rf"^{world[name]}: erased on {datetime.now(UTC):%Y-%m-%d} by ana: a wish$"):
            world.bus.fetch(world.made[name], tmp_path / name)
    world.bus.fetch(world.made["frames-1"], tmp_path / "kept")


def test_an_object_that_is_missing_for_no_reason_is_still_called_missing(world, tmp_path):
    world.bus.delete(world.bus.list(f"{world['frames-1']}/made-up"))
    with pytest.raises(BadInput, match="missing on the bus"):
        world.bus.fetch(world.made["frames-1"], tmp_path)


def test_no_stage_brings_it_back_and_none_reads_it(world, erase):
    erase()
    before = sorted(world.bus.list(""))
    for stage, partition, inputs in (
        ("capture", BATCH, {}),
        ("ingest", BATCH, {}),
        ("clean", BATCH, {}),
        ("train", None, {"dataset": [world["dataset-2"]]}),
        ("export", None, {"model": [world["model-2"]], "verdict": [world["verdict-2"]]}),
        ("push", None, {"release": [world["release-2"]]}),
    ):
        with pytest.raises(BadInput, match=rf"'{BATCH}'.* erased on .* by ana: a wish$"):
            plans.plan(world.bus, stage, partition, inputs=inputs)
    assert sorted(world.bus.list("")) == before


def test_an_erased_champion_is_no_standard_for_new_models(world, erase):
    erase()
    asked = {"model": [world["model-1"]], "champion": [], "best": [], "trained_on": []}
    assert choose_champion(world.bus, asked)["champion"] == []


def test_a_batch_that_was_erased_stays_withdrawn(world, erase, command):
    erase()
    code, err = command(world.bus, "withdraw", BATCH, "--undo", "--reason", "changed my mind")
    assert (code, "that is final; use another batch id" in err) == (2, True)


def test_the_list_of_artifacts_shows_it(world, erase, command, capfd):
    erase()
    assert cli.main(["ls", "frames"]) == 0
    one, two, _ = [line for line in capfd.readouterr().out.splitlines() if "frames/lab-" in line]
    assert "erased" not in one
    assert "erased" in two
    assert command(world.bus, "show", world["frames-2"])[0] == 0


# Pure


def test_leftovers_of_a_later_batch_are_erased_once_no_run_may_still_work_on_them(bus):
    own, later = f"dataset/{BATCH}/{'1' * 16}", f"dataset/lab-3/{'2' * 16}"
    for name in (own, later, f"dataset/lab-1/{'3' * 16}"):
        bus.put(f"{name}/attempt/train.parquet", PATTERN)
    now = datetime.now(UTC)
    assert [target.what for target in find_leftovers(bus, BATCH, now)] == [f"leftovers/{own}"]
    found = find_leftovers(bus, BATCH, now + timedelta(days=2))
    assert [target.what for target in found] == [f"leftovers/{own}", f"leftovers/{later}"]


def test_an_artifact_that_is_made_after_its_leftovers_were_erased_is_not_called_erased(bus):
    reference = f"dataset/lab-3/{'2' * 16}"
    event = Event(action="erase", reason="a wish", by="ana", at=datetime.now(UTC))
    bus.put(f"{reference}/attempt/train.parquet", PATTERN)
    for target in find_leftovers(bus, BATCH, datetime.now(UTC) + timedelta(days=2)):
        erasure.erase(bus, target, BATCH, event)
    assert list(bus.list(reference)) == []
    bus.check_not_erased(reference)


@pytest.mark.parametrize("where", [None, {}, {"experiment": "1"}, {"experiment": "..", "run": "x"}, {"run": 7}])
def test_only_a_plain_place_in_mlflow_is_followed(world, where):
    manifest = world.made["model-2"].model_copy(update={"summary": {"mlflow": where}})
    assert tracked_folder(manifest) is None
    assert tracked_folder(world.made["model-2"]) == f"mlflow/1/{2:032x}"


def test_a_delivery_with_an_invalid_listing_is_erased_too(world, erase):
    world.bus.put(f"inbox/{BATCH}/READY.json", json.dumps({"version": 7}).encode())
    erase()
    assert list(world.bus.list(f"inbox/{BATCH}")) == []
    record = parse_erasure(world.bus.get(erasure_key(f"inbox/{BATCH}")), f"inbox/{BATCH}")
    assert len(record.files) == 2
    assert record.batch == withdrawn_world.BATCH
