"""What a retention policy retires, and what it never does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim2edge.catalog import Record
from sim2edge.errors import BadInput
from sim2edge.retention import KindPolicy, RetentionPolicy, choose, protect, read_policy

NOW = datetime(2026, 12, 1, tzinfo=UTC)
GB = 1_000_000_000


def record(reference, days=100.0, size=GB, inputs=None, parts=()):
    return Record(
        reference=reference, stage="s", version=1, finished=NOW - timedelta(days=days), wall_s=1.0, bytes=size,
        inputs=inputs or {}, parts=parts, shard=None, refused=None, config_hash="", numbers={},
    )  # fmt: skip


def name(kind, number, batch=None):
    return f"{kind}/{batch or f'night-{number:03d}'}/{number:016x}"


def retired(records, kept=(), owned=None, **policy):
    return [removal.reference for removal in choose(records, kept, RetentionPolicy(**policy), owned or {}, NOW)]


def of(**rules):
    return {kind: KindPolicy(**rule) for kind, rule in rules.items()}


def test_without_a_policy_everything_stays():
    assert retired([record(name("episodes", 1), days=10_000)]) == []


def test_what_is_too_old_goes_and_the_reason_says_so():
    old, new = record(name("episodes", 1), days=91), record(name("episodes", 2), days=89)
    assert retired([old, new], kinds=of(episodes={"days": 90})) == [old.reference]
    (removal,) = choose([old], (), RetentionPolicy(kinds=of(episodes={"days": 90})), {}, NOW)
    assert removal.why == "older than 90 days"


def test_the_newest_of_a_kind_stay():
    models = [record(name("model", n), days=n) for n in range(3, 9)]
    assert sorted(retired(models, kinds=of(model={"last": 4}))) == [each.reference for each in models[4:]]


def test_what_was_replaced_goes_sooner():
    first, second = record(name("frames", 1, "b"), days=20), record(name("frames", 2, "b"), days=19)
    rules = of(frames={"days": 365, "superseded_days": 7})
    assert retired([first, second], owned={"frames/b": second.reference}, kinds=rules) == [first.reference]
    assert retired([first, second], kinds=rules) == [], "whose batch has no ref of its own has nothing newer"


def test_the_largest_go_first_as_many_as_the_limit_wants():
    records = [record(name("episodes", n), size=n * GB) for n in range(1, 6)]
    assert retired(records, kinds=of(episodes={}), max_gb=7) == [records[4].reference, records[3].reference]
    assert retired(records, kept=[records[4].reference], kinds=of(episodes={}), max_gb=7) == [
        records[3].reference, records[2].reference, records[1].reference
    ]  # fmt: skip
    assert retired(records, kinds=of(model={}), max_gb=1) == [], "a kind that is not named is kept"


def test_a_live_artifact_stays_with_its_inputs_and_its_shards_but_not_with_theirs():
    episodes = record(name("episodes", 1), parts=(name("episodes", 7),))
    frames = record(name("frames", 2), inputs={"episodes": [episodes.reference]}, parts=(name("frames", 8),))
    dataset = record(name("dataset", 3), inputs={"frames": [frames.reference]})
    model = record(name("model", 4), inputs={"dataset": [dataset.reference]})
    records = [episodes, frames, dataset, model]
    assert protect(records, [model.reference], NOW) == {model.reference, dataset.reference}
    assert protect(records, [dataset.reference], NOW) == {dataset.reference, frames.reference, name("frames", 8)}


def test_what_was_committed_lately_stays_with_its_inputs():
    old = record(name("dataset", 1))
    young = record(name("model", 2), days=1, inputs={"dataset": [old.reference]})
    assert protect([old, young], (), NOW) == {old.reference, young.reference}


RECORDS = st.lists(
    st.tuples(st.sampled_from(["episodes", "frames", "dataset", "model"]), st.floats(0, 500), st.integers(0, 5)),
    max_size=25,
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "days": st.floats(0.5, 400),
        "last": st.integers(1, 10),
        "superseded_days": st.floats(0.5, 400),
    },
)


@given(RECORDS, st.dictionaries(st.sampled_from(["episodes", "frames", "model"]), RULES), st.data())
def test_nothing_live_goes_nor_its_inputs_nor_a_kind_without_a_policy(rows, rules, data):
    names = [name(kind, n) for n, (kind, _, _) in enumerate(rows)]
    records = []
    for reference, (_, days, size) in zip(names, rows, strict=True):
        given_ = data.draw(st.lists(st.sampled_from(names), max_size=3))
        records.append(record(reference, days, size * GB, {"x": given_}))
    roots = data.draw(st.lists(st.sampled_from(names), max_size=4)) if names else []
    kept = protect(records, roots, NOW)
    policy = RetentionPolicy(kinds={kind: KindPolicy(**rule) for kind, rule in rules.items()}, max_gb=1.0)
    gone = {removal.reference for removal in choose(records, kept, policy, {}, NOW)}
    known = {each.reference: each for each in records}
    assert not gone & {*roots}
    assert not gone & {reference for root in roots for reference in known[root].inputs["x"]}
    assert {reference.partition("/")[0] for reference in gone} <= rules.keys()
    assert all(NOW - known[reference].finished >= timedelta(hours=48) for reference in gone)
    again = choose([each for each in records if each.reference not in gone], kept, policy, {}, NOW)
    assert not [each for each in again if "newest" not in each.why], "a second time finds nothing new"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kinds: {episode: {days: 3}}", "kinds: 'episode' is not one of: episodes, frames"),
        ("kinds: {episodes: {days: 0}}", "kinds.episodes.days: "),
        ("kinds: {episodes: {day: 3}}", "kinds.episodes.day: "),
        ("kinds: {episodes: {days: soon}}", "kinds.episodes.days: "),
        ("max_gb: true", "max_gb: "),
        ("[]", "retention.yml: "),
        ("kinds: {", "not YAML"),
    ],
)
def test_a_mistake_in_the_policy_names_file_and_field(tmp_path, text, says):
    path = tmp_path / "retention.yml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_policy(path)
    assert "retention.yml: " in str(caught.value)
    assert says in str(caught.value)


def test_an_empty_policy_keeps_everything(tmp_path):
    path = tmp_path / "retention.yml"
    path.write_text("# nothing yet\n")
    assert read_policy(path) == RetentionPolicy()
