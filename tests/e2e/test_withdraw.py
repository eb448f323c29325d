"""A second batch reaches two rings, is withdrawn, rolled back and erased: real stages with the keys of their roles."""

import json
from collections.abc import Iterator

import pytest
import zstandard

from sim2edge.bus import Bus
from sim2edge.manifest import Manifest

pytestmark = pytest.mark.slow

FIRST, SECOND = "tiny-1", "tiny-2"


def made_with(bus: Bus, batch: str) -> Iterator[Manifest]:
    """Yield the manifests of all artifacts whose lineage has the batch."""
    found = {manifest.reference: manifest for manifest in bus.manifests()}

    def has(reference: str) -> bool:
        manifest = found[reference]
        inputs = {role: names for role, names in manifest.inputs.items() if role not in ("champion", "best")}
        above = [each for names in inputs.values() for each in names]
        return any(map(has, above)) if above else manifest.partition == batch

    return (manifest for manifest in found.values() if has(manifest.reference))


def samples(bus: Bus, manifest: Manifest) -> Iterator[bytes]:
    """Yield 64 bytes from the middle of each larger file of an artifact."""
    for file in manifest.files:
        if file.bytes > 2000:
            content = bus.get(f"{manifest.reference}/{manifest.attempt}/{file.path}")
            yield content[len(content) // 2 :][:64]


def find_holders(bus: Bus, patterns: set[bytes]) -> dict[bytes, set[str]]:
    """Return the keys of all objects that contain a pattern, by pattern."""
    found: dict[bytes, set[str]] = {}
    for key in bus.list(""):
        content = bus.get(key)
        if key.endswith(".zst"):
            content = zstandard.ZstdDecompressor().decompress(content)
        for pattern in patterns:
            if pattern in content:
                found.setdefault(pattern, set()).add(key)
    return found


def newest_release(bus: Bus, ring: str) -> str:
    """Return the id of the last release of the first batch that a ring got; other tests may have pushed some."""
    rollouts = [each for each in bus.manifests("rollout", FIRST) if each.summary["ring"] == ring]
    newest = max(rollouts, key=lambda each: each.finished)
    return newest.inputs["release"][0].rpartition("/")[2]


@pytest.fixture(scope="module")
def second(pipeline):
    """The pipeline after a second batch: a model of both is champion, and its release is on canary and stable."""
    references = dict(pipeline.references)
    pipeline.make("push", "ring=stable")
    for stage in ("capture", "clean"):
        pipeline.make(stage, batch=SECOND)
    for stage in ("augment", "train", "validate", "export"):
        pipeline.make(stage, batch=SECOND)
    for ring in ("canary", "stable"):
        pipeline.make("push", f"ring={ring}", batch=SECOND)
    yield pipeline
    pipeline.references = references


def rings(pipeline) -> dict[str, str]:
    return json.loads(pipeline.run("ota", "status").out)["rings"]


def test_a_withdrawn_batch_is_rolled_back_then_erased_and_nothing_of_the_other_is_touched(second, elsewhere):
    pipeline, bus = second, second.bus
    derived = list(made_with(bus, SECOND))
    patterns = {sample for each in derived for sample in samples(bus, each)}
    own = (*(f"{manifest.reference}/" for manifest in derived), "ota/")
    holders = find_holders(bus, patterns)  # a dataset of both batches has bytes of the first one, too
    patterns = {pattern for pattern, keys in holders.items() if all(key.startswith(own) for key in keys)}
    kinds = {key.partition("/")[0] for pattern in patterns for key in holders[pattern]}
    assert kinds >= {"episodes", "frames", "dataset", "model", "release", "ota"}
    assert len(patterns) >= 20
    new, old = dict(pipeline.references), rings(pipeline)
    assert old["canary"] == old["stable"] == new["export"].rpartition("/")[2]

    ended = pipeline.run("withdraw", SECOND, "--reason", "a wish", "--by", "ana", "--json", "--roll-back", "--retrain")
    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    listed = {reference for names in report["artifacts"].values() for reference in names}
    assert listed == {manifest.reference for manifest in derived}
    assert rings(pipeline) == {ring: newest_release(bus, ring) for ring in ("canary", "stable")}
    assert bus.read_ref("refs/models/champion").target.startswith(f"model/{FIRST}/")

    for words in (
        ["capture", "--partition", SECOND],
        ["clean", "--partition", SECOND],
        ["train"],
        ["push", f"--input=release={new['export']}"],
        ["validate", f"--input=model={new['train']}", f"--input=dataset={new['augment']}"],
    ):
        refused = pipeline.run(*words)
        assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
        assert f"batch '{SECOND}'" in refused.err
        assert refused.err.endswith(" by ana: a wish\n")
    assert pipeline.run("reproduce", new["clean"]).code == 0

    without = pipeline.make("augment").committed
    assert [name.split("/")[1] for name in bus.open(without["reference"]).inputs["frames"]] == [FIRST]

    ended = pipeline.run("withdraw", SECOND, "--erase", "--yes", "--by", "ana")
    assert ended.code == 0, ended.err
    assert find_holders(bus, patterns) == {}
    for reference in (new["capture"], new["clean"], new["augment"], new["train"], new["export"]):
        erased = pipeline.run("reproduce", reference)
        assert (erased.code, erased.err.count("\n")) == (2, 1)
        assert f"{reference}: erased on " in erased.err
        assert erased.err.endswith("by ana: a wish\n")
    for reference in (bus.read_ref(f"refs/frames/{FIRST}").target, without["reference"]):
        assert elsewhere.run("reproduce", reference).code == 0
