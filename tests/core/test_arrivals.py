"""Batches that arrive: found, refused or waited for; and registered once, whatever is killed when."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from obstore.store import MemoryStore
from s3_requests import client

from sim2edge import arrivals
from sim2edge.arrivals import JOURNALS, pending, register, survey
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.inbox import find_ready, read_ready
from sim2edge.tombstone import Event
from sim2edge.withdrawal import record

SHA = "a" * 64


def ready(batch, path="a.mcap", **more):
    files = [{"path": path, "bytes": 3, "sha256": SHA}]
    return json.dumps({"version": 1, "batch": batch, "files": files, **more}).encode()


def deliver(bus, batch, content=None):
    bus.put(f"inbox/{batch}/a.mcap", b"log")
    bus.put(f"inbox/{batch}/READY.json", content or ready(batch))


class Airflow:
    """Runs, and the events that their tasks gave with their success."""

    def __init__(self):
        self.states = {}
        self.events = []
        self.cleared = set()
        self.blind = False

    def has_ended(self, run):
        return self.states.get(run) != "running"

    def registered(self, run, since):
        assert since < datetime.now(UTC)
        if self.blind and (self.has_ended(run) or run in self.cleared):
            return None
        return {batch for batch, by in self.events if by == run}

    def succeed(self, run, report):
        self.states[run] = "success"
        self.events += [(batch, run) for batch in report.registered]


@pytest.fixture
def airflow():
    return Airflow()


def run_once(bus, airflow, run):
    airflow.states[run] = "running"
    report = register(bus, run, airflow)
    airflow.succeed(run, report)
    return report


# What is found


def test_a_delivery_of_a_withdrawn_batch_is_refused_until_that_is_lifted(bus, airflow):
    deliver(bus, "lab-1")
    event = Event(action="withdraw", reason="a wish", by="ana", at=datetime(2026, 5, 4, tzinfo=UTC))
    record(bus, "lab-1", event)
    assert set(pending(bus)) == set()
    report = run_once(bus, airflow, "r1")
    assert (report.registered, report.refused) == (
        [], ["inbox/lab-1: the batch was withdrawn on 2026-05-04 by ana: a wish"],
    )  # fmt: skip
    record(bus, "lab-1", event.model_copy(update={"action": "lift"}))
    assert run_once(bus, airflow, "r2").registered == ["lab-1"]


def test_a_complete_batch_is_waiting_until_it_is_registered(bus, airflow):
    deliver(bus, "lab-1")
    assert set(pending(bus)) == {"lab-1"}
    report = run_once(bus, airflow, "r1")
    assert report.registered == ["lab-1"]
    assert set(pending(bus)) == set()
    claim = json.loads(bus.get("registered/lab-1.json"))
    assert (claim["run"], claim["ready"]) == ("r1", arrivals.digest(ready("lab-1")))
    assert run_once(bus, airflow, "r2").registered == []


def test_an_incomplete_batch_is_named_with_its_last_write_and_registered_later(bus, airflow):
    bus.put("inbox/lab-1/a.mcap", b"log")
    report = run_once(bus, airflow, "r1")
    assert report.registered == []
    assert datetime.now(UTC) - report.incomplete["lab-1"] < timedelta(minutes=1)
    assert not pending(bus)
    deliver(bus, "lab-1")
    assert run_once(bus, airflow, "r2").registered == ["lab-1"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "content: Invalid JSON"),
        (b"[" * 100_000, "content: "),
        (ready("lab-2"), "batch: is 'lab-2'"),
        (ready("lab-1", path="../x"), "files.0.path"),
        (ready("lab-1", path="<b>/a b"), "files: "),
        (ready("lab-1", extra=1), "extra: "),
        (ready("lab-1", **{"\x1b[2J": 1}), r"\x1b[2J: Extra"),
        (ready("\u202e" + "x" * 1_000_000), "batch: is "),
        (ready("lab-1", path="x" * 1_000_000), "files: "),
        (b"\xff\xfe", "content: Invalid JSON"),
        (b"x" * (9 << 20), "more than 8388608 bytes"),
    ],
)
def test_a_bad_listing_is_one_line_and_is_registered_once_it_is_mended(bus, airflow, content, reason):
    deliver(bus, "lab-1", content)
    deliver(bus, "good-1")
    report = run_once(bus, airflow, "r1")
    assert report.registered == ["good-1"]
    (line,) = report.refused
    assert line.startswith("inbox/lab-1/READY.json: ")
    assert reason in line
    assert line.isprintable()
    assert len(line) < 500
    assert not pending(bus)
    deliver(bus, "lab-1")
    assert run_once(bus, airflow, "r2").registered == ["lab-1"]


def reads(monkeypatch):
    """The keys of the objects that are read from now on."""
    found = []
    stream = Bus.stream
    monkeypatch.setattr(Bus, "stream", lambda self, key: found.append(key) or stream(self, key))
    return found


def test_a_listing_that_stays_is_read_once_whether_it_is_bad_or_has_to_wait(bus, monkeypatch):
    deliver(bus, "lab-1", b"{")
    deliver(bus, "lab-2")
    read = reads(monkeypatch)
    found = [survey(bus) for _ in range(3)]
    assert sorted(read) == ["inbox/lab-1/READY.json", "inbox/lab-2/READY.json"]
    assert found[0] == found[2]
    assert len(found[0].refused) == len(found[0].complete) == 1


def test_what_is_remembered_of_listings_is_bounded(bus, monkeypatch):
    monkeypatch.setattr(arrivals, "MAX_JUDGED", 3)
    for number in range(10):
        deliver(bus, f"lab-{number}", b"{")
    assert len(survey(bus).refused) == 10
    assert len(arrivals._JUDGED) <= 3


def test_however_many_batches_are_incomplete_few_are_asked_since_when(bus, airflow, monkeypatch):
    monkeypatch.setattr(arrivals, "MAX_DATED", 3)
    for number in range(10):
        bus.put(f"inbox/lab-{number}/a.mcap", b"log")
    report = run_once(bus, airflow, "r1")
    assert (sorted(report.incomplete), report.more_incomplete) == (["lab-0", "lab-1", "lab-2"], 7)


def test_no_more_of_a_huge_listing_is_read_than_it_takes_to_refuse_it(s3, partition, monkeypatch):
    s3.put(f"inbox/{partition}/READY.json", b" " * (64 << 20))
    monkeypatch.setattr("sim2edge.inbox.MAX_READY_BYTES", 1000)
    assert len(find_ready(s3, partition)) < 8 << 20
    refusal = f"inbox/{partition}/READY.json: more than 1000 bytes"
    assert f"{refusal}: not registered until it is fixed" in survey(s3).refused
    with pytest.raises(BadInput, match=refusal):
        read_ready(s3, partition)
    s3.delete([f"inbox/{partition}/READY.json"])


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e",
        "%2e%2e%2fetc",
        "<img src=x onerror=alert(1)>",
        "A",
        "a b",
        "é",
        "日本",
        "\u202egpj",
        "x" * 64,
        "x" * 10_240,
        "-a",
        "_a",
    ],
)
def test_a_name_that_is_no_batch_id_is_one_short_line_and_nothing_else(bus, airflow, name):
    bus.put(f"inbox/{name}/READY.json", ready(name))
    deliver(bus, "good-1")
    assert set(pending(bus)) == {"good-1"}
    report = run_once(bus, airflow, "r1")
    assert report.registered == ["good-1"]
    (line,) = report.refused
    assert line.isprintable()
    assert len(line) < 130
    assert "not a batch id" in line


def test_names_that_no_path_can_have_hide_nothing_and_stop_nothing(s3, airflow, s3_server, partition):
    server = client(s3_server.environment())
    strange = ["a\tb", "a\nb", "x/../y", "..", "c//d", "é\x7f", f"{partition}-bad"]
    made = []
    for name in strange:
        key = f"inbox/{name}/READY.json" if not name.endswith("-bad") else f"inbox/{name}/a\tb.mcap"
        try:
            server.put_object(Bucket=s3_server.bucket, Key=key)
            made.append(name)
        except ClientError:  # the server's own refusal
            continue
    assert {"a\tb", "a\nb", f"{partition}-bad"} <= set(made)
    deliver(s3, f"{partition}-good")
    try:
        report = run_once(s3, airflow, f"run-of-{partition}")
        assert f"{partition}-good" in report.registered
        assert "inbox/'a\\tb': not a batch id: ignored" in report.refused
        assert f"inbox/{partition}-bad: contains a key that is not a valid path" in report.refused
        assert all(line.isprintable() for line in report.refused)
    finally:
        keys = [
            each["Key"]
            for each in client(s3_server.environment()).list_objects_v2(Bucket=s3_server.bucket, Prefix="inbox/")[
                "Contents"
            ]
        ]
        for key in keys:
            client(s3_server.environment()).delete_object(Bucket=s3_server.bucket, Key=key)


def test_a_run_registers_no_more_than_its_share_and_says_how_many_are_left(bus, airflow):
    for number in range(7):
        deliver(bus, f"lab-{number}")
    airflow.states["r1"] = "running"
    report = register(bus, "r1", airflow, most=3)
    assert (len(report.registered), report.left) == (3, 4)


def test_what_is_looked_at_grows_with_what_is_new_not_with_what_was_registered(bus, airflow, monkeypatch):
    for number in range(40):
        deliver(bus, f"lab-{number}")
    run_once(bus, airflow, "r1")
    run_once(bus, airflow, "r2")
    calls = []
    for name in ("get_tagged", "head", "first_page", "stream"):
        original = getattr(Bus, name)
        monkeypatch.setattr(Bus, name, lambda self, *a, _f=original, **k: calls.append(a) or _f(self, *a, **k))
    run_once(bus, airflow, "r3")
    assert calls == []
    assert list(bus.list(JOURNALS)) == []


def test_a_damaged_claim_is_named(bus, airflow):
    bus.put(f"{JOURNALS}/0123456789abcdef.json", b"{}")
    with pytest.raises(BadInput, match=r"registered/runs/0123456789abcdef.json: not valid"):
        run_once(bus, airflow, "r1")


# What is killed


class Killed(BaseException):
    """The process is gone."""


class MortalBus(Bus):
    """A bus whose `nth` change of S3 is the last thing its process does, or has something happen just before it."""

    def __init__(self, store, nth, happens, done=False):
        super().__init__(store)
        self.left = nth
        self.happens = happens
        self.done = done

    def _change(self, change):
        self.left -= 1
        if self.left == 0:
            if self.done:
                change()
            self.happens()
        return change()

    def put(self, key, data, **how):
        self._change(lambda: Bus.put(self, key, data, **how))

    def delete(self, keys):
        doomed = list(keys)
        self._change(lambda: Bus.delete(self, doomed))


def die():
    raise Killed


@pytest.fixture(autouse=True)
def in_one_thread(monkeypatch):
    monkeypatch.setattr(arrivals, "in_threads", lambda function, items: [function(item) for item in items])


BATCHES = [f"b{number}" for number in range(5)]


class Arrivals(RuleBasedStateMachine):
    """Deliveries, tries that die at any change of S3, runs that end in any way, tries that outlive their run."""

    @initialize()
    def begin(self):
        arrivals._JUDGED.clear()
        self.store = MemoryStore()
        self.bus = Bus(self.store)
        self.airflow = Airflow()
        self.count = 0
        self.good = set()
        self.current = None

    @rule(batch=st.sampled_from(BATCHES))
    def a_batch_arrives(self, batch):
        deliver(self.bus, batch)
        self.good.add(batch)

    @rule(batch=st.sampled_from(BATCHES))
    def a_bad_batch_arrives(self, batch):
        if batch not in self.good:
            deliver(self.bus, batch, b"{")

    def start(self):
        if self.current is None:
            self.count += 1
            self.current = f"r{self.count}"
        self.airflow.states[self.current] = "running"
        return self.current

    def end(self, state):
        if self.current:
            self.airflow.states[self.current] = state
        self.current = None

    def whole_try(self):
        run = self.start()
        self.airflow.succeed(run, register(self.bus, run, self.airflow, most=3))
        self.current = None

    @rule()
    def a_try_succeeds(self):
        self.whole_try()

    @rule(nth=st.integers(1, 8), done=st.booleans())
    def a_try_is_killed(self, nth, done):
        bus = MortalBus(self.store, nth, die, done)
        with suppress(Killed):  # else it got to its end, and died before Airflow heard of it
            register(bus, self.start(), self.airflow, most=3)

    @rule(nth=st.integers(1, 8), other=st.sampled_from(["same run", "next run"]))
    def a_try_that_was_taken_for_dead_goes_on(self, nth, other):
        run = self.start()

        def meanwhile():
            if other == "next run":
                self.end("failed")
            self.whole_try()

        register(MortalBus(self.store, nth, meanwhile), run, self.airflow, most=3)

    @precondition(lambda self: self.airflow.states)
    @rule(nth=st.integers(1, 8), data=st.data())
    def a_try_that_was_taken_for_dead_acts_while_another_is_at_work(self, nth, data):
        run = self.start()
        dead = data.draw(st.sampled_from(sorted(self.airflow.states)))
        lag = data.draw(st.integers(1, 8))

        def meanwhile():
            with suppress(Killed):
                register(MortalBus(self.store, lag, die), dead, self.airflow, most=3)

        self.airflow.succeed(run, register(MortalBus(self.store, nth, meanwhile), run, self.airflow, most=3))
        self.current = None

    @precondition(lambda self: self.current)
    @rule(how=st.sampled_from(["failed", "marked as a success", "gone"]))
    def a_run_ends_without_a_success_of_its_task(self, how):
        self.end(how)

    @precondition(lambda self: self.current is None and self.airflow.states)
    @rule(data=st.data())
    def somebody_clears_an_old_run(self, data):
        self.current = data.draw(st.sampled_from(sorted(self.airflow.states)))
        self.airflow.states[self.current] = "running"
        self.airflow.cleared.add(self.current)

    @rule(blind=st.booleans())
    def the_events_can_or_cannot_be_told(self, blind):
        self.airflow.blind = blind

    @invariant()
    def no_batch_is_registered_twice_and_no_bad_one_ever(self):
        batches = [batch for batch, _ in getattr(self, "airflow", Airflow()).events]
        assert len(batches) == len(set(batches))
        assert set(batches) <= getattr(self, "good", set())

    def teardown(self):
        self.airflow.blind = False
        for _ in range(4):
            self.end("failed")
            self.whole_try()
        assert {batch for batch, _ in self.airflow.events} == self.good


TestArrivals = Arrivals.TestCase
TestArrivals.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("nth", range(1, 8))
def test_a_retry_of_the_same_run_registers_what_its_killed_try_had_claimed(bus, airflow, nth, done):
    for batch in BATCHES:
        deliver(bus, batch)
    airflow.states["r1"] = "running"
    with pytest.raises(Killed):
        register(MortalBus(bus._store, nth, die, done), "r1", airflow)
    report = register(bus, "r1", airflow)
    assert report.registered == BATCHES
    assert report.taken_over == {}


def test_what_a_failed_run_had_claimed_is_taken_over_and_says_from_whom(bus, airflow):
    deliver(bus, "lab-1")
    airflow.states["r1"] = "failed"
    register(bus, "r1", airflow)
    assert not pending(bus)
    report = run_once(bus, airflow, "r2")
    assert (report.registered, report.taken_over) == (["lab-1"], {"lab-1": "r1"})


def test_what_a_dead_try_claims_after_its_run_was_settled_is_taken_over(bus, airflow):
    deliver(bus, "lab-1")
    airflow.states |= {"r1": "running", "r2": "running"}

    def meanwhile():
        airflow.states["r1"] = "failed"
        assert register(bus, "r2", airflow, most=0).registered == []

    register(MortalBus(bus._store, 2, meanwhile), "r1", airflow)
    assert run_once(bus, airflow, "r3").taken_over == {"lab-1": "r1"}


def test_what_cannot_be_told_is_left_to_a_later_run(bus, airflow):
    deliver(bus, "lab-1")
    airflow.states["r1"] = "failed"
    register(bus, "r1", airflow)
    airflow.blind = True
    assert run_once(bus, airflow, "r2").registered == []
    airflow.blind = False
    assert run_once(bus, airflow, "r3").taken_over == {"lab-1": "r1"}


@pytest.mark.parametrize("nth", [1, 2])
def test_a_run_that_is_cleared_while_another_looks_into_its_journal_is_not_overtaken(bus, airflow, nth):
    deliver(bus, "lab-1")
    airflow.states["r1"] = "failed"
    register(bus, "r1", airflow)
    tell, told = airflow.registered, []

    def told_at_the_last_moment(run, since):
        answer = tell(run, since)
        told.append(run)
        if len(told) == nth:
            run_once(bus, airflow, "r1")
        return answer

    airflow.registered = told_at_the_last_moment
    run_once(bus, airflow, "r2")
    assert airflow.events == [("lab-1", "r1")]


def test_while_it_cannot_be_told_what_became_of_a_journal_its_claims_are_not_read(bus, airflow, monkeypatch):
    for number in range(40):
        deliver(bus, f"lab-{number}")
    run_once(bus, airflow, "r1")
    airflow.blind = True
    read = []
    original = Bus.get_tagged
    monkeypatch.setattr(Bus, "get_tagged", lambda self, key: read.append(key) or original(self, key))
    run_once(bus, airflow, "r2")
    assert [key.rpartition("/")[0] for key in read] == [JOURNALS]
    airflow.blind = False
    run_once(bus, airflow, "r3")
    assert len(read) == 1 + 1 + 40
    assert list(bus.list(JOURNALS)) == []


def test_the_claims_of_a_run_that_is_still_at_work_are_left_alone(bus, airflow):
    deliver(bus, "lab-1")
    airflow.states["r1"] = "running"
    register(bus, "r1", airflow)
    assert run_once(bus, airflow, "r2").registered == []
    assert len(list(bus.list(JOURNALS))) == 1


def test_runs_at_the_same_time_on_a_real_server_share_the_batches_out(s3, airflow, partition):
    batches = {f"{partition}.{number}" for number in range(20)}
    for batch in batches:
        deliver(s3, batch)
    runs = [f"{partition}-run-{number}" for number in range(4)]
    airflow.states |= dict.fromkeys(runs, "running")
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda run: register(s3, run, airflow), runs))
    registered = [batch for report in reports for batch in report.registered if batch in batches]
    assert sorted(registered) == sorted(batches)
