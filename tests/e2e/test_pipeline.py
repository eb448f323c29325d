"""The whole pipeline without Airflow: cache hits, what a change re-runs, lineage, reproduction, a second batch."""

import json

import pytest

from sim2edge.stages import chain

CHAIN = [stage.name for stage in chain()]

pytestmark = pytest.mark.slow


def artifacts(pipeline) -> set[str]:
    return {manifest.reference for manifest in pipeline.bus.manifests()}


def test_everything_again_is_a_cache_hit_and_makes_nothing_new(pipeline):
    before = artifacts(pipeline)
    for stage in CHAIN:
        assert pipeline.make(stage).committed["cached"], stage
    assert artifacts(pipeline) == before


def test_a_changed_augmentation_runs_augment_again_and_leaves_the_rest(pipeline):
    original = dict(pipeline.references)
    try:
        assert pipeline.make("capture").committed["cached"]
        assert pipeline.make("clean").committed["cached"]
        assert not pipeline.make("augment", "brightness=10").committed["cached"]
        planned = pipeline.words("train")
        assert f"dataset={original['augment']}" not in planned
    finally:
        pipeline.references = original


def test_lineage_leads_from_the_rollout_to_the_seeds(pipeline):
    lineage = json.loads(pipeline.run("lineage", "refs/rings/canary", "--json").out)
    stages = {entry["stage"].split()[0] for entry in lineage.values()}
    assert stages == set(CHAIN)
    seeds = lineage[pipeline.references["capture"]]["seeds"]
    assert len(seeds) == len(set(seeds.values())) == 14
    tree = pipeline.run("lineage", "refs/rings/canary").out
    assert all(str(seed) in tree for seed in seeds.values())


@pytest.mark.parametrize("stage", CHAIN)
def test_reproducing_gives_identical_bytes_and_changes_nothing(pipeline, elsewhere, stage):
    before = set(pipeline.bus.list(""))
    ended = elsewhere.run("reproduce", pipeline.references[stage])
    assert ended.code == 0, ended.out + ended.err
    total = len(pipeline.bus.open(pipeline.references[stage]).files)
    assert f"compared byte by byte: {total} of {total} files identical" in ended.out
    assert set(pipeline.bus.list("")) == before


def test_what_was_made_otherwise_than_its_manifest_says_is_found(pipeline):
    manifest = pipeline.bus.open(pipeline.references["clean"])
    other = {"frames.parquet": "0" * 64}
    files = [each.model_copy(update={"sha256": other.get(each.path, each.sha256)}) for each in manifest.files]
    config = manifest.config | {"jpeg_quality": 80}
    for change, found in (
        ({"files": files}, "differs: frames.parquet ("),
        ({"config": config}, f"differs: manifest.json (its id is {manifest.id}, "),
    ):
        pipeline.bus.put(f"{manifest.reference}/manifest.json", manifest.model_copy(update=change).to_json())
        try:
            ended = pipeline.run("reproduce", manifest.reference)
        finally:
            pipeline.bus.put(f"{manifest.reference}/manifest.json", manifest.to_json())
        assert ended.code == 1
        assert found in ended.out


def test_the_champion_is_the_model_that_was_released(pipeline):
    assert pipeline.bus.read_ref("refs/models/accepted").target == pipeline.references["train"]
    assert pipeline.bus.read_ref("refs/models/champion").target == pipeline.references["train"]


def test_a_refused_verdict_is_exit_code_3_and_moves_no_champion(pipeline):
    words = [*pipeline.words("validate"), "floors.map_50=0.999"]
    for _ in range(2):
        ended = pipeline.run(*words)
        assert ended.code == 3
        assert "map_50" in ended.err
    assert pipeline.bus.read_ref("refs/models/champion").target == pipeline.references["train"]
    assert pipeline.run("reproduce", ended.committed["reference"]).code == 0
