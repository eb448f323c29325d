"""Who may do what, tried on the real S3 server: every role on every kind of key, and the ways around it."""

import fnmatch
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3_requests import client, refused, send

from sim2edge.access import fixed_roles, grants_of
from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Conflict
from sim2edge.services.seaweedfs import S3Server, start_seaweedfs
from sim2edge.stages import kinds

ID = "0123456789abcdef"
DEVICES = ("pi-1", "pi-10")
SCOPED = [*(role for role in fixed_roles() if role != "admin"), *(f"device-{name}" for name in DEVICES)]
KEYS = [
    *(f"{kind}/b/{ID}/a1b2c3/file.bin" for kind in kinds()),
    *(f"{kind}/b/{ID}/manifest.json" for kind in kinds()),
    *("refs/batches/b", "refs/frames/b", "refs/datasets/current", "refs/models/champion", "refs/rings/canary"),
    *("ota/metadata/1.root.json", "ota/metadata/2.targets.json", "ota/metadata/timestamp.json", "ota/targets/r/x.tar"),
    *(
        "fleet/pi-1/status.json",
        "fleet/pi-10/status.json",
        "devices/register.json",
        "devices/seen.json",
        "mlflow/1/run/file",
        "logs/dag_id=x/1.log",
        "inbox/b/READY.json",
        "retrain/open/r.json",
        "retrain/served/r.json",
        "registered/b.json",
        "registered/runs/0123456789abcdef.json",
        "withdrawn/batches/b.json",
        f"withdrawn/erased/frames/b/{ID}.json",
        "at-the-top",
    ),
]
BIG = 5 * 2**20
"""The least that a part of an upload may measure, in bytes."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with start_seaweedfs(tmp_path_factory.mktemp("s3"), devices=DEVICES) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: S3Server) -> Any:
    """Before each look, everything is there."""
    made = client(server.role("admin"))
    for key in KEYS:
        made.put_object(Bucket="sim2edge", Key=key, Body=b"precious")
    made.create_bucket(Bucket="other")
    made.put_object(Bucket="other", Key="frames/x", Body=b"precious")
    return made


def may(patterns: Sequence[str], key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


@pytest.mark.parametrize("role", SCOPED)
def test_the_server_lets_a_role_do_what_it_is_granted_and_nothing_else(server: S3Server, admin: Any, role: str) -> None:
    mine, grants, wrong = client(server.role(role)), grants_of(role), []
    for key in KEYS:
        folder = f"{key.rpartition('/')[0]}/" if "/" in key else ""
        where = {"Bucket": "sim2edge", "Key": key}
        attempts = {
            "get": (lambda where=where: mine.get_object(**where), may(grants.read, key)),
            "head": (lambda where=where: mine.head_object(**where), may(grants.read, key)),
            "list": (
                lambda folder=folder: mine.list_objects_v2(Bucket="sim2edge", Prefix=folder),
                may(grants.read, folder),
            ),
            "put": (
                lambda where=where: mine.put_object(**where, Body=b"precious"),
                may([*grants.write, *grants.create], key),
            ),
            "delete": (lambda where=where: mine.delete_object(**where), may(grants.delete, key)),
        }
        for name, (attempt, allowed) in attempts.items():
            if refused(attempt) == allowed:
                wrong.append(f"{name} {key}: {'refused' if allowed else 'allowed'}")
        admin.put_object(**where, Body=b"precious")
    assert not wrong


@pytest.mark.parametrize("role", SCOPED)
def test_the_bucket_itself_is_the_admins(server: S3Server, admin: Any, role: str) -> None:
    mine, bucket = client(server.role(role)), {"Bucket": "sim2edge"}
    everyone = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::sim2edge/*"}
    attempts = {
        "list all": lambda: mine.list_objects_v2(**bucket),
        "list all, the old way": lambda: mine.list_objects(**bucket),
        "list folders": lambda: mine.list_objects_v2(**bucket, Delimiter="/"),
        "list from the root": lambda: mine.list_objects_v2(**bucket, Prefix="/"),
        "list versions": lambda: mine.list_object_versions(**bucket),
        "list uploads": lambda: mine.list_multipart_uploads(**bucket),
        "delete the bucket": lambda: mine.delete_bucket(**bucket),
        "make a bucket": lambda: mine.create_bucket(Bucket="mine"),
        "read its policy": lambda: mine.get_bucket_policy(**bucket),
        "open it to everyone": lambda: mine.put_bucket_policy(**bucket, Policy=json.dumps({"Statement": [everyone]})),
        "make it public": lambda: mine.put_bucket_acl(**bucket, ACL="public-read"),
        "let it forget": lambda: mine.put_bucket_lifecycle_configuration(
            **bucket,
            LifecycleConfiguration={
                "Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
            },
        ),
        "let pages in": lambda: mine.put_bucket_cors(
            **bucket, CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
        ),
        "keep versions": lambda: mine.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"}),
        "read another bucket": lambda: mine.get_object(Bucket="other", Key="frames/x"),
        "write to another bucket": lambda: mine.put_object(Bucket="other", Key="frames/y", Body=b""),
    }
    assert [name for name, attempt in attempts.items() if not refused(attempt)] == []
    assert mine.list_buckets()["Buckets"] == []


def test_a_bulk_delete_takes_only_what_the_role_may_delete(server: S3Server, admin: Any) -> None:
    own, foreign, manifest = (
        f"frames/b/{ID}/gone/x",
        f"model/b/{ID}/a1b2c3/file.bin",
        f"frames/b/{ID}/manifest.json",
    )
    admin.put_object(Bucket="sim2edge", Key=own, Body=b"x")
    wanted = {"Objects": [{"Key": key} for key in (own, foreign, manifest)]}
    answer = client(server.role("clean")).delete_objects(Bucket="sim2edge", Delete=wanted)
    assert [each["Key"] for each in answer["Deleted"]] == [own]
    assert {each["Key"] for each in answer["Errors"]} == {foreign, manifest}
    for key in (foreign, manifest):
        assert admin.get_object(Bucket="sim2edge", Key=key)["Body"].read() == b"precious"


def test_a_copy_neither_takes_from_nor_gives_to_a_foreign_kind(server: S3Server, admin: Any) -> None:
    clean = client(server.role("clean"))
    sources = {kind: {"Bucket": "sim2edge", "Key": f"{kind}/b/{ID}/a1b2c3/file.bin"} for kind in kinds()}

    def copy(source: str, target: str) -> None:
        clean.copy_object(Bucket="sim2edge", Key=f"{target}/b/{ID}/copied/x", CopySource=sources[source])

    assert not refused(lambda: copy("episodes", "frames"))
    assert refused(lambda: copy("model", "frames"))
    assert refused(lambda: copy("episodes", "model"))
    mine = {"Bucket": "sim2edge", "Key": f"frames/b/{ID}/copied/parts"}
    upload = clean.create_multipart_upload(**mine)["UploadId"]
    part = {"UploadId": upload, "PartNumber": 1}
    assert refused(lambda: clean.upload_part_copy(**mine, **part, CopySource=sources["model"]))
    clean.abort_multipart_upload(**mine, UploadId=upload)


def test_a_large_upload_ends_where_it_was_begun(server: S3Server, admin: Any) -> None:
    train = client(server.role("train"))
    mine = {"Bucket": "sim2edge", "Key": f"model/b/{ID}/big/model.pt"}
    upload = train.create_multipart_upload(**mine)["UploadId"]
    tag = train.upload_part(**mine, UploadId=upload, PartNumber=1, Body=b"x" * BIG)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    foreign = {"Bucket": "sim2edge", "Key": "ota/targets/evil.tar"}
    assert refused(lambda: train.complete_multipart_upload(**foreign, UploadId=upload, MultipartUpload=parts))
    assert refused(lambda: train.create_multipart_upload(**foreign))
    train.complete_multipart_upload(**mine, UploadId=upload, MultipartUpload=parts)
    assert admin.head_object(**mine)["ContentLength"] == BIG


FOREIGN = f"model/b/{ID}/a1b2c3/file.bin"
TRICKS = [
    f"/sim2edge/frames/../{FOREIGN}",
    f"/sim2edge/frames/%2e%2e/{FOREIGN}",
    f"/sim2edge/frames/..%2f{FOREIGN}",
    f"/sim2edge/frames/%2e%2e%2f{FOREIGN.replace('/', '%2f')}",
    f"/sim2edge/frames//../{FOREIGN}",
    f"/sim2edge/./{FOREIGN}",
    f"/sim2edge//{FOREIGN}",
    f"/sim2edge/{FOREIGN.replace('/', '%2F')}",
    f"/sim2edge/frames/%252e%252e/{FOREIGN}",
    f"/sim2edge/frames/..%5c{FOREIGN}",
    "/sim2edge/frames/../../other/frames/x",
    f"/sim2edge/frames/b/{ID}/a1b2c3/../../../../{FOREIGN}",
    f"/sim2edge/{FOREIGN}?prefix=frames%2F",
]


def others(admin: Any) -> dict[tuple[str, str], str]:
    """Every object outside `frames/` of the bucket, with the tag of its content."""
    return {
        (bucket, each["Key"]): each["ETag"]
        for bucket in ("sim2edge", "other")
        for each in admin.list_objects_v2(Bucket=bucket)["Contents"]
        if bucket == "other" or not each["Key"].startswith("frames/")
    }


@pytest.mark.parametrize("path", TRICKS)
def test_no_spelling_of_a_path_reaches_a_foreign_kind(server: S3Server, admin: Any, path: str) -> None:
    before, clean = others(admin), server.role("clean")
    for method in ("GET", "PUT", "DELETE"):
        status, answer = send(clean, method, path, b"evil" if method == "PUT" else b"")
        assert status >= 300 or "%25" in path  # the last is the name of an object below frames/
        assert b"precious" not in answer
    assert others(admin) == before


@pytest.mark.parametrize(
    "query",
    [
        "prefix=frames%2F..%2Fmodel%2F",
        "prefix=frames%2F..%2F",
        "prefix=frames%2F&prefix=model%2F",
        "prefix=frames%2F&Prefix=model%2F",
        "prefix=frames%2F&start-after=model",
        "prefix=frames%2F..%2F..%2Fother%2F",
        "prefix=frames%2F%2F..%2F%2Fmodel",
    ],
)
def test_no_spelling_of_a_prefix_lists_a_foreign_kind(server: S3Server, admin: Any, query: str) -> None:
    for more in ("&list-type=2", "&list-type=2&delimiter=%2F", ""):
        _, answer = send(server.role("clean"), "GET", f"/sim2edge/?{query}{more}")
        listed = answer.decode().split("<Contents>")[1:]
        assert all("<Key>frames/" in each for each in listed)
        assert FOREIGN.encode() not in answer


def test_a_query_for_a_prefix_does_not_open_the_bucket(server: S3Server, admin: Any) -> None:
    scope = f"prefix=frames%2Fb%2F{ID}%2Fa%2Fx"
    for method, query in (("DELETE", scope), ("PUT", scope), ("PUT", f"policy=&{scope}"), ("PUT", f"acl=&{scope}")):
        assert send(server.role("clean"), method, f"/sim2edge/?{query}", b"{}" if "=&" in query else b"")[0] >= 300
    assert admin.head_bucket(Bucket="sim2edge")


def test_nobody_makes_keys_or_roles_through_the_server(server: S3Server) -> None:
    iam = client(server.role("train"), "iam")
    for attempt in (
        lambda: iam.create_user(UserName="evil"),
        lambda: iam.create_access_key(UserName="train"),
        lambda: iam.list_users(),
        lambda: iam.get_user(),
    ):
        with pytest.raises(Exception, match=r".") as caught:
            attempt()
        assert isinstance(caught.value, ClientError) or "parse" in str(caught.value)  # an empty 405 is no XML


@pytest.fixture
def bus_of(server: S3Server, admin: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bus as a role sees it."""

    def connect(role: str) -> Bus:
        for name, value in server.role(role).items():
            monkeypatch.setenv(name, value)
        return Bus.from_environment()

    return connect


def test_what_is_missing_is_missing_and_not_forbidden(bus_of: Any) -> None:
    train = bus_of("train")
    assert train.find("model/b/ffffffffffffffff") is None
    assert train.read_ref("refs/models/nobody") is None
    assert train.size("dataset/b/none") is None
    assert bus_of("device-pi-1").size("ota/metadata/9.root.json") is None


def test_a_download_goes_on_in_the_middle(bus_of: Any) -> None:
    assert b"".join(bus_of("device-pi-1").stream("ota/targets/r/x.tar", start=3)) == b"cious"


def test_a_swap_is_a_conflict_and_a_foreign_ref_bad_input(bus_of: Any) -> None:
    capture = bus_of("capture")
    capture.put("refs/batches/new", b"{}", only_new=True)
    with pytest.raises(Conflict):
        capture.put("refs/batches/new", b"{}", only_new=True)
    with pytest.raises(BadInput, match="refused the credentials"):
        capture.put("refs/models/champion", b"{}")


def test_a_lost_race_and_checkpoints_are_cleared_away(bus_of: Any) -> None:
    train = bus_of("train")
    for attempt in ("aaa", "checkpoints"):
        train.put(f"model/b/{ID}/{attempt}/x", b"x")
        train.delete(train.list(f"model/b/{ID}/{attempt}"))
        assert list(train.list(f"model/b/{ID}/{attempt}")) == []
    for forbidden in (f"model/b/{ID}/manifest.json", f"dataset/b/{ID}/a1b2c3/file.bin"):
        with pytest.raises(BadInput, match="AccessDenied"):
            train.delete([f"model/b/{ID}/nothing/x", forbidden])
        assert bus_of("admin").get(forbidden) == b"precious"
