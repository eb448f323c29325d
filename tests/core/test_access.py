"""Who may do what, on paper: what follows from the stage declarations, and how it is written for S3 servers."""

import fnmatch
import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from sim2edge.access import CHECKED, CHECKS, Keys, fixed_roles, grants_of, policy, seaweedfs_config
from sim2edge.arrivals import journals_of
from sim2edge.errors import BadInput
from sim2edge.manifest import entry_key
from sim2edge.stages import get_stage, installed, kinds, stage_names

ID = "0123456789abcdef"
RETIRES = "retention"
"""The one role that deletes artifacts, with their refs and entries; tested on its own."""
DECIDES = ("withdraw", "erase")
"""The roles that mark batches as withdrawn; one of them deletes their payload. Tested on their own."""
SCOPED = [role for role in (*fixed_roles(), "device-pi-1", "producer-farm") if role != "admin"]


def may(patterns: Sequence[str], key: str) -> bool:
    """Whether a pattern matches, as IAM does it: `*` is any characters."""
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


@pytest.mark.parametrize("name", stage_names())
def test_a_stage_reads_its_inputs_and_writes_its_own_kind_alone(name):
    stage, grants = get_stage(name), grants_of(name)
    inputs = {each.kind for each in stage.inputs.values()}
    for kind in kinds():
        payload = f"{kind}/batch-1/{ID}/a1b2c3/file"
        assert may(grants.read, payload) == (kind in inputs | {stage.produces})
        assert may(grants.write, payload) == (kind == stage.produces)
        assert may(grants.delete, payload) == (kind == stage.produces)
        assert may(grants.create, f"{kind}/batch-1/{ID}/manifest.json") == (kind == stage.produces)


@pytest.mark.parametrize("role", [role for role in SCOPED if role != RETIRES])
def test_no_role_deletes_or_freely_writes_a_manifest(role):
    grants = grants_of(role)
    for kind in kinds():
        manifest = f"{kind}/batch-1/{ID}/manifest.json"
        assert not may(grants.delete, manifest)
        assert not may(grants.write, manifest)


def test_who_retires_artifacts_deletes_them_and_nothing_that_is_live_for_devices_or_trainings():
    grants = grants_of(RETIRES)
    for key in (
        f"model/b/{ID}/manifest.json",
        f"model/b/{ID}/a/model.pt",
        "refs/batches/b",
        "refs/frames/b",
        "catalog/x",
    ):
        assert may(grants.delete, key)
        assert not may((*grants.write, *grants.create), key)
    for key in ("refs/models/champion", "refs/rings/canary", "refs/datasets/current", "ota/targets/x", "fleet/p/x"):
        assert not may(grants.delete, key)
    assert may(grants.write, f"withdrawn/retired/model/b/{ID}.json")
    assert not may(grants.write, "withdrawn/batches/b.json")


def test_who_withdraws_batches_marks_them_and_deletes_requests_alone():
    grants = grants_of("withdraw")
    assert may(grants.write, "withdrawn/batches/b.json")
    assert may(grants.write, "retrain/open/x.json")
    assert grants.delete == ("retrain/open/*", *CHECKED)
    for key in (
        f"withdrawn/erased/model/b/{ID}.json",
        "withdrawn/retired/x",
        "refs/rings/canary",
        "catalog/x",
        "ota/x",
    ):
        assert not may((*grants.write, *grants.create), key), key


def test_who_erases_batches_deletes_payload_and_keeps_manifests_refs_and_what_devices_trust():
    grants = grants_of("erase")
    for key in (
        *(f"{kind}/b/{ID}/a1b2c3/file" for kind in kinds()),
        "inbox/b/run.mcap",
        "mlflow/1/0123/artifacts/model.pt",
        f"ota/targets/releases/abc.{ID}.tar",
    ):
        assert may(grants.delete, key), key
        assert not may((*grants.write, *grants.create), key), key
    for key in (
        "refs/models/champion",
        "refs/batches/b",
        "ota/metadata/1.root.json",
        "ota/targets/rings/x",
        "catalog/x",
    ):
        assert not may(grants.delete, key), key
    for key in (f"withdrawn/erased/model/b/{ID}.json", "withdrawn/batches/b.json"):
        assert may(grants.write, key)
        assert not may(grants.delete, key)


@pytest.mark.parametrize("role", [role for role in SCOPED if role != RETIRES])
def test_no_role_deletes_a_ref_or_what_devices_install(role):
    for key in (
        "refs/models/champion",
        "refs/batches/b",
        "ota/metadata/timestamp.json",
        "ota/targets/x",
        "fleet/pi-1/x",
    ):
        assert not may(grants_of(role).delete, key)


def test_a_stage_enters_artifacts_of_its_own_kind_into_the_catalog():
    for kind in kinds():
        key = entry_key(f"{kind}/a_frames_b/{ID}", datetime(2026, 1, 1, tzinfo=UTC))
        makers = {stage.name for stage in installed() if stage.produces == kind}
        writers = {role for role in SCOPED if may((*grants_of(role).create, *grants_of(role).write), key)}
        assert writers == makers | {"airflow", "erase"}
        assert [role for role in SCOPED if may(grants_of(role).delete, key)] == [RETIRES]


def test_each_ref_is_moved_by_whom_it_belongs_to():
    movers = {
        "refs/batches/b": {"capture", "ingest", "airflow"},
        "refs/frames/b": {"clean", "annotate", "airflow"},
        "refs/datasets/current": {"augment", "airflow"},
        "refs/models/accepted": {"validate"},
        "refs/models/champion": {"push"},
        "refs/rings/canary": {"push"},
    }
    for ref, expected in movers.items():
        assert {role for role in SCOPED if may(grants_of(role).write, ref)} == expected, ref


def test_every_stage_sees_what_is_withdrawn_and_few_decide_it():
    for key, deciding in (("withdrawn/batches/b.json", DECIDES), (f"withdrawn/erased/frames/b/{ID}.json", ("erase",))):
        readers = {role for role in SCOPED if may(grants_of(role).read, key)}
        assert readers == {*stage_names(), "airflow", RETIRES, *DECIDES}
        for role in SCOPED:
            grants = grants_of(role)
            assert may(grants.write, key) == (role in deciding), role
            assert not may((*grants.create, *grants.delete), key), role
    admin = grants_of("admin")
    assert may(admin.write, "withdrawn/batches/b.json")
    assert may(admin.delete, f"frames/b/{ID}/a/frames.parquet")


def test_a_stage_reads_the_lineage_of_its_inputs_and_no_payload_of_it():
    for stage in installed():
        read = grants_of(stage.name).read
        assert all(may(read, f"{kind}/b/{ID}/manifest.json") for kind in kinds() if stage.inputs)
    assert not may(grants_of("push").read, f"dataset/b/{ID}/a1b2c3/train.parquet")


def test_only_push_writes_what_devices_trust_and_not_even_push_the_root():
    for key in ("ota/metadata/timestamp.json", "ota/metadata/7.targets.json", "ota/targets/releases/x.tar"):
        assert {role for role in SCOPED if may(grants_of(role).write, key)} == {"push"}
    assert not [role for role in SCOPED if may(grants_of(role).write, "ota/metadata/2.root.json")]


def test_a_producer_delivers_its_own_batches_and_reads_no_others():
    grants = grants_of("producer-farm")
    for name in (
        "a.mcap",
        "a.mcap.zstd",
        "a.mcap.zst",
        "bag/a_0.db3",
        "bag/a_0.db3.zstd",
        "a.bag",
        "bag/metadata.yaml",
    ):
        assert may(grants.write, f"inbox/farm.1/monday/{name}")
        assert may(grants_of("ingest").write, f"inbox/lab-1/{name}")
    for name in (
        "images/a.jpg",
        "a.JPEG",
        "x/a.png",
        "x/y/A.PNG",
        "a.bmp",
        "a.webp",
        "a.tif",
        "a.tiff",
        "x/labels.json",
    ):
        assert may(grants.write, f"inbox/farm.1/{name}"), name
    for name in ("monday/a.sh", "a.json", "READY.json.sh", "images/a.svg", "images/a.gif"):
        assert not may(grants.write, f"inbox/farm.1/{name}"), name
    assert may(grants.create, "inbox/farm.1/READY.json")
    for batch in ("1", "coco.json", "a.jpg", "instances-annotations", "labels.tif"):
        assert not may(grants.write, f"inbox/farm.{batch}/READY.json"), batch
    for foreign in ("inbox/farm-2.1/", "inbox/farm2/", "inbox/lab-1/", "registered/farm.1.json/", "episodes/farm.1/"):
        for key in (f"{foreign}a.mcap", f"{foreign}x/a.jpg", f"{foreign}x/a.json", f"{foreign}READY.json"):
            assert not may([*grants.read, *grants.write, *grants.create], key), key


def test_only_airflow_registers_and_it_delivers_nothing():
    for key in ("registered/lab-1.json", "registered/runs/0123456789abcdef.json", journals_of("annotate") + "/a.json"):
        assert {role for role in SCOPED if may(grants_of(role).write, key)} == {"airflow"}
        if key.startswith("registered/runs/"):
            assert may(grants_of("airflow").delete, key)
    assert not may(grants_of("airflow").delete, "registered/lab-1.json")
    assert not may(grants_of("airflow").write, "inbox/lab-1/READY.json")


@pytest.mark.parametrize("role", ["producer-", "producer-A", "producer-a.b", "producer-*", "producer-a\n"])
def test_a_name_that_cannot_be_a_producers_is_no_role(role):
    with pytest.raises(BadInput, match="is not one of"):
        grants_of(role)


def test_a_device_is_not_another_whose_name_begins_the_same():
    written = grants_of("device-pi-1").write
    assert may(written, "fleet/pi-1/status.json")
    assert not any(may(written, f"fleet/{other}/status.json") for other in ("pi-10", "pi-2", "pi", "*"))
    assert not may(grants_of("device-pi-1").read, "fleet/pi-1/status.json")


def test_only_the_admin_enrols_devices_and_no_device_or_stage_says_what_was_seen():
    register, seen = "devices/register.json", "devices/seen.json"
    for role in SCOPED:
        grants = grants_of(role)
        written = (*grants.write, *grants.create, *grants.delete)
        assert not may(written, register), role
        assert may(written, seen) == (role == "airflow"), role
    readers = {role for role in SCOPED if may(grants_of(role).read, register)}
    assert readers == {"airflow", "push", RETIRES, *DECIDES}


@pytest.mark.parametrize(
    "role", ["", "root", "device", "device-", "device-*", "device-a/b", "device-Ä", "device-?", "Train"]
)
def test_what_is_no_role_is_refused(role):
    with pytest.raises(BadInput, match="is not one of"):
        grants_of(role)


@pytest.mark.parametrize("bucket", ["", "a", "*", "Bucket", "b/*", "-ab"])
def test_what_is_no_bucket_gets_no_policy(bucket):
    with pytest.raises(BadInput, match="bucket"):
        policy("train", bucket)


@pytest.mark.parametrize("role", [*fixed_roles(), "device-pi-1", "producer-farms", f"producer-{'p' * 32}"])
def test_a_policy_allows_in_its_bucket_only_and_fits_into_iam(role):
    document = policy(role, "b" * 40)
    assert document["Version"] == "2012-10-17"
    for statement in document["Statement"]:
        assert set(statement) <= {"Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"
        assert all(arn.startswith(f"arn:aws:s3:::{'b' * 40}") for arn in statement["Resource"])
        assert role == "admin" or "s3:*" not in statement["Action"]
    managed = role in ("airflow", "push", RETIRES, *DECIDES) or len(role) > len("producer-farms")
    limit = 6144 if managed else 2048  # of a managed policy; of an inline one of a user
    assert len(json.dumps(document, separators=(",", ":"))) <= limit


def test_a_listing_is_held_to_the_prefixes_that_may_be_read():
    for role in SCOPED:
        listing = [s for s in policy(role, "bucket")["Statement"] if s["Action"] == ["s3:ListBucket"]]
        assert [s["Condition"] for s in listing] == [{"StringLike": {"s3:prefix": list(grants_of(role).read)}}]
        assert [s["Resource"] for s in listing] == [["arn:aws:s3:::bucket"]]


def test_aws_insists_that_a_manifest_is_new_and_seaweedfs_is_not_asked():
    def conditions(**how: bool) -> list[dict]:
        statements = policy("train", "bucket", **how)["Statement"]
        puts = [s for s in statements if "s3:PutObject" in s["Action"]]
        return [s.get("Condition") for s in puts if any(arn.endswith("manifest.json") for arn in s["Resource"])]

    assert conditions() == [{"Null": {"s3:if-none-match": "false"}}]
    assert conditions(conditional=False) == [None]


def keys(*roles: str) -> dict[str, Keys]:
    return {role: Keys(f"key-{role}", f"secret-{role}") for role in roles}


def test_seaweedfs_gets_each_role_with_its_policy_and_the_admin_without():
    config = seaweedfs_config(keys("train", "admin", "device-pi-1"), "bucket")
    assert [each["name"] for each in config["identities"]] == ["admin", "device-pi-1", "train"]
    admin, device, train = config["identities"]
    assert admin["actions"] == ["Admin"]
    assert (device["policyNames"], train["policyNames"]) == (["device-pi-1"], ["train"])
    assert "actions" not in device
    assert train["credentials"] == [{"accessKey": "key-train", "secretKey": "secret-train"}]
    assert {each["name"]: json.loads(each["content"]) for each in config["policies"]} == {
        role: policy(role, "bucket", conditional=False) for role in ("train", "device-pi-1")
    }


def test_two_roles_may_not_share_an_access_key():
    with pytest.raises(BadInput, match="roles 'train' and 'clean' have the same access key"):
        seaweedfs_config({"train": Keys("same", "a"), "clean": Keys("same", "b")}, "bucket")


def test_secrets_do_not_show_in_a_representation():
    assert "secret-train" not in repr(keys("train"))


def test_no_two_stages_write_the_same_key_but_those_that_make_the_same_kind():
    sets = {name: (*grants_of(name).write, *grants_of(name).create) for name in stage_names()}
    for one, other in itertools.combinations(installed(), 2):
        shared = {*CHECKS, *(["inbox/*/READY.json"] if one.source and other.source else [])}  # a batch has one delivery
        assert set(sets[one.name]) & set(sets[other.name]) <= shared or one.produces == other.produces
