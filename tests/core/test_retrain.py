"""Requests and trainings on the bus: asking twice is asking once, and each request is fulfilled by one training."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from obstore.store import MemoryStore

from sim2edge import retrain
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, NotFound
from sim2edge.failed_trainings import give_back
from sim2edge.retrain import (
    Training,
    fingerprint,
    fulfil,
    fulfilled_by,
    make_request,
    open_requests,
    submit,
    training_id,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
FRAMES = "frames/b/0123456789abcdef"


def drift(n=0, **more):
    return make_request("drift", f"reason {n}", {"n": n}, by="monitor", submitted=NOW + timedelta(seconds=n), **more)


def training(run, requests, minute=0, **more):
    moment = NOW + timedelta(minutes=minute)
    record = {"id": training_id(run, moment), "started": moment, "batch": "b", "settings": "0" * 16}
    return Training(**{**record, "frames": (FRAMES,), "requests": tuple(requests), **more})


def names(requests):
    return [request.id for request in requests]


def test_asking_twice_is_asking_once_also_after_it_was_served(bus):
    assert submit(bus, drift()) is None
    assert submit(bus, make_request("drift", "in other words", {"n": 0}, by="somebody else")) is None
    (request,) = open_requests(bus, NOW).requests
    assert request == drift()
    fulfilled = fulfil(bus, training("r1", [request]))
    assert submit(bus, drift()) == fulfilled.id
    assert list(bus.list(retrain.OPEN)) == []


@pytest.mark.parametrize(
    "other",
    [
        lambda: drift(1),
        lambda: drift(preset="demo"),
        lambda: drift(overrides=["train.epochs=2"]),
        lambda: make_request("degradation", "reason 0", {"n": 0}, by="monitor"),
    ],
)
def test_what_is_about_something_else_is_another_request(other):
    assert other().id != drift().id


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reason": ""}, "reason: "),
        ({"reason": "two\nlines"}, "reason: .*one line"),
        ({"reason": "x" * 301}, "reason: "),
        ({"reason": "\x1b[31mred"}, "reason: .*printable"),
        ({"by": "\u202egnp"}, "by: .*printable"),
        ({"preset": "../secrets"}, "preset: "),
        ({"overrides": ["epochs=2"]}, r"overrides\.0: .*stage\.key=value"),
        ({"overrides": ["train.epochs=2\n"]}, r"overrides\.0: "),
        ({"overrides": ["train.epochs=2"] * 65}, "overrides: "),
        ({"overrides": ["train.epochs=!!bool x"]}, r"overrides\.0: .*not YAML"),
        ({"overrides": ["train.epochs=!!timestamp x"]}, r"overrides\.0: .*not YAML"),
        ({"overrides": ["train.epochs=2001-13-45"]}, r"overrides\.0: "),
        ({"overrides": ["train.epochs=\x1b[2J"]}, r"overrides\.0: .*printable"),
        ({"batch": "../b"}, "batch: .*partition '../b'"),
        ({"batch": "<b>"}, "batch: "),
        ({"evidence": {"x": "y" * 9000}}, "evidence: .*longer than"),
        ({"evidence": {"x": float("nan")}}, "evidence: not JSON"),
        ({"evidence": {"x": {1, 2}}}, "evidence: not JSON"),
        ({"evidence": {}}, "no evidence"),
        ({"kind": "whim"}, "kind: "),
        ({"now": True}, "now: only a request of kind manual"),
        ({"frames": -1}, "frames: "),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_a_wrong_field_is_named_in_one_line(wrong, message):
    words = {"kind": "drift", "reason": "because", "evidence": {"n": 1}, "by": "me", **wrong}
    with pytest.raises(BadInput, match=message) as caught:
        make_request(words.pop("kind"), words.pop("reason"), words.pop("evidence"), **words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "should be an object"),
        (b"x" * 20_000, "too long for a request"),
        (drift(3).to_json(), "is request"),
        (drift().to_json().replace(b'"n": 0', b'"n": 1'), "id: is not that of"),
        (drift().model_copy(update={"submitted": NOW + timedelta(days=9)}).to_json(), "is in the future"),
        (drift().to_json().replace(b'"version": 1', b'"version": 2'), "version"),
        (drift().to_json().replace(b'"version"', b'"\\u001b[2J": 1, "version"'), r"\x1b[2J: Extra"),
        (drift().to_json().replace(b'"overrides": []', b'"overrides": ["train.epochs=!!bool x"]'), "overrides.0"),
    ],
)
def test_what_is_no_request_is_named_and_hinders_nobody(bus, content, message):
    key = f"{retrain.OPEN}/{drift().id}.json"
    bus.put(key, content)
    submit(bus, drift(1))
    found = open_requests(bus, NOW)
    assert names(found.requests) == [drift(1).id]
    (problem,) = found.bad
    assert problem.startswith(key)
    assert message in problem


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_a_request_or_a_line(data):
    with pytest.raises(BadInput) as caught:
        retrain.parse_request(data, f"{retrain.OPEN}/{drift().id}.json", NOW)
    assert "\n" not in str(caught.value)


def test_a_request_of_an_older_version_says_when_it_was_asked(bus):
    old = drift().to_json().replace(b'"submitted"', b'"asked"')
    assert retrain.parse_request(old, f"{retrain.OPEN}/{drift().id}.json", NOW) == drift()


def test_settings_of_every_stage_travel_with_a_request():
    words = ("ingest.max_file_mb=9", "capture.episodes=3", "push.ring=canary")
    assert drift(overrides=words).overrides == words


def test_the_settings_are_those_of_the_newest_request_that_names_some():
    first = drift(1, preset="demo", overrides=["train.epochs=2"])
    second = drift(2, preset="default")
    assert retrain.merge_settings([second, drift(9), first]) == ("default", ())
    assert retrain.merge_settings([first, drift(9)]) == ("demo", ("train.epochs=2",))
    assert retrain.merge_settings([drift(9)]) == (None, ())


def test_a_request_whose_settings_no_training_can_have_is_set_aside():
    bad = [drift(1, overrides=["train.nonsense=1"]), drift(2, preset="missing")]
    fit, problems = retrain.check_requests([*bad, drift(3)], "demo", [])
    assert names(fit) == [drift(3).id]
    assert "train.nonsense: unknown key" in problems[0]
    assert "preset 'missing' is not one of" in problems[1]


PIECES = ["!!", "bool", "timestamp", "int", "omap", " ", "&a", "*a", "[", "]", "{", "}", ":", "1", "x", "'"]


@given(
    st.sampled_from(["train.epochs", "augment.copies", "train.x.y"]),
    st.lists(st.sampled_from(PIECES), max_size=9).map("".join),
)
@settings(max_examples=300, deadline=None)
def test_any_override_is_one_that_a_training_can_have_or_is_named(key, value):
    try:
        fit, problems = retrain.check_requests([drift(overrides=[f"{key}={value}"])], "demo", [])
    except BadInput as error:
        fit, problems = [], [str(error)]
    assert len(fit) + len(problems) == 1
    assert all(problem.isprintable() for problem in problems)


def test_a_training_joins_no_more_than_its_record_can_hold(bus, monkeypatch):
    monkeypatch.setattr(retrain, "MAX_JOINED", 3)
    for n in (4, 1, 3, 2, 0):
        submit(bus, drift(n))
    later = NOW + timedelta(hours=1)
    assert names(open_requests(bus, later).requests) == names([drift(0), drift(1), drift(2)])
    fulfil(bus, training("r1", open_requests(bus, later).requests))
    assert names(open_requests(bus, later).requests) == names([drift(3), drift(4)])


def test_the_record_of_the_largest_training_can_be_read_again():
    largest = make_request("drift", "reason", {"x": "y" * 7800}, by="monitor", submitted=NOW)
    record = training("r1", [largest] * retrain.MAX_JOINED)
    assert len(record.to_json()) < retrain.MAX_TRAINING_BYTES * 0.8, "the rest is for the names of frames"


def test_the_fingerprint_changes_with_what_a_training_would_come_to_and_with_nothing_else():
    usual = fingerprint("demo", [])
    assert fingerprint("demo", ["clean.width=96"]) == usual
    different = [["augment.copies=3"], ["train.epochs=9"]]
    assert len({usual, *(fingerprint("demo", words) for words in different), fingerprint("default", [])}) == 4
    assert fingerprint("demo", [], ["export.parity_frames=9"]) != usual
    assert fingerprint("demo", [], deployment="tiny") != usual, "the gate's and the release's are the deployment's"
    assert fingerprint(None, [], deployment="demo") == fingerprint("demo", [], deployment="demo")


@pytest.mark.parametrize("word", ["push.ring=stable", "validate.floors.map_50=0", "export.limits.min_classes=0"])
def test_a_request_cannot_change_what_decides_about_the_fleet(word):
    assert fingerprint("demo", [word]) == fingerprint("demo", [])
    sneaky = make_request("manual", "why not", {"x": 1}, by="eva", overrides=[word, "train.epochs=9"], submitted=NOW)
    assert retrain.merge_settings([sneaky]) == (None, ("train.epochs=9",))
    with pytest.raises(BadInput, match=f"override '{word}': a training takes settings of augment, train"):
        retrain.check_tunable(sneaky.overrides)


def test_the_deployments_settings_count_in_a_fingerprint_and_those_of_the_run_win():
    own = fingerprint("demo", ["train.epochs=9"])
    assert fingerprint("demo", ["train.epochs=9"], defaults=["train.epochs=8"]) == own
    assert fingerprint("demo", [], defaults=["train.epochs=9"]) == own


def test_only_the_last_training_counts_as_what_was_learned(bus):
    assert retrain.is_learned(bus, FRAMES, "0" * 16) == (False, "")
    first, second = training("r1", [drift(1)]), training("r2", [drift(2)], minute=1, settings="1" * 16)
    fulfil(bus, first)
    assert retrain.is_learned(bus, FRAMES, "0" * 16) == (True, first.id)
    assert retrain.is_learned(bus, "frames/b/ffffffffffffffff", "0" * 16)[0] is False
    fulfil(bus, second)
    assert retrain.is_learned(bus, FRAMES, "0" * 16) == (False, second.id)


def test_what_is_no_training_hides_none(bus):
    fulfil(bus, training("r1", [drift(1)]))
    bus.put(f"{retrain.TRAININGS}/readme.md", b"not for you")
    assert retrain.last_training(bus) == training("r1", [drift(1)])
    assert retrain.training_ids(bus) == [training("r1", [drift(1)]).id]


def test_a_training_id_is_the_same_at_every_try_and_sorts_by_time():
    early, late = training_id("manual__1", NOW), training_id("manual__0", NOW + timedelta(hours=1))
    assert early == training_id("manual__1", NOW) < late


def test_the_newest_batch_is_that_of_the_frames(bus):
    assert retrain.newest_batch(bus) is None
    for batch in ("demo-2", "demo-1"):
        bus.move_ref(f"refs/frames/{batch}", f"frames/{batch}/0123456789abcdef")
    assert retrain.newest_batch(bus) == "demo-2"


def test_what_was_served_and_is_still_listed_as_open_is_a_leftover(bus):
    fulfil(bus, training("r1", [drift()]))
    bus.put(f"{retrain.OPEN}/{drift().id}.json", drift().to_json())
    found = open_requests(bus, NOW)
    assert (found.requests, found.leftovers) == ([], [f"{retrain.OPEN}/{drift().id}.json"])
    retrain.clear_leftovers(bus, found)
    assert retrain.pending(bus) == set()


def test_of_two_tries_at_the_same_time_the_first_record_counts(bus):
    submit(bus, drift(1))
    first, second = training("r1", [drift(1)]), training("r1", [drift(1), drift(2)])
    assert fulfil(bus, first) == first
    submit(bus, drift(2))
    assert fulfil(bus, second) == first
    assert names(open_requests(bus, NOW + timedelta(hours=1)).requests) == [drift(2).id]


class Killed(Exception):
    """The process ended here."""


class MortalBus(Bus):
    """A bus whose process dies after a number of changes."""

    def __init__(self, store):
        super().__init__(store)
        self.left = None

    def _live(self):
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1

    def put(self, *arguments, **more):
        self._live()
        super().put(*arguments, **more)
        self._live()

    def delete(self, keys):
        for key in list(keys):
            self._live()
            super().delete([key])


class Retraining(RuleBasedStateMachine):
    """People ask, runs of `retrain` join and are killed and tried again or not: each request is fulfilled once."""

    def __init__(self):
        super().__init__()
        self.bus = MortalBus(MemoryStore())
        self.asked: set[str] = set()
        self.emitted: dict[str, list[str]] = {}
        self.emissions: list[str] = []
        self.runs = 0
        self.unfinished: list[int] = []

    @rule(n=st.integers(0, 12))
    def somebody_asks(self, n):
        self.bus.left = None
        fulfilled = submit(self.bus, drift(n))
        assert (fulfilled is not None) == (fulfilled_by(self.bus, drift(n).id) is not None)
        self.asked.add(drift(n).id)

    @rule(kill_after=st.none() | st.integers(0, 12))
    def a_run_starts(self, kill_after):
        self.runs += 1
        self._try(self.runs, kill_after)

    @rule(kill_after=st.none() | st.integers(0, 12), which=st.integers(0, 5))
    def a_killed_run_is_tried_again(self, kill_after, which):
        if self.unfinished:
            self._try(self.unfinished.pop(which % len(self.unfinished)), kill_after)

    def _try(self, run, kill_after):
        """What the task `start` does."""
        self.bus.left = kill_after
        identity = training_id(str(run), NOW + timedelta(minutes=run))
        try:
            record = retrain.find_training(self.bus, identity)
            if record is None:
                requests = open_requests(self.bus, NOW + timedelta(hours=9)).requests
                if not requests:
                    return
                record = training(str(run), requests, minute=run)
            own = fulfil(self.bus, record)
        except Killed:
            self.unfinished.append(run)
            return
        finally:
            self.bus.left = None
        if own:
            self.emitted[own.id] = names(own.requests)
            self.emissions += names(own.requests)

    @invariant()
    def each_request_is_on_one_training_at_most(self):
        assert len(self.emissions) == len(set(self.emissions))
        for identity, requests in self.emitted.items():
            assert all(fulfilled_by(self.bus, request) == identity for request in requests)

    def teardown(self):
        """In the end, when nobody is killed any more, every request is on a training, and none is open."""
        for run in [*self.unfinished, self.runs + 1]:
            self._try(run, None)
        assert set(self.emissions) == self.asked
        assert open_requests(self.bus, NOW + timedelta(hours=9)).requests == []
        assert json.loads(self.bus.get(f"{retrain.FULFILLED}/{next(iter(self.asked))}.json")) if self.asked else True


Retraining.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestRetraining = Retraining.TestCase


def test_the_requests_of_a_failed_training_are_open_again_once_however_often_they_are_given_back(bus):
    asked = [drift(1), make_request("manual", "mine", {"x": 1}, by="eva", overrides=["train.epochs=9"], submitted=NOW)]
    for request in asked:
        submit(bus, request)
    failed = training("r1", asked)
    fulfil(bus, failed)
    assert open_requests(bus, NOW + timedelta(hours=1)).requests == []
    for _ in range(2):
        again = give_back(bus, failed.id)
    found = open_requests(bus, NOW + timedelta(hours=1)).requests
    assert {request.id for request in found} == {request.id for request in again}
    assert {request.reason for request in found} == {request.reason for request in asked}
    assert all(request.evidence["failed_training"] == failed.id for request in found)
    assert retrain.merge_settings(found) == (None, ()), "settings with which a training failed do not count"
    second = training("r2", found, minute=9)
    fulfil(bus, second)
    give_back(bus, second.id)
    assert len(open_requests(bus, NOW + timedelta(hours=1)).requests) == len(asked)


def test_a_request_whose_evidence_is_as_large_as_it_may_be_is_given_back_too(bus):
    largest = make_request("drift", "reason", {"x": "y" * 7800}, by="monitor", submitted=NOW)
    room = retrain.MAX_BYTES - len(largest.to_json()) - 10
    largest = make_request("drift", "reason", {"x": "y" * (7800 + room)}, by="monitor", submitted=NOW)
    failed = training("r1", [largest])
    fulfil(bus, failed)
    (again,) = give_back(bus, failed.id)
    assert again.evidence == {"request": largest.id, "failed_training": failed.id}


def test_a_training_that_was_never_recorded_gives_nothing_back(bus):
    with pytest.raises(NotFound, match="there is no such training"):
        give_back(bus, "20260101t000000-00000000")
