"""A producer's key on the real S3 server: it delivers its own batches, of logs or annotated pictures, nothing else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from s3_requests import client, refused, send

from sim2edge import inbox
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.services.seaweedfs import S3Server, start_seaweedfs

pytestmark = pytest.mark.slow

FOREIGN = (
    "inbox/lab-1/READY.json",
    "inbox/lab-1/images/a.jpg",
    "inbox/yard2.1/x/labels.json",
    "inbox/yard/x/labels.json",
    "frames/b/0123456789abcdef/manifest.json",
    "refs/frames/b",
    "ota/metadata/timestamp.json",
    "registered/yard.1.json",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with start_seaweedfs(tmp_path_factory.mktemp("s3"), producers=["yard", "yard2"]) as running:
        admin = client(running.role("admin"))
        for key in FOREIGN:
            admin.put_object(Bucket="sim2edge", Key=key, Body=b"precious")
        yield running


@pytest.fixture
def keys(server: S3Server) -> Mapping[str, str]:
    """The producer's environment."""
    return server.role("producer-yard")


@pytest.fixture
def producer(keys: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Bus:
    """The bus as the producer sees it."""
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    return Bus.from_environment()


def write(folder: Path, *names: str) -> list[Any]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return [inbox.describe(folder, name) for name in names]


BATCHES = {
    "yard.labels-1": ("annotations/instances_default.json", "images/a.jpg", "images/B.JPG", "c.png", "d/e.tiff"),
    "yard.labels-2": ("_annotations.coco.json", "a.jpeg", "a.bmp", "a.webp"),
    "yard.logs-1": ("a.mcap", "b.db3"),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_a_producer_delivers_and_reads_back(producer: Bus, tmp_path: Path, batch: str) -> None:
    files = write(tmp_path, *BATCHES[batch])
    ready = inbox.deliver(producer, batch, tmp_path, files)
    assert inbox.deliver(producer, batch, tmp_path, files) == ready
    data, listing = inbox.read_ready(producer, batch)
    assert inbox.digest(data) == ready
    assert {producer.get(listing.key(file)) for file in listing.files} == {name.encode() for name in BATCHES[batch]}
    with pytest.raises(BadInput, match="has another delivery"):
        inbox.deliver(producer, batch, tmp_path, files[:1])


def test_a_producer_without_our_code_uploads_folders_as_they_are(keys: Mapping[str, str]) -> None:
    mine = client(keys)
    for name in ("annotations/labels.json", "images/a.jpg", "images/b.PNG", "run.mcap"):
        mine.put_object(Bucket="sim2edge", Key=f"inbox/yard.hand-1/{name}", Body=b"x")
    mine.put_object(Bucket="sim2edge", Key="inbox/yard.hand-1/READY.json", Body=b"{}", IfNoneMatch="*")


def test_it_writes_nothing_else_and_deletes_nothing(server: S3Server, keys: Mapping[str, str]) -> None:
    mine = client(keys)
    mine.put_object(Bucket="sim2edge", Key="inbox/yard.1/x/a.jpg", Body=b"x")
    others = ("inbox/yard.1/labels.json", "inbox/yard.1/x/a.sh", "inbox/yard.1", "inbox/x.json", "x/yard.1/a/b.json")
    for key in (*FOREIGN, *others):
        assert refused(lambda key=key: mine.put_object(Bucket="sim2edge", Key=key, Body=b"evil")), key
        assert refused(lambda key=key: mine.create_multipart_upload(Bucket="sim2edge", Key=key)), key
    for key in (*FOREIGN, "inbox/yard.1/x/a.jpg"):
        assert refused(lambda key=key: mine.delete_object(Bucket="sim2edge", Key=key)), key
    for key in FOREIGN:
        copy = {"Bucket": "sim2edge", "Key": "inbox/yard.1/x/copy.json", "CopySource": f"sim2edge/{key}"}
        assert refused(lambda key=key: mine.get_object(Bucket="sim2edge", Key=key)), key
        assert refused(lambda copy=copy: mine.copy_object(**copy)), key
    check_untouched(server)


@pytest.mark.parametrize("foreign", FOREIGN[:6])
def test_no_spelling_of_a_path_leads_out_of_its_batches(
    server: S3Server, keys: Mapping[str, str], foreign: str
) -> None:
    start = "/sim2edge/inbox/yard.1/x"
    encoded = foreign.replace("/", "%2f")
    for path in (
        f"{start}/../../../{foreign}",
        f"{start}/%2e%2e/%2e%2e/%2e%2e/{foreign}",
        f"{start}/..%2f..%2f..%2f{encoded}",
        f"{start}//../../../{foreign}",
        f"{start}/..%5c..%5c..%5c{foreign}",
        f"/sim2edge/inbox/yard.%2e%2e/{foreign}",
        f"/sim2edge/inbox/yard./../../{foreign}",
    ):
        for method in ("GET", "PUT", "DELETE"):
            _, answer = send(keys, method, path, b"evil" if method == "PUT" else b"")
            assert b"precious" not in answer
    check_untouched(server)


def check_untouched(server: S3Server) -> None:
    admin = client(server.role("admin"))
    for key in FOREIGN:
        assert admin.get_object(Bucket="sim2edge", Key=key)["Body"].read() == b"precious", key
